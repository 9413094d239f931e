"""A dead-letter topic that takes little: letters are sent alone, then cut, then named."""

from collections import deque
from typing import Any

import pytest
from confluent_kafka import KafkaError, Producer

from dynatomic.dead_letters.letter import DeadLetter, WholeMessage
from dynatomic.dead_letters.store import CUTS, RETRY_S, DeadLetters
from dynatomic.kafka.replaceable import ReplaceableClient
from tests.support.clients import GROUP, LETTERS, TOPIC, Clock
from tests.support.log_records import logged

TOO_LARGE = KafkaError(KafkaError.MSG_SIZE_TOO_LARGE)


class Batching:
    """A producer of batches of some messages, and a topic with a limit for a whole batch."""

    def __init__(self, limit: int, messages: int) -> None:
        self.limit = limit
        self.stored: list[dict[str, Any]] = []
        self.refused = 0
        self._messages = messages
        self._queue: deque[dict[str, Any]] = deque()

    def produce(self, _topic: str, **message: Any) -> None:
        self._queue.append(message)

    def poll(self, _timeout: float) -> int:
        while self._queue:
            count = min(self._messages, len(self._queue))
            batch = [self._queue.popleft() for _ in range(count)]
            is_stored = sum(map(self._size, batch)) <= self.limit
            self.refused += not is_stored
            self.stored += batch if is_stored else []
            for message in batch:
                message["on_delivery"](None if is_stored else TOO_LARGE, None)
        return 0

    def purge(self) -> None:
        raise AssertionError("a broker answers")

    def flush(self, _timeout: float) -> int:
        raise AssertionError("a broker answers")

    def _size(self, message: dict[str, Any]) -> int:
        headers = sum(len(name) + len(value or b"") for name, value in message["headers"])
        return len(message["key"] or b"") + len(message["value"] or b"") + headers


def letter(value: int, key: int = 3, header: int = 0) -> DeadLetter:
    headers = (("h", bytes(header)),) if header else ()
    return DeadLetter(TOPIC, 0, 7, bytes(key), bytes(value), headers, "undecodable", "why")


class Topic:
    """The store, its two producers, and a clock."""

    def __init__(self, limit: int) -> None:
        self.clock = Clock()
        self.batches, self.singles = Batching(limit, 10), Batching(limit, 1)
        self.letters = DeadLetters(
            ReplaceableClient(lambda: self.batches),
            LETTERS,
            GROUP,
            self.clock,
            make_single=lambda: self.singles,
        )
        self.done = 0

    def store(self, *letters: DeadLetter) -> None:
        for one in letters:
            self.letters.store(one, self._stored)
        self.letters.poll()
        self.letters.poll()

    def _stored(self) -> None:
        self.done += 1


def test_letters_of_a_batch_that_is_too_large_are_sent_alone_and_whole(
    caplog: pytest.LogCaptureFixture,
) -> None:
    topic = Topic(2_000)
    topic.store(*[letter(900)] * 10)
    assert topic.done == 10, "at once"
    assert [len(message["value"]) for message in topic.singles.stored] == [900] * 10
    assert (topic.batches.refused, topic.singles.refused) == (1, 0)
    assert (topic.letters.pending, topic.letters.pending_bytes) == (0, 0)
    assert logged(caplog, "dead-letter topic refuses") == []
    topic.store(letter(900))
    assert topic.done == 11
    assert len(topic.batches.stored) == 1


@pytest.mark.parametrize(
    ("limit", "large", "kept"),
    [
        (3_000, letter(5_000), CUTS[0]),
        (900, letter(5_000, key=5_000), CUTS[1]),
        (900, letter(10, header=5_000), CUTS[0]),
        (900, letter(10, key=5_000), CUTS[1]),
    ],
)
def test_a_letter_that_is_too_large_alone_is_cut_until_it_fits(
    limit: int, large: DeadLetter, kept: tuple[int, int]
) -> None:
    topic = Topic(limit)
    topic.store(large)
    for _ in range(5):
        topic.clock.advance(RETRY_S)
        topic.store()
    (message,) = topic.singles.stored
    assert message["value"] == (large.value or b"")[: kept[0]]
    assert message["key"] == (large.key or b"")[: kept[1]]
    whole = WholeMessage.from_header(dict(message["headers"])["dynatomic.cut"])
    assert whole == WholeMessage.of(large.key, large.value, large.headers)
    assert (topic.letters.pending, topic.letters.pending_bytes) == (0, 0)
    assert topic.letters.last_error is None


@pytest.mark.parametrize(
    "large", [letter(3, key=600_000), letter(600_000), letter(3, header=600_000)]
)
def test_a_letter_above_the_limit_of_the_client_itself_is_cut_and_stored(
    large: DeadLetter,
) -> None:
    """With a smaller ``message.max.bytes`` (-X), librdkafka refuses it before it is sent."""
    config = {"bootstrap.servers": "127.0.0.1:1", "message.max.bytes": "524288"}
    client = Producer(config | {"log_level": "0"})
    queued: list[int] = []

    class Local:
        """The real client, without a broker: only what it queues is of interest."""

        purge, poll, flush = client.purge, client.poll, client.flush

        def produce(self, topic: str, **message: Any) -> None:
            client.produce(topic, **message)
            queued.append(len(message["key"] or b"") + len(message["value"] or b""))

    clock = Clock()
    letters = DeadLetters(ReplaceableClient(Local), LETTERS, GROUP, clock)
    letters.store(large, lambda: None)
    assert queued == []
    clock.advance(RETRY_S)
    letters.poll()
    assert len(queued) == 1
    assert queued[0] <= sum(CUTS[0])
    client.purge()


def test_a_topic_that_takes_no_letter_is_named_with_what_to_do(
    caplog: pytest.LogCaptureFixture,
) -> None:
    topic = Topic(100)
    topic.store(letter(10))
    (fields,) = logged(caplog, "dead-letter topic refuses")
    assert fields["topic"] == LETTERS
    assert "MSG_SIZE_TOO_LARGE: a letter of " in fields["cause"]
    assert "set max.message.bytes of the dead-letter topic to 16384" in fields["hint"]
    topic.singles.limit = 1_000
    topic.clock.advance(RETRY_S)
    topic.store()
    assert (topic.done, topic.letters.last_error) == (1, None)
