"""From consumed messages into the windows of their partitions."""

import logging
from collections.abc import Callable, Mapping, Sequence
from itertools import compress, groupby
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
    addends, times, rejected = decoder.decode(list(map(value_of, messages)))
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
        offsets = _offsets(messages[start:end])
        partition.read_to(offsets[0], offsets[-1] + 1)
        adds, numbers = addends[start:end], None if times is None else times[start:end]
        if rejected:
            good = [place not in rejected for place in range(start, end)]
            for place in sorted(rejected.keys() & set(range(start, end))):
                filling.window.reject(offsets[place - start])
                error = rejected[place]
                store(filling, letter(messages[place], error.reason, error.detail))
            offsets, adds = list(compress(offsets, good)), list(compress(adds, good))
            numbers = None if numbers is None else list(compress(numbers, good))
        filling.window.add(offsets, adds, numbers)
        taken += end - start
    return taken


def _offsets(run: Sequence[Any]) -> Sequence[int]:
    """Return the offsets of messages of one partition, which ascend.

    Only transactions and compaction leave gaps: without, first and last say all.
    """
    first, last = offset_of(run[0]), offset_of(run[-1])
    if last - first == len(run) - 1:
        return range(first, last + 1)
    return list(map(offset_of, run))


def take_error(
    message: Any,
    partitions: Mapping[int, Partition],
    settings: Settings,
    may_say: Callable[[], bool] = lambda: True,
) -> None:
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
            f"Kafka denies topic {settings.topic} or group {settings.group_id} ({error.name()}): "
            "allow Read on both, and see `dynatomic config check --connect`"
        )
    elif may_say():
        fields = {"cause": error.name(), "partition": message.partition()}
        log.warning("Kafka error", extra={"fields": fields})
