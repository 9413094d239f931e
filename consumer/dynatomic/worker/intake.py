"""From consumed messages into the windows of their partitions."""

import logging
from collections.abc import Callable, Mapping, Sequence
from itertools import compress, groupby
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from confluent_kafka import KafkaError

from dynatomic.config.settings import Settings
from dynatomic.dead_letters.letter import DeadLetter, dead_letter_of
from dynatomic.events.decoder import Decoder
from dynatomic.kafka.client import AUTO_OFFSET_RESET, PARTITION_EOF
from dynatomic.kafka.messages import check_error, offset_of, partition_of, value_of
from dynatomic.worker.partition import InFlightWindow, Partition

log = logging.getLogger(__name__)


def take_in(
    messages: Sequence[Any],
    partitions: Mapping[int, Partition],
    decoder: Decoder,
    store: Callable[[InFlightWindow, DeadLetter], None],
    now: float,
) -> int:
    """Add messages to the filling windows and return how many; bad ones go to ``store``.

    Messages of partitions that are not ours, which may still arrive after a rebalance, and of
    stopped ones are dropped.
    """
    addends, times, rejected = decoder.decode(list(map(value_of, messages)))
    taken = end = 0
    for number, run in groupby(map(partition_of, messages)):
        start, end = end, end + len(list(run))
        partition = partitions.get(number)
        if partition is None or partition.stop_reason is not None:
            continue
        filling = partition.filling
        if not len(filling.window):
            filling.since = now
            filling.first_timestamp_ms = messages[start].timestamp()[1]
        offsets = _offsets(messages[start:end])
        partition.record_read(offsets[0], offsets[-1] + 1)
        adds, numbers = addends[start:end], None if times is None else times[start:end]
        if rejected:
            good = [place not in rejected for place in range(start, end)]
            for place in sorted(rejected.keys() & set(range(start, end))):
                filling.window.reject(offsets[place - start])
                error = rejected[place]
                store(filling, dead_letter_of(messages[place], error.reason, error.detail))
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
    should_log: Callable[[], bool] = lambda: True,
) -> None:
    """Take in an error that came as a message; raises what `check_error` raises."""
    error: KafkaError = message.error()
    code, partition = error.code(), partitions.get(message.partition())
    if code == PARTITION_EOF:
        if partition is not None:
            partition.record_read(message.offset(), message.offset())
    elif code == AUTO_OFFSET_RESET:
        # Without an offset it says that none is committed, which the worker finds out by itself:
        # it may come after the partition was begun.
        offset = message.offset()
        if partition is not None and offset is not None and offset >= 0:
            partition.out_of_range = True
    else:
        check_error(message, settings, should_log)
