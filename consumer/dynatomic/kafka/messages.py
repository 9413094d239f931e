"""Consumed messages: functions that read their parts, and what an error message means."""

import logging
from collections.abc import Callable
from shlex import quote
from typing import Any

from confluent_kafka import KafkaError, Message

from dynatomic.config.settings import Settings
from dynatomic.errors import ConfigError, DynatomicError
from dynatomic.kafka.admission import refusal_of
from dynatomic.kafka.client import FATAL

log = logging.getLogger(__name__)

# For `map` over a batch. A loop with method calls costs ten times as much for each message, and
# `operator.methodcaller`, which looks the name up each time, four times as much.
value_of: Callable[[Any], Any] = Message.value
offset_of: Callable[[Any], int] = Message.offset  # type: ignore[assignment] # None: no message
partition_of: Callable[[Any], int] = Message.partition  # type: ignore[assignment] # the same
error_of: Callable[[Any], Any] = Message.error

UNREADABLE_BATCH = KafkaError._BAD_COMPRESSION  # noqa: SLF001 - it has no public name
"""The client cannot unpack a batch; the message has the first offset of the batch."""


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
