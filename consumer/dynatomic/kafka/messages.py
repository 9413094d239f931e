"""Consumed messages: functions that read their parts, and what an error message means."""

import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from shlex import quote
from typing import Any

from confluent_kafka import KafkaError, Message

from dynatomic.config.settings import Settings
from dynatomic.errors import ConfigError, DynatomicError
from dynatomic.kafka.admission import refusal_of
from dynatomic.kafka.client import FATAL
from dynatomic.kafka.commit_metadata import LastEvent
from dynatomic.kafka.replayed import Headers

log = logging.getLogger(__name__)

# For `map` over a batch. A loop with method calls costs ten times as much for each message, and
# `operator.methodcaller`, which looks the name up each time, four times as much.
value_of: Callable[[Any], Any] = Message.value
offset_of: Callable[[Any], int] = Message.offset  # type: ignore[assignment] # None: no message
partition_of: Callable[[Any], int] = Message.partition  # type: ignore[assignment] # the same
error_of: Callable[[Any], Any] = Message.error
headers_of: Callable[[Any], Headers | None] = Message.headers  # type: ignore[assignment] # as bytes

UNDECODABLE_HEADERS = (SystemError, UnicodeError)
"""What `Message.headers` raises if the name of a header is not UTF-8."""

_TRUNCATED = KafkaError(KafkaError._LOG_TRUNCATION).str()  # noqa: SLF001 - it has no public name
_TRUNCATION = re.compile(r"detected at offset (\d+) .*broker end offset is (\d+) ")

UNREADABLE_BATCH = KafkaError._BAD_COMPRESSION  # noqa: SLF001 - it has no public name
"""The client cannot unpack a batch; the message has the first offset of the batch."""
UNREADABLE_BATCHES = (UNREADABLE_BATCH, KafkaError._BAD_MSG)  # noqa: SLF001 - as above
"""The same, or the batch has another checksum than its producer gave it: the disk of a broker, or
the network, has damaged it. librdkafka 2.16 then reads on within the batch, and what it says next
means nothing."""


def readable_headers(message: Any) -> tuple[tuple[str, bytes | None], ...] | None:
    """Return the headers of a message, None if the client cannot decode their names."""
    try:
        return tuple(message.headers() or ())
    except UNDECODABLE_HEADERS:
        return None


def last_event_of(message: Any) -> LastEvent:
    """Return what a commit says of a message that is the last one below the committed offset."""
    timestamp_type, time_ms = message.timestamp()
    epoch = message.leader_epoch()
    return LastEvent(
        message.offset(),
        epoch if epoch is not None and epoch >= 0 else None,
        time_ms if timestamp_type and time_ms >= 0 else None,
    )


@dataclass(frozen=True, slots=True)
class Truncation:
    """A log that lost its tail: its events from ``end`` on are lost.

    ``read`` is the offset up to which the client, or the group, had read. Each is None if the
    error of the client does not say it.
    """

    end: int | None = None
    read: int | None = None


def truncation_of(error: KafkaError) -> Truncation | None:
    """Return how a log was cut, None if the error says nothing of the kind.

    The client compares leader epochs with those of the broker (KIP-320, OffsetsForLeaderEpoch):
    whenever the leader changes, and at `Consumer.seek` with a leader epoch. It reports a log that
    was cut by ``_AUTO_OFFSET_RESET``, as any other offset that the log does not have, with a text.
    """
    text = error.str()
    if _TRUNCATED not in text:
        return None
    match = _TRUNCATION.search(text)
    return Truncation(int(match[2]), int(match[1])) if match else Truncation()


def unreadable_batch_message(message: Any, settings: Settings) -> str:
    """Return the reason why a partition stops at a batch that the client cannot unpack."""
    topic, partition, offset = settings.topic, message.partition(), message.offset()
    return (
        f"{topic}:{partition} has a batch at offset {offset} that the Kafka client cannot unpack "
        f"({message.error().name()}); to skip this batch and leave a dead letter: stop the group, "
        f"then `dynatomic dlq skip-batch -g {quote(settings.group_id)} -t {topic} "
        f"--partition {partition} --offset {offset} --execute`"
    )


def check_error(
    message: Any, settings: Settings, should_log: Callable[[], bool] = lambda: True
) -> None:
    """Raise or log the error that a message carries.

    Raises DynatomicError if the client cannot continue, GroupRefusedError if the group does not
    take this member, and ConfigError if the topic or the group is denied. Any other error is logged
    as a warning if ``should_log`` allows it.
    """
    error: KafkaError = message.error()
    code = error.code()
    if refusal := refusal_of(error, settings):
        raise refusal
    if code == FATAL or error.fatal():
        raise DynatomicError(f"the Kafka client failed for good: {error.str()}; start it again")
    if code in (KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.GROUP_AUTHORIZATION_FAILED):
        raise ConfigError(
            f"Kafka denies topic {settings.topic} or group {settings.group_id} ({error.name()}): "
            "allow Read on both, and see `dynatomic config check --connect`"
        )
    if should_log():
        fields = {"cause": error.name(), "partition": message.partition()}
        log.warning("Kafka error", extra={"fields": fields})
