"""Bad rows on their way to the dead-letter topic."""

import logging
from collections.abc import Callable

import pytest
from confluent_kafka import KafkaError, TopicPartition

from dynatomic.dead_letters.letter import dead_letter_of
from dynatomic.dead_letters.store import RETRY_S
from dynatomic.events.row import Row
from dynatomic.events.schema import encode
from dynatomic.worker.in_flight import LETTER_BYTES
from dynatomic.worker.offsets import Offsets
from tests.support.clients import LETTERS, TOPIC, headers_of
from tests.support.harness import world
from tests.support.log_records import logged


@pytest.mark.parametrize("payload", [None, b""])
def test_a_message_without_a_payload_is_a_dead_letter(payload: bytes | None) -> None:
    with world() as w:
        w.worker()
        w.put(payload, key=b"its key")
        w.window()
        (found,) = w.broker.messages(LETTERS)
        assert (found.key(), found.value()) == (b"its key", payload)
        assert headers_of(found)["dynatomic.reason"] == "empty-payload"
        assert w.committed() == 1


def test_a_window_of_bad_rows_only_is_committed_without_a_request() -> None:
    with world() as w:
        w.worker()
        for _ in range(30):
            w.put(b"bad")
        w.window()
        assert len(w.letters()) == 30
        assert w.committed() == 30
        assert w.sent == []


def test_the_log_tells_where_a_bad_row_stood_but_not_what_it_held(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    with world() as w:
        w.worker()
        w.put(encode(Row("secret-table", "secret-key")), key=b"secret-key")
        w.window()
        (said,) = logged(caplog, "dead letter")
        assert (said["partition"], said["offset"]) == (0, 0)
        assert said["reason"] == "table-not-allowed"
        assert "secret" not in caplog.text + str([vars(r) for r in caplog.records])


@pytest.mark.parametrize("stored", [False, True])
@pytest.mark.parametrize(
    "code",
    [
        KafkaError._MSG_TIMED_OUT,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.MSG_SIZE_TOO_LARGE,
        KafkaError.NOT_ENOUGH_REPLICAS,
    ],
)
def test_nothing_is_committed_until_the_topic_has_the_letter(code: int, *, stored: bool) -> None:
    with world() as w:
        member = w.worker()
        w.put(b"bad")
        w.emit("a")
        w.broker.faults.fail_deliveries(code, 3, stored=stored)
        w.window()
        for _ in range(2):
            assert w.committed() is None
            assert str(member.letters.last_error).startswith(KafkaError(code).name())
            w.advance(RETRY_S)
            w.turn(2)
        w.until(w.all_committed, step_s=RETRY_S)
        assert w.counts() == {"a": 1}
        assert len(w.broker.messages(LETTERS)) == (4 if stored else 1)
        assert (member.letters.pending, member.letters.pending_bytes) == (0, 0)
        assert member.letters.last_error is None


def test_nothing_is_committed_while_a_delivery_is_not_answered() -> None:
    with world() as w:
        w.worker()
        w.put(b"bad")
        w.deliveries_held = True
        for _ in range(10):
            w.window()
        assert w.committed() is None
        w.deliveries_held = False
        w.turn(3)
        assert w.committed() == 1


def test_windows_go_on_once_the_dead_letter_topic_is_there() -> None:
    with world() as w:
        w.broker.logs.pop(LETTERS)
        w.worker()
        w.put(b"bad")
        w.emit("a")
        w.window()
        w.window()
        assert w.committed() is None
        w.broker.create_topic(LETTERS)
        w.until(w.all_committed, step_s=1)
        assert sorted(w.letters()) == [(0, 0)]


def test_revoking_waits_for_the_letters_within_the_bound() -> None:
    with world(2) as w:
        w.worker()
        w.put(b"bad", partition=0)
        w.put(b"bad", partition=1)
        w.broker.faults.fail_deliveries(KafkaError._MSG_TIMED_OUT, 4)
        w.window()
        second = w.worker()
        w.until(lambda: len(second.owned) == 1)
        assert w.committed(second.owned[0]) == 1


@pytest.mark.parametrize(
    ("code", "hint"),
    [
        (KafkaError.MSG_SIZE_TOO_LARGE, "set max.message.bytes"),
        (KafkaError.TOPIC_AUTHORIZATION_FAILED, "allow Write"),
        (KafkaError._MSG_TIMED_OUT, "nothing is committed"),
    ],
)
def test_the_log_says_once_why_the_topic_refuses_and_what_to_do(
    code: int, hint: str, caplog: pytest.LogCaptureFixture
) -> None:
    with world() as w:
        w.worker()
        w.put(b"bad")
        w.broker.faults.fail_deliveries(code, 10)
        for _ in range(8):
            w.window()
        (said,) = logged(caplog, "dead-letter topic refuses")
        assert said["topic"] == LETTERS
        assert said["cause"].startswith(KafkaError(code).name())
        assert hint in said["hint"]


def test_header_names_that_are_not_utf8_are_left_out_and_the_row_is_a_letter_all_the_same() -> None:
    class Odd:
        """What the client gives for such a message."""

        def headers(self) -> None:
            raise SystemError("returned a result with an exception set")

        def timestamp(self) -> tuple[int, int]:
            return 1, 5

        def __getattr__(self, _name: str) -> Callable[[], bytes]:
            return lambda: b"v"

    made = dead_letter_of(Odd(), "undecodable", "EOFError")
    assert made.headers == ()
    assert made.value == b"v"
    assert made.detail.startswith("EOFError; its headers are left out")


def test_a_letter_is_stored_once_where_the_start_is_confirmed_after_the_first_read() -> None:
    with world() as w:
        w.set_committed(0, 0)
        member = w.worker()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Offsets, "ensure_start", lambda *_, **__: None)
            w.put(b"bad")
            w.turn(3)
            assert (w.letters(), member.worker.events) == ({}, 1)
        partition = member.worker.partitions[0]
        assert partition.filling.size_bytes > LETTER_BYTES, "what is held counts as memory"
        member.consumer.seek(TopicPartition(TOPIC, 0, 0))
        partition.start_again()  # as where the client must validate the start first
        w.window()
        w.turn(2)
        assert len(w.broker.messages(LETTERS)) == 1
        assert w.committed() == 1
