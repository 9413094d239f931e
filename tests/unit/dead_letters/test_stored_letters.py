"""Dead letters and the notes of replays, as they are read from the dead-letter topic."""

from dataclasses import replace
from typing import Any

import pytest
from confluent_kafka import KafkaError
from hypothesis import given
from hypothesis import strategies as st

from dynatomic.dead_letters.letter import HEADERS, TOPIC_ID
from dynatomic.dead_letters.notes import (
    MAX_OFFSETS_IN_NOTE,
    REPLAYED,
    LetteredEvents,
    ReplayedEvent,
    SourceOffsets,
    note_headers,
    note_of,
    replayed_events,
    replayed_in_note,
)
from dynatomic.dead_letters.topic import (
    DeadLetterTopic,
    StoredLetter,
    reader_config,
    stored_letter,
)
from dynatomic.errors import ConfigError, DynatomicError, UnavailableError
from dynatomic.testing.kafka.broker import FakeBroker
from tests.support.clients import GROUP, LETTERS, TOPIC
from tests.support.dead_letter_lab import ID, SETTINGS, Lab


@pytest.mark.parametrize("topic_id", [ID, None])
def test_a_letter_is_read_as_it_was_stored(lab: Lab, topic_id: str | None) -> None:
    its = (("trace", b"\x00"), ("trace", None), ("dynatomic.topic", b"forged"), (TOPIC_ID, b"x"))
    put = lab.store(17, b"\x80", partition=1, headers=its, topic_id=topic_id, detail="naïve")
    (found,) = map(stored_letter, lab.broker.messages(LETTERS))
    assert found is not None
    assert found.letter == put
    assert (found.group, found.topic_id) == (GROUP, topic_id or "")
    assert found.source == (TOPIC, topic_id or "", 1)
    assert (found.partition, found.offset, found.time_ms) == (0, 0, 1_000_000)


def test_what_no_consumer_stored_is_no_letter(lab: Lab) -> None:
    own: list[tuple[str, bytes | None]] = [(name, b"1") for name in HEADERS]
    for wrong in ([], own[1:], own[::-1], [*own, ("more", b"")], [*own[:2], (HEADERS[2], b"x")]):
        lab.broker.append(LETTERS, 0, None, b"v", wrong)
    lab.broker.append(LETTERS, 0, None, b"v", [*own[:2], (HEADERS[2], b"-1"), *own[3:]])
    lab.broker.append(LETTERS, 0, None, b"v", [*own[:2], (HEADERS[2], None), *own[3:]])
    assert [stored_letter(m) for m in lab.broker.messages(LETTERS)] == [None] * 7
    assert lab.show()[1] == [
        "0 dead letters in row-events.dlq",
        "7 messages are no letters of dynatomic, not shown",
    ]
    assert lab.replay().foreign == 7
    assert lab.broker.messages(TOPIC) == []


OFFSETS = st.sets(st.integers(0, 2**63 - 1) | st.integers(0, 300), min_size=1, max_size=200)


@given(
    st.dictionaries(
        st.tuples(st.just(TOPIC), st.sampled_from([ID, ""]), st.integers(0, 9)), OFFSETS
    )
)
def test_a_note_says_what_was_put_into_it(sources: dict[Any, set[int]]) -> None:
    broker = FakeBroker()
    broker.create_topic(LETTERS)
    broker.append(LETTERS, 0, None, None, note_headers(sources))
    (message,) = broker.messages(LETTERS)
    assert {source: set(offsets) for source, offsets, _ in replayed_in_note(message)} == sources
    assert stored_letter(message) is None


def test_a_letter_with_headers_of_a_note_is_no_note(lab: Lab) -> None:
    forged = note_headers({(TOPIC, ID, 0): [0, 1, 2]})
    lab.store(1, headers=tuple(forged))
    assert replayed_in_note(lab.broker.messages(LETTERS)[0]) == []
    assert lab.replay().replayed == 0


@pytest.mark.parametrize(
    "text",
    ["", "row-events::0:", "row-events::0:1-", "row-events:x:0:1", "::0:1", "a::0:0-99999999999"],
)
def test_a_note_that_cannot_be_read_says_nothing(lab: Lab, text: str) -> None:
    lab.broker.append(LETTERS, 0, None, None, [(REPLAYED, text.encode())])
    assert replayed_in_note(lab.broker.messages(LETTERS)[0]) == []


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 2**63 - 1) | st.integers(0, 200))))
def test_places_are_a_set(places: list[tuple[int, int]]) -> None:
    found, expected = SourceOffsets(), set[tuple[int, int]]()
    for number, offset in places:
        assert found.add((TOPIC, "", number), offset) is ((number, offset) not in expected)
        expected.add((number, offset))


def test_the_topic_is_read_to_the_end_it_had_and_across_gaps() -> None:
    lab = Lab()
    lab.broker.create_topic(LETTERS, 3)
    for number in (2, 0):
        lab.broker.append(LETTERS, number, None, b"a", [])
        lab.broker.append_gap(LETTERS, number)
        lab.broker.append(LETTERS, number, None, b"b", [])
        lab.broker.append_gap(LETTERS, number)
    topic = lab.topic()
    lab.broker.append(LETTERS, 0, None, b"later", [])
    for _ in range(2):
        found = [(m.partition(), m.value()) for m in topic.messages()]
        assert found == [(0, b"a"), (0, b"b"), (2, b"a"), (2, b"b")]


def test_reading_passes_over_what_retention_removed(lab: Lab) -> None:
    for offset in range(5):
        lab.store(offset)
    topic = lab.topic()
    lab.broker.delete_before(LETTERS, 0, 3)
    assert [m.offset() for m in topic.messages()] == [3, 4]


def test_reading_joins_no_group_and_commits_nothing(lab: Lab) -> None:
    lab.store(0)
    list(lab.topic().messages())
    assert lab.broker.group(GROUP).generation == 0
    assert lab.broker.committed(GROUP, LETTERS, 0) is None


def test_reading_ends_when_no_broker_answers() -> None:
    lab = Lab()
    lab.store(0)
    topic = lab.topic()
    lab.broker.faults.down = True
    with pytest.raises(UnavailableError, match=r"row-events.dlq', partition 0: no broker sent"):
        list(topic.messages())


@pytest.mark.parametrize(
    ("code", "kind", "text"),
    [
        (KafkaError.TOPIC_AUTHORIZATION_FAILED, ConfigError, "allow Read on it"),
        (KafkaError._FATAL, DynatomicError, "failed for good"),
        (KafkaError._TRANSPORT, UnavailableError, r"60 s \(injected\)"),
    ],
)
def test_errors_of_the_brokers_say_what_to_do(
    lab: Lab, code: int, kind: type[DynatomicError], text: str
) -> None:
    lab.store(0)
    lab.store(1)
    consumer = lab.broker.consumer(reader_config(SETTINGS))
    topic = DeadLetterTopic(consumer, LETTERS, clock=lab.clock)
    lab.broker.emit_error(consumer, code, topic=LETTERS, partition=0)
    if kind is UnavailableError:  # it may pass, or not
        lab.broker.delete_before(LETTERS, 0, 2)
        lab.broker.logs[LETTERS][0].low = 0
        lab.broker.logs[LETTERS][0].messages.clear()
    with pytest.raises(kind, match=text):
        list(topic.messages())


def test_a_note_of_a_full_transaction_can_be_read() -> None:
    offsets = [2**63 - 1 - 2 * n for n in range(MAX_OFFSETS_IN_NOTE)]
    broker = FakeBroker()
    broker.create_topic(LETTERS)
    broker.append(LETTERS, 0, None, None, note_headers({(TOPIC, ID, 0): offsets}))
    ((_, found, _),) = replayed_in_note(broker.messages(LETTERS)[0])
    assert sorted(found) == sorted(offsets)


@pytest.mark.parametrize("counters", [None, ("daily/bytes", 'a"b/count')])
@pytest.mark.parametrize("timestamp_ms", [None, 0, 1_764_000_000_123])
def test_a_letter_keeps_timestamp_and_refused_counters(
    lab: Lab, counters: tuple[str, ...] | None, timestamp_ms: int | None
) -> None:
    put = lab.store(17, headers=(("a", b"1"),), timestamp_ms=timestamp_ms, counters=counters)
    found = stored_letter(lab.broker.messages(LETTERS)[0])
    assert found is not None
    assert found.letter == put


def test_what_replays_took_of_an_event_is_a_set() -> None:
    source = (TOPIC, ID, 0)
    events = LetteredEvents()
    assert events.add(ReplayedEvent(source, [5], ("a", "b"))) == (source, [5], ("a", "b"))
    assert events.add(ReplayedEvent(source, [5], ("b", "c"))) == (source, [5], ("c",))
    assert events.add(ReplayedEvent(source, [5], ("c",))) is None
    assert events.add(ReplayedEvent(source, [5, 6])) == (source, [5, 6], None)
    assert events.add(ReplayedEvent(source, [6], ("d",))) is None


def test_notes_name_the_counters_of_events_that_were_replayed_in_part(lab: Lab) -> None:
    items = [
        StoredLetter(lab.store(offset, counters=counters), GROUP, ID, 0, 0, offset)
        for offset, counters in ((1, None), (2, ("x/é",)), (3, None))
    ]
    broker = FakeBroker()
    broker.create_topic(LETTERS)
    broker.append(LETTERS, 0, None, None, note_of(items))
    source = (TOPIC, ID, 0)
    assert replayed_in_note(broker.messages(LETTERS)[0]) == [
        (source, [1, 3], None),
        (source, [2], ("x/é",)),
    ]
    replayed = replayed_events(broker.messages(LETTERS))
    assert all(map(replayed.contains, items))
    other = replace(items[1], letter=replace(items[1].letter, counters=("y/z",)))
    assert not replayed.contains(other)
