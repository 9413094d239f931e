"""Dead letters that the producer refuses or no broker takes."""

import threading
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from dynatomic.dead_letters.letter import HEADERS, DeadLetter
from dynatomic.dead_letters.letter_producer import LetterProducer
from dynatomic.dead_letters.store import RETRY_S, DeadLetters
from dynatomic.errors import DynatomicError, UnavailableError
from dynatomic.kafka.replaceable import ReplaceableClient
from tests.support.clients import GROUP, LETTERS, TOPIC, Clock
from tests.support.harness import world
from tests.support.waiting import wait_until

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
    assert (letters.pending, letters.pending_bytes) == (1, LETTER.size)
    assert str(letters.last_error).startswith(trouble)
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


def test_a_producer_that_has_failed_for_good_ends_the_loop() -> None:
    with world() as w:
        member = w.worker()
        w.put(b"bad")
        w.turn(2)
        w.asked.clear()
        member.letters._producer = LetterProducer(ReplaceableClient(Broken), LETTERS)
        with pytest.raises(DynatomicError, match=f"producer of topic {LETTERS} failed for good"):
            w.turn()
        assert w.asked == []


class Broken(Refusing):
    """A producer after a fatal error."""

    def poll(self, _timeout: float) -> int:
        raise KafkaException(KafkaError(KafkaError._FATAL))
