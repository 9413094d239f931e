"""Letters of messages that are larger than a topic takes."""

import hashlib
import json
from typing import Any

import pytest
from confluent_kafka import KafkaError

from dynatomic.dead_letters.letter import (
    CUT,
    HEADER_BYTES,
    MAX_CUT_KEY_BYTES,
    MAX_HEAD_BYTES,
    MAX_LETTER_BYTES,
    DeadLetter,
    WholeMessage,
    dead_letter_of,
)
from dynatomic.dead_letters.store import CUTS, RETRY_S, DeadLetters
from dynatomic.dead_letters.topic import stored_letter
from dynatomic.kafka.replaceable import ReplaceableClient
from dynatomic.testing.kafka.broker import FakeBroker
from tests.support.clients import GROUP, LETTERS, TOPIC, Clock
from tests.support.harness import world

VALUE = bytes(range(256)) * 48_000  # 12 MB


class Consumed:
    """A consumed message."""

    def __init__(
        self, value: bytes | None, key: bytes | None = b"key", headers: Any = (("h", b"1"),)
    ) -> None:
        self._parts = {"value": value, "key": key, "headers": list(headers)}

    def __getattr__(self, name: str) -> Any:
        place = {"topic": TOPIC, "partition": 3, "offset": 14, "timestamp": (1, 15)}
        return lambda: (self._parts | place)[name]


def cut_of(message: Any) -> DeadLetter:
    return dead_letter_of(message, "payload-too-large", "12288000 bytes, the limit is 65536")


def test_a_letter_that_fits_is_whole() -> None:
    value = bytes(MAX_LETTER_BYTES - len(b"keyh1") - HEADER_BYTES)
    letter = cut_of(Consumed(value))
    assert (letter.value, letter.whole) == (value, None)
    assert cut_of(Consumed(value + b"!")).whole is not None


def test_a_large_letter_has_the_head_the_size_and_the_hash_of_the_value() -> None:
    letter = cut_of(Consumed(VALUE))
    assert letter.value == VALUE[:MAX_HEAD_BYTES]
    assert (letter.key, tuple(letter.headers)) == (b"key", (("h", b"1"),))
    assert letter.whole == WholeMessage(
        value_bytes=len(VALUE),
        value_sha256=hashlib.sha256(VALUE).hexdigest(),
        key_bytes=3,
        key_sha256=hashlib.sha256(b"key").hexdigest(),
        headers=1,
    )
    assert letter.size < MAX_LETTER_BYTES


@pytest.mark.parametrize(
    ("key", "value", "headers"),
    [
        (bytes(2_000_000), b"v", ()),
        (None, None, [("h", bytes(2_000_000)), ("h", None)]),
        (bytes(2_000_000), bytes(2_000_000), [("h", bytes(2_000_000))]),
        (None, b"v", [("h", b"")] * 400_000),
    ],
)
def test_a_large_key_and_large_headers_are_cut_too(
    key: bytes | None, value: bytes | None, headers: Any
) -> None:
    letter = cut_of(Consumed(value, key, headers))
    assert letter.size <= MAX_HEAD_BYTES + MAX_CUT_KEY_BYTES
    assert letter.whole is not None
    assert letter.whole.key_bytes == len(key or b"")
    assert letter.whole.headers == len(headers)
    assert (letter.value is None) == (value is None)


def store(letter: DeadLetter, broker: FakeBroker, topic_id: str | None) -> None:
    letters = DeadLetters(ReplaceableClient(broker.producer), LETTERS, GROUP, topic_id=topic_id)
    letters.store(letter, lambda: None)
    letters.poll()
    assert letters.pending == 0


@pytest.mark.parametrize("topic_id", [None, f"{7:032x}"])
def test_a_cut_letter_is_read_as_it_was_stored(topic_id: str | None) -> None:
    broker = FakeBroker(clock=Clock())
    broker.create_topic(LETTERS)
    letter = cut_of(Consumed(VALUE))
    store(letter, broker, topic_id)
    (message,) = broker.messages(LETTERS)
    stored = stored_letter(message)
    assert stored is not None
    assert stored.letter.whole == letter.whole
    assert stored.letter.value == letter.value
    assert tuple(stored.letter.headers) == (("h", b"1"),)
    assert (stored.topic_id, stored.group) == (topic_id or "", GROUP)


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b'{"value_bytes": 1}', b"[" * 100_000])
def test_another_header_of_the_name_makes_no_letter(text: bytes) -> None:
    assert WholeMessage.from_header(text) is None


def test_a_letter_that_the_topic_finds_too_large_is_cut_and_stored() -> None:
    """As in a topic that was made by hand, with less than Kafka's default limit."""
    with world() as w:
        member = w.worker()
        w.put(VALUE[:500_000])
        w.emit("a")
        w.broker.faults.fail_deliveries(KafkaError.MSG_SIZE_TOO_LARGE, 1)
        w.window()
        w.until(w.all_committed, step_s=RETRY_S)
        assert w.counts() == {"a": 1}
        (message,) = w.broker.messages(LETTERS)
        assert message.value() == VALUE[: CUTS[0][0]]
        headers: Any = message.headers()
        whole = json.loads(dict(headers)[CUT])
        assert whole["value_bytes"] == 500_000
        assert whole["value_sha256"] == hashlib.sha256(VALUE[:500_000]).hexdigest()
        assert (member.letters.pending, member.letters.pending_bytes) == (0, 0)


@pytest.mark.parametrize(
    ("key", "value", "headers"),
    [(bytes(600_000), b"bad", ()), (b"key", b"bad", (("h", bytes(600_000)),))],
)
def test_a_letter_is_cut_where_only_its_key_or_its_headers_are_too_large_for_the_topic(
    key: bytes, value: bytes, headers: Any
) -> None:
    broker, clock = FakeBroker(clock=Clock()), Clock()
    broker.create_topic(LETTERS)
    broker.faults.fail_deliveries(KafkaError.MSG_SIZE_TOO_LARGE, 1)
    letters = DeadLetters(ReplaceableClient(broker.producer), LETTERS, GROUP, clock)
    letters.store(dead_letter_of(Consumed(value, key, headers), "r", "d"), lambda: None)
    letters.poll()
    clock.advance(RETRY_S)
    letters.poll()
    letters.poll()
    (message,) = broker.messages(LETTERS)
    assert message.value() == value
    found = stored_letter(message)
    assert found is not None
    assert found.letter.size < 10_000
    assert found.letter.whole == WholeMessage.of(key, value, headers)
    assert (letters.pending, letters.pending_bytes) == (0, 0)


def test_the_headers_of_letters_that_wait_count_towards_their_bytes() -> None:
    broker = FakeBroker(clock=Clock())
    letters = DeadLetters(ReplaceableClient(broker.producer), LETTERS, GROUP)
    letters.store(dead_letter_of(Consumed(b"v", b"k", (("h", bytes(800_000)),)), "r", "d"), print)
    assert letters.pending_bytes >= 800_000
