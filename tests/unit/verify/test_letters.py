"""Which events have a dead letter of the group, and which of them wait for a replay."""

import json
from typing import Any, cast

import pytest
from confluent_kafka import Message

from dynatomic.config.settings import Settings
from dynatomic.dead_letters.letter import DeadLetter, own_headers
from dynatomic.dead_letters.topic import reader_config
from dynatomic.events.decoder import Decoder
from dynatomic.events.payload import PayloadReader
from dynatomic.kafka.event_reader import RowReader
from dynatomic.verify.letters import GroupLetters, WaitingLetters
from tests.support.verify_world import GROUP, LETTERS, TOPIC, World


def letters_of(world: World, **settings: Any) -> GroupLetters:
    config = Settings(topic=TOPIC, group_id=GROUP, **settings)
    return GroupLetters(
        lambda: world.broker.consumer(reader_config(config)),
        config,
        world.identity,
        PayloadReader({}),
        RowReader(Decoder({})),
    )


def left(letters: GroupLetters, offsets: int, partition: int = 0) -> list[int]:
    run = [Message(topic=TOPIC, partition=partition, offset=n) for n in range(offsets)]
    return [cast("int", message.offset()) for message in letters.without(partition, run)]


def test_the_letters_of_this_group_and_topic_are_left_out() -> None:
    w = World(2)
    w.emit(*"abcde")
    for offset in (3, 1, 3):
        w.letter(offset)
    w.letter(2, group="another")
    other, w.identity = w.identity, "8" * 32
    w.letter(4)
    w.identity = other
    w.broker.append(LETTERS, 0, None, b"not a letter", [])
    letters = letters_of(w)
    letters.refresh()
    assert left(letters, 5) == [0, 2, 4]
    assert left(letters, 5, partition=1) == [0, 1, 2, 3, 4]


def test_each_refresh_reads_only_what_was_added() -> None:
    w = World()
    w.emit("a", "b")
    w.letter(0)
    letters = letters_of(w)
    letters.refresh()
    w.broker.delete_before(LETTERS, 0, 1)
    letters.refresh()
    assert left(letters, 2) == [1]
    w.letter(1)
    letters.refresh()
    assert left(letters, 2) == []


def test_the_events_of_a_skipped_batch_are_left_out_where_they_can_be_read() -> None:
    w = World(2)
    w.emit(*"abcdef")
    letter = DeadLetter(TOPIC, 0, 2, None, None, (), "batch-unreadable", "why", batch_end=5)
    headers = own_headers(letter, GROUP, w.identity)
    w.broker.append(LETTERS, 0, None, None, headers)
    letters = letters_of(w)
    letters.refresh()
    assert left(letters, 6) == [0, 1, 5]
    assert left(letters, 2) == [0, 1]
    assert left(letters, 6, partition=1) == [0, 1, 2, 3, 4, 5]
    assert letters.skipped_batch(0, 2) == 5
    assert letters.skipped_batch(0, 3) is None
    assert letters.waiting() == WaitingLetters(skipped_batches=1, skipped_offsets=3)


def test_what_waits_is_counted_once_and_without_what_was_replayed() -> None:
    w = World()
    w.emit("a", incr=5)
    w.emit("b", incr=-2)
    w.put_raw(b"no row")
    w.emit("c", incr=100)
    for offset in (0, 1, 2, 3, 0):
        w.letter(offset)
    w.replayed(3)
    letters = letters_of(w)
    letters.refresh()
    assert letters.waiting() == WaitingLetters(events=3, incr=3, unreadable=1, replayed=1)


def test_without_a_dead_letter_topic_nothing_is_known() -> None:
    letters = letters_of(World(), dead_letter_topic="missing")
    letters.refresh()
    assert "missing" in letters.problem
    assert letters.waiting() is None
    assert left(letters, 2) == [0, 1]


@pytest.mark.parametrize(
    ("waiting", "line"),
    [
        (WaitingLetters(), ""),
        (WaitingLetters(events=1, incr=7), "1 event waits as dead letters, sum 7"),
        (
            WaitingLetters(events=1_200, incr=5, unreadable=3, replayed=4),
            "1,200 events wait as dead letters, sum 5; 3 of them contain no row; 4 replayed",
        ),
        (
            WaitingLetters(skipped_batches=2, skipped_offsets=1_030),
            (
                "2 batches of at most 1,030 events not counted, because the Kafka client cannot "
                "unpack them (`dlq skip-batch`)"
            ),
        ),
        (
            WaitingLetters(replayed=4),
            "dead letters: 4 replayed",
        ),
    ],
)
def test_the_line_says_how_many_and_how_much(waiting: WaitingLetters, line: str) -> None:
    assert waiting.line() == line


def test_a_letter_that_was_replayed_is_said_to_be_replayed() -> None:
    w = World()
    w.emit("a", incr=5)
    w.letter(0)
    w.replayed(0)
    w.commit(1)
    assert list(w.verify().text(20))[1:] == ["dead letters: 1 replayed"]


def test_the_report_has_the_letters_in_text_and_in_json() -> None:
    w = World()
    w.emit("a", incr=5)
    w.letter(0)
    w.commit(1)
    verdict = w.verify()
    assert list(verdict.text(20)) == [
        "OK  0 counters, sum 0 = 0",
        "dead letters, not counted: 1",
        "1 event waits as dead letters, sum 5",
    ]
    assert json.loads(verdict.json())["waiting_letters"] == {
        "events": 1,
        "incr": 5,
        "unreadable": 0,
        "replayed": 0,
        "skipped_batches": 0,
        "skipped_offsets": 0,
    }
