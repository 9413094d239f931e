"""Bad rows and refused rows on their way to the dead-letter topic."""

import logging
import threading
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, cast

import pytest
from confluent_kafka import KafkaError, KafkaException

from dynatomic.dead_letters.letter import HEADERS, DeadLetter, dead_letter_of
from dynatomic.dead_letters.store import RETRY_S, DeadLetters
from dynatomic.errors import DynatomicError, UnavailableError
from dynatomic.events.row import Row
from dynatomic.events.schema import encode
from dynatomic.kafka.replaceable import ReplaceableClient
from dynatomic.testing.kafka.broker import FakeBroker
from dynatomic.worker.rejected import read_again
from tests.support.clients import GROUP, LETTERS, TOPIC, Clock, headers_of
from tests.support.harness import World, world
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from dynatomic.testing.kafka.consumer import FakeConsumer

TRACE = [("trace", b"\x00\xff"), ("trace", b"again"), ("none", None)]


def logged(caplog: pytest.LogCaptureFixture, message: str) -> list[dict[str, Any]]:
    return [getattr(r, "fields", {}) for r in caplog.records if r.getMessage() == message]


def refused_row(w: World) -> bytes:
    """Emit a row, with a key and headers, whose counter turns out to be a string."""
    w.spoil("odd")
    payload = encode(Row("hits", "odd", incr=5))
    w.put(payload, key=b"its key", headers=list(TRACE), row=Row("hits", "odd", incr=5))
    return payload


@pytest.mark.parametrize("mode", ["batch", "single"])
def test_a_refused_row_is_stored_as_it_was_with_the_reason(mode: str) -> None:
    with world() as w:
        w.worker(write_mode=mode)
        w.emit("a")
        payload = refused_row(w)
        w.emit("a", "b")
        w.window()
        w.turn(2)
        assert w.counts() == {"a": 2, "b": 1}
        assert w.committed() == 4
        (found,) = w.broker.messages(LETTERS)
        assert found.value() == payload
        assert found.key() == b"its key"
        assert cast("list[Any]", found.headers())[: len(TRACE)] == TRACE
        assert headers_of(found) | {"trace": "", "none": ""} == dict(
            zip(
                HEADERS,
                (
                    TOPIC,
                    "0",
                    "1",
                    "counter-not-a-number",
                    "the attribute of the counter is not a number",
                    GROUP,
                ),
                strict=True,
            )
        ) | {"trace": "", "none": ""}


def test_every_event_of_a_refused_counter_becomes_a_letter_and_no_other_does() -> None:
    with world() as w:
        w.spoil("odd")
        w.worker()
        w.emit("odd", "a", "odd", "b", "odd")
        w.window()
        w.turn(2)
        assert sorted(w.letters()) == [(0, 0), (0, 2), (0, 4)]
        assert len(w.broker.messages(LETTERS)) == 3
        assert w.counts() == {"a": 1, "b": 1}
        assert w.committed() == 5


def test_a_refused_counter_takes_no_other_counter_of_its_item_with_it() -> None:
    with world() as w:
        w.spoil("odd")
        w.worker()
        for name in ("count", "other"):
            w.broker.append(TOPIC, 0, None, encode(Row("hits", "odd", None, name, 3)), [])
        w.window()
        w.turn(2)
        (item,) = w.dynamodb.items("hits")
        assert item["other"] == {"N": "3"}
        assert item["count"] == {"S": "many"}
        assert [headers_of(m)["dynatomic.offset"] for m in w.broker.messages(LETTERS)] == ["0"]
        assert w.committed() == 2


def test_an_item_without_the_counter_is_counted_not_refused() -> None:
    with world() as w:
        w.dynamodb.put_item(TableName="hits", Item={"pk": {"S": "a"}, "name": {"S": "x"}})
        w.worker()
        w.emit("a", "a", "b")
        w.window()
        assert w.counts() == {"a": 2, "b": 1}
        assert w.letters() == {}
        assert w.committed() == 3


def test_nothing_is_committed_while_refused_rows_cannot_be_read_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with world(2) as w:
        down = True

        def reread(number: int, wanted: Iterable[int]) -> dict[int, Any]:
            if down:
                raise UnavailableError("no broker answers")
            return w.read_again(member.consumer._conf, number, wanted)

        member = w.worker(reread=reread)
        payload = refused_row(w)
        for _ in range(5):
            w.emit("b", partition=1)
            w.window()
        assert (w.committed(0), w.committed(1)) == (None, 5)
        assert w.letters() == {}
        down = False
        w.until(w.all_committed, step_s=1)
        (found,) = w.broker.messages(LETTERS)
        assert found.value() == payload
        causes = [f["cause"] for f in logged(caplog, "refused events not read yet")]
        assert set(causes) == {"no broker answers"}
        assert w.counts() == {"b": 5}


def test_a_defect_in_reading_again_ends_the_loop() -> None:
    def reread(_number: int, _wanted: Iterable[int]) -> dict[int, Any]:
        raise LookupError("a defect")

    with world() as w:
        w.worker(reread=reread)
        refused_row(w)
        with pytest.raises(LookupError, match="a defect"):
            w.window()
        assert w.committed() is None


def test_a_refused_row_that_the_topic_no_longer_has_is_written_anew() -> None:
    with world() as w:
        w.spoil("odd")
        w.worker()
        w.emit("odd", incr=5)
        w.gate.close("hits")
        w.window()
        w.emit("a")
        w.broker.delete_before(TOPIC, 0, 1)
        w.gate.open()
        w.window()
        w.turn(2)
        (found,) = w.broker.messages(LETTERS)
        assert found.value() == encode(Row("hits", "odd", None, "count", 5))
        assert found.key() is None
        assert "no longer has the message" in headers_of(found)["dynatomic.detail"]
        assert w.committed() == 2


def test_a_lost_partition_stores_no_refused_rows() -> None:
    with world() as w:
        first = w.worker()
        refused_row(w)
        w.gate.close("hits")
        w.window()
        first.expire()
        first.turn()  # told that it is lost
        w.gate.open()
        first.quiet()
        first.alive = False
        assert w.letters() == {}


def broker_with(*keys: str) -> FakeBroker:
    broker = FakeBroker()
    broker.create_topic(TOPIC)
    for key in keys:
        broker.append(TOPIC, 0, key.encode(), b"value", [])
    return broker


def reader(broker: FakeBroker) -> Any:
    return broker.consumer({"group.id": GROUP, "enable.partition.eof": "true"})


def test_read_again_returns_what_is_asked_for_and_there() -> None:
    broker = broker_with("a", "b", "c")
    broker.append_gap(TOPIC, 0, 2)
    broker.append(TOPIC, 0, b"f", b"value", [])
    broker.append_gap(TOPIC, 0)
    broker.delete_before(TOPIC, 0, 1)
    found = read_again(lambda: reader(broker), TOPIC, 0, [0, 2, 3, 5, 6])
    assert {offset: m.key() for offset, m in found.items()} == {2: b"c", 5: b"f"}
    assert read_again(lambda: reader(broker), TOPIC, 0, [0]) == {}
    assert read_again(lambda: reader(broker), TOPIC, 0, [7, 9]) == {}


def test_read_again_closes_its_reader_and_joins_no_group() -> None:
    broker = broker_with("a")
    made: list[FakeConsumer] = []

    def make() -> Any:
        made.append(reader(broker))
        return made[0]

    read_again(make, TOPIC, 0, [0])
    assert made[0].closed
    assert broker.group(GROUP).generation == 0
    assert broker.committed(GROUP, TOPIC, 0) is None


def test_read_again_says_that_no_broker_answers() -> None:
    broker = broker_with("a")
    broker.faults.down = True
    made = reader(broker)
    with pytest.raises(UnavailableError, match=f"partition 0 of {TOPIC}"):
        read_again(lambda: made, TOPIC, 0, [0])
    assert made.closed


def test_read_again_ends_within_its_bound() -> None:
    clock = Clock()
    broker = FakeBroker(sleep=clock.advance)
    broker.create_topic(TOPIC)
    broker.append(TOPIC, 0, None, b"value", [])
    made = reader(broker)
    made.assign = lambda _places: None  # it reads nothing, ever
    with pytest.raises(UnavailableError, match="could not be read again"):
        read_again(lambda: made, TOPIC, 0, [0], timeout_s=30, clock=clock)
    assert 1_030 <= clock() < 1_031


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
            assert member.letters.last_error == KafkaError(code).name()
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


LETTER = DeadLetter(TOPIC, 3, 14, b"key", b"value", [("mine", b"1")], "undecodable", "EOFError")


class Refusing:
    """A producer whose `produce` raises what it is given, then takes the message."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.taken: list[Any] = []

    def produce(self, _topic: str, **message: Any) -> None:
        if self.errors:
            raise self.errors.pop(0)
        self.taken.append(message)

    def poll(self, _timeout: float) -> int:
        for message in self.taken:
            message["on_delivery"](None, None)
        return len(self.taken)

    def purge(self) -> None:
        pass

    def flush(self, _timeout: float) -> int:
        return 0


@pytest.mark.parametrize(
    ("error", "trouble"),
    [
        (BufferError("Local: Queue full"), "queue full"),
        (KafkaException(KafkaError(KafkaError.MSG_SIZE_TOO_LARGE)), "MSG_SIZE_TOO_LARGE"),
    ],
)
def test_a_letter_that_the_producer_does_not_take_is_sent_again(
    error: Exception, trouble: str
) -> None:
    clock, stored = Clock(), list[str]()
    producer = Refusing(error)
    letters = DeadLetters(ReplaceableClient(lambda: producer), LETTERS, GROUP, clock)
    letters.store(LETTER, lambda: stored.append("yes"))
    assert (letters.pending, letters.pending_bytes, letters.last_error) == (1, 8, trouble)
    letters.poll()
    assert (stored, producer.taken) == ([], []), "sent again at once"
    clock.advance(RETRY_S)
    letters.poll()
    assert stored == ["yes"]
    assert (letters.pending, letters.pending_bytes, letters.last_error) == (0, 0, None)
    (message,) = producer.taken
    assert message["headers"][0] == ("mine", b"1")
    assert [name for name, _ in message["headers"][1:]] == list(HEADERS)


class Lost(Refusing):
    """A producer without brokers: its first message times out, the others only once purged."""

    def __init__(self, slow: int = 0) -> None:
        super().__init__()
        self.slow = slow
        self.purged = False

    def poll(self, _timeout: float) -> int:
        if self.taken:
            self._fail(self.taken.pop(0), KafkaError._MSG_TIMED_OUT)
        return 0

    def purge(self) -> None:
        self.purged = True

    def flush(self, _timeout: float) -> int:
        assert self.purged
        self.slow -= 1
        while self.slow < 0 and self.taken:
            self._fail(self.taken.pop(0), KafkaError._PURGE_QUEUE)
        return len(self.taken)

    def _fail(self, message: dict[str, Any], code: int) -> None:
        message["on_delivery"](KafkaError(code), None)


@pytest.mark.parametrize("slow", [0, 1])
def test_a_producer_whose_letters_no_broker_takes_is_made_anew(slow: int) -> None:
    clock, stored, made = Clock(), list[int](), list[Refusing]()

    def make() -> Refusing:
        made.append(Refusing() if made else Lost(slow))
        return made[-1]

    letters = DeadLetters(ReplaceableClient(make), LETTERS, GROUP, clock)
    for number in range(3):
        letters.store(LETTER, lambda number=number: stored.append(number))  # type: ignore[misc]
    letters.poll()
    letters.poll()
    assert (letters.pending, letters.last_error, stored) == (3, "_MSG_TIMED_OUT", [])
    clock.advance(RETRY_S)
    letters.poll()
    assert (letters.pending, letters.last_error) == (0, None)
    assert sorted(stored) == [0, 1, 2], "each is stored once"
    assert [len(producer.taken) for producer in made] == [0, 3]


def test_a_letter_waits_for_a_producer_that_cannot_be_made_yet() -> None:
    clock, stored = Clock(), list[str]()
    outcomes: list[Any] = [Lost(), UnavailableError("no credentials"), Refusing()]

    def make() -> Any:
        made = outcomes.pop(0)
        if isinstance(made, Exception):
            raise made
        return made

    letters = DeadLetters(ReplaceableClient(make, clock), LETTERS, GROUP, clock)
    letters.store(LETTER, lambda: stored.append("yes"))
    letters.poll()
    for trouble in ("no credentials", None):
        clock.advance(RETRY_S)
        letters.poll()
        assert letters.last_error == trouble
    assert stored == ["yes"]


def test_a_producer_that_cannot_be_made_is_tried_once_for_all_letters() -> None:
    clock, tries = Clock(), list[int]()

    def make() -> Any:
        tries.append(1)
        if len(tries) == 1:
            return Lost()
        raise UnavailableError("no credentials")

    letters = DeadLetters(ReplaceableClient(make, clock), LETTERS, GROUP, clock)
    for _ in range(100):
        letters.store(LETTER, lambda: None)
    letters.poll()
    for count in (2, 3):
        clock.advance(RETRY_S)
        letters.poll()
        letters.poll()
        assert (len(tries), letters.pending, letters.last_error) == (count, 100, "no credentials")


def test_a_producer_that_is_given_up_does_not_end_on_the_thread_of_the_loop() -> None:
    threads: list[str] = []

    class Ending(Lost):
        def __del__(self) -> None:
            threads.append(threading.current_thread().name)

    letters = DeadLetters(ReplaceableClient(Ending), LETTERS, GROUP, Clock())
    letters.store(LETTER, lambda: None)
    letters.poll()
    wait_until(lambda: threads == ["give-up"], "it ended elsewhere")


@pytest.mark.parametrize(
    ("code", "hint"),
    [
        (KafkaError.MSG_SIZE_TOO_LARGE, "raise max.message.bytes"),
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
        assert said["cause"] == KafkaError(code).name()
        assert hint in said["hint"]


def test_a_producer_that_has_failed_for_good_ends_the_loop() -> None:
    with world() as w:
        member = w.worker()
        w.put(b"bad")
        w.turn(2)
        w.asked.clear()
        member.letters._producer = ReplaceableClient(Broken)
        with pytest.raises(DynatomicError, match=f"producer of topic {LETTERS} failed for good"):
            w.turn()
        assert w.asked == []


class Broken(Refusing):
    """A producer after a fatal error."""

    def poll(self, _timeout: float) -> int:
        raise KafkaException(KafkaError(KafkaError._FATAL))


def test_header_names_that_are_not_utf8_are_left_out_and_the_row_is_a_letter_all_the_same() -> None:
    class Odd:
        """What the client gives for such a message."""

        def headers(self) -> None:
            raise SystemError("returned a result with an exception set")

        def __getattr__(self, _name: str) -> Callable[[], bytes]:
            return lambda: b"v"

    made = dead_letter_of(Odd(), "undecodable", "EOFError")
    assert made.headers == ()
    assert made.value == b"v"
    assert made.detail.startswith("EOFError; its headers are left out")
