"""The transactions of a replay: no letter is lost or replayed twice, even after a kill."""

from collections.abc import Iterator
from contextlib import suppress

import pytest
from confluent_kafka import KafkaError
from hypothesis import given
from hypothesis import strategies as st

from dynatomic.dead_letters.notes import replayed_in_note
from dynatomic.dead_letters.sender import NonTransactionalProducer, Sender
from dynatomic.dead_letters.topic import stored_letter
from dynatomic.errors import DeliveryError, DynatomicError, UnavailableError
from dynatomic.events.row import Row
from dynatomic.events.schema import encode
from tests.support.clients import LETTERS, TOPIC
from tests.support.dead_letter_lab import SETTINGS, Killed, Lab


def crashes() -> Iterator[tuple[str, int]]:
    for number in range(4):
        yield from (("begin", number), ("flush", number), ("commit", number), ("committed", number))
    yield from (("produce", number) for number in range(14))
    yield ("init", 0)


@pytest.mark.parametrize("dies", list(crashes()))
def test_a_killed_replay_loses_and_doubles_nothing(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, dies: tuple[str, int]
) -> None:
    monkeypatch.setattr("dynatomic.dead_letters.sender.MAX_OFFSETS_IN_NOTE", 3)
    for offset in range(10):
        lab.row(offset)
        lab.store(100 + offset)
    producer = lab.producer(dies)
    with pytest.raises(Killed):
        lab.replay(producer)
    assert len(set(lab.replayed())) == len(lab.replayed()) <= 10
    lab.replay()
    assert sorted(lab.replayed()) == [f"0:{n}" for n in range(10)]
    assert lab.replay().replayed == 10


@given(st.data())
def test_any_run_of_replays_and_kills_puts_every_row_back_once(data: st.DataObject) -> None:
    lab, wanted, offset = Lab(), set[str](), 0
    lab.broker.create_topic(LETTERS, 2)
    reasons = st.sampled_from(["x", "y"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "dynatomic.dead_letters.sender.MAX_OFFSETS_IN_NOTE", data.draw(st.integers(1, 4))
        )
        for _ in range(data.draw(st.integers(1, 5))):
            for _ in range(data.draw(st.integers(0, 5))):
                offset += data.draw(st.integers(0, 2))  # 0: the event of the letter before
                key = f"{data.draw(st.integers(0, 3))}".encode()
                lab.store(offset, encode(Row("hits", "a")), key=key, reason=data.draw(reasons))
                wanted.add(f"0:{offset}")
            point = st.sampled_from(["begin", "produce", "flush", "commit", "committed"])
            dies = data.draw(st.none() | st.tuples(point, st.integers(0, 6)))
            why = data.draw(st.none() | reasons)
            with suppress(Killed):
                lab.replay(lab.producer(dies), reason=why)
            assert len(set(lab.replayed())) == len(lab.replayed())
        lab.replay()
    assert sorted(lab.replayed()) == sorted(wanted)


def test_a_second_replay_shuts_the_first_one_out(lab: Lab) -> None:
    for offset in range(3):
        lab.row(offset)
    first = lab.producer()
    sender = Sender(first, SETTINGS, 2, clock=lab.clock)
    items = [item for m in lab.broker.messages(LETTERS) if (item := stored_letter(m))]
    sender.add(items[0])
    assert lab.replay().to_replay == 3
    with pytest.raises(
        DynatomicError, match=r"another replay of row-events\.dlq has taken over; 0"
    ):
        sender.flush()
    assert len(lab.replayed()) == 3


def test_a_transaction_is_bounded_by_letters_and_bytes(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    for offset in range(7):
        lab.row(offset)
    monkeypatch.setattr("dynatomic.dead_letters.sender.MAX_OFFSETS_IN_NOTE", 3)
    producer = lab.producer()
    lab.replay(producer)
    assert producer.sizes == [3 + 1, 3 + 1, 1 + 1]
    monkeypatch.setattr("dynatomic.dead_letters.sender.MAX_BYTES", 1)
    lab.row(8)
    lab.row(9)
    producer = lab.producer()
    lab.replay(producer)
    assert producer.sizes == [1 + 1, 1 + 1]


def test_a_note_stands_in_the_partition_of_its_letters() -> None:
    lab = Lab()
    lab.broker.create_topic(LETTERS, 2)
    for offset in range(8):
        lab.store(offset, encode(Row("hits", "a")), key=f"{offset}".encode())
    places = {
        (item.letter.offset, item.partition)
        for m in lab.broker.messages(LETTERS)
        if (item := stored_letter(m))
    }
    assert {number for _, number in places} == {0, 1}
    lab.replay()
    found = {
        (offset, message.partition())
        for message in lab.broker.messages(LETTERS)
        for _, offsets, _ in replayed_in_note(message)
        for offset in offsets
    }
    assert found == places


@pytest.mark.parametrize("stored", [False, True])
def test_without_transactions_no_note_is_written_before_its_rows_are_known_to_be_there(
    lab: Lab, *, stored: bool
) -> None:
    lab.row(1)
    lab.row(2)
    lab.broker.faults.fail_deliveries(KafkaError._MSG_TIMED_OUT, 1, stored=stored)
    with pytest.raises(DeliveryError, match="0 letters are known"):
        lab.replay(NonTransactionalProducer(lab.broker.producer()))
    assert sum(bool(replayed_in_note(m)) for m in lab.broker.messages(LETTERS)) == 0
    assert lab.replay(NonTransactionalProducer(lab.broker.producer())).to_replay == 2
    assert lab.replay(NonTransactionalProducer(lab.broker.producer())).replayed == 2
    assert set(lab.replayed()) == {"0:1", "0:2"}


def test_without_transactions_brokers_that_are_down_are_told(lab: Lab) -> None:
    lab.row(1)
    producer = NonTransactionalProducer(lab.broker.producer())
    sender = Sender(producer, SETTINGS, 2, clock=lab.clock)
    (item,) = filter(None, map(stored_letter, lab.broker.messages(LETTERS)))
    sender.add(item)
    lab.broker.faults.down = True
    with pytest.raises(UnavailableError, match="0 letters are known"):
        sender.flush()
    lab.broker.faults.down = False
    producer.flush(0)
    assert lab.broker.messages(TOPIC) == []
    assert len(lab.broker.messages(LETTERS)) == 1
