"""From consumed messages into the windows of their partitions."""

import logging
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from typing import Any

from confluent_kafka import KafkaError, Message

from consumer.dead_letters import Letter, letter
from consumer.decoder import Decoder
from consumer.errors import ConfigError, DynatomicError
from consumer.kafka import AUTO_OFFSET_RESET, FATAL, PARTITION_EOF
from consumer.partition import Partition, Pending
from consumer.settings import Settings

log = logging.getLogger(__name__)

# For `map`: a loop with method calls would cost ten times as much a message, and an
# `operator.methodcaller`, which looks the name up each time, four times.
value_of: Callable[[Any], Any] = Message.value
offset_of: Callable[[Any], int] = Message.offset  # type: ignore[assignment] # None: no message
number_of: Callable[[Any], int] = Message.partition  # type: ignore[assignment] # the same
error_of: Callable[[Any], Any] = Message.error


def take_in(
    messages: Sequence[Any],
    partitions: Mapping[int, Partition],
    decoder: Decoder,
    store: Callable[[Pending, Letter], None],
    now: float,
) -> int:
    """Add messages to the filling windows and return how many; bad ones go to ``store``.

    Messages of partitions that are not ours, which may still arrive after a rebalance, and of
    stopped ones are dropped.
    """
    refs, incrs, rejected = decoder.decode(list(map(value_of, messages)))
    offsets = list(map(offset_of, messages))
    taken = end = 0
    for number, run in groupby(map(number_of, messages)):
        start, end = end, end + len(list(run))
        partition = partitions.get(number)
        if partition is None or partition.stopped is not None:
            continue
        filling = partition.filling
        if not len(filling.window):
            filling.since = now
            filling.born = messages[start].timestamp()[1]
        if rejected:
            good = [i for i in range(start, end) if i not in rejected]
            for i in sorted(rejected.keys() & set(range(start, end))):
                filling.window.reject(offsets[i])
                store(filling, letter(messages[i], rejected[i].reason, rejected[i].detail))
            filling.window.add(
                [offsets[i] for i in good], [refs[i] for i in good], [incrs[i] for i in good]
            )
        else:
            filling.window.add(offsets[start:end], refs[start:end], incrs[start:end])
        partition.read_to(offsets[start], offsets[end - 1] + 1)
        taken += end - start
    return taken


def take_error(message: Any, partitions: Mapping[int, Partition], settings: Settings) -> None:
    """Take in an error that came as a message.

    Raises DynatomicError for one that the client does not survive, and ConfigError for a denied
    topic or group; other errors of the brokers pass, so they are logged.
    """
    error: KafkaError = message.error()
    code, partition = error.code(), partitions.get(message.partition())
    if code == PARTITION_EOF:
        if partition is not None:
            partition.read_to(message.offset(), message.offset())
    elif code == AUTO_OFFSET_RESET:
        # Without an offset it says that none is committed, which the worker finds out by itself:
        # it may come after the partition was begun.
        offset = message.offset()
        if partition is not None and offset is not None and offset >= 0:
            partition.reset = True
    elif code == FATAL or error.fatal():
        raise DynatomicError(f"the Kafka client failed for good: {error.str()}; start it again")
    elif code in (KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.GROUP_AUTHORIZATION_FAILED):
        raise ConfigError(
            f"Kafka denies topic {settings.topic} or group {settings.group_id}: "
            f"allow Read on both ({error.name()})"
        )
    else:
        fields = {"cause": error.name(), "partition": message.partition()}
        log.warning("Kafka error", extra={"fields": fields})
