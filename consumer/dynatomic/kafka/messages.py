"""Consumed messages: their parts, taken for whole batches, and what an error message means."""

import logging
from collections.abc import Callable
from typing import Any

from confluent_kafka import KafkaError, Message

from dynatomic.config.settings import Settings
from dynatomic.errors import ConfigError, DynatomicError
from dynatomic.kafka.client import FATAL

log = logging.getLogger(__name__)

# For `map`: a loop with method calls would cost ten times as much per message, and an
# `operator.methodcaller`, which looks the name up each time, four times.
value_of: Callable[[Any], Any] = Message.value
offset_of: Callable[[Any], int] = Message.offset  # type: ignore[assignment] # None: no message
partition_of: Callable[[Any], int] = Message.partition  # type: ignore[assignment] # the same
error_of: Callable[[Any], Any] = Message.error


def check_error(
    message: Any, settings: Settings, should_log: Callable[[], bool] = lambda: True
) -> None:
    """Judge a message that carries an error; other errors than these are only logged.

    Raises DynatomicError for an error that the client does not survive, and ConfigError for a
    denied topic or group.
    """
    error: KafkaError = message.error()
    code = error.code()
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
