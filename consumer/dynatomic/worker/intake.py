"""Puts consumed messages into the windows of their partitions."""

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
from dynatomic.kafka.messages import (
    UNREADABLE_BATCH,
    check_error,
    offset_of,
    partition_of,
    unreadable_batch_message,
    value_of,
)
from dynatomic.worker.in_flight import InFlightWindow
from dynatomic.worker.partition import Partition

log = logging.getLogger(__name__)


def take_in(
    messages: Sequence[Any],
    partitions: Mapping[int, Partition],
    decoder: Decoder,
    store: Callable[[tuple[InFlightWindow, DeadLetter]], None],
    now: float,
) -> int:
    """Add messages to the filling windows, and return how many were added.

    ``store`` gets the dead letter of each message that cannot be decoded. Messages of stopped
    partitions are dropped, and so are those of partitions that this member does not own: they may
    still arrive after a rebalance.
    """
    increments, multipliers, rejected = decoder.decode(list(map(value_of, messages)))
    taken = end = 0
    for partition_id, run in groupby(map(partition_of, messages)):
        start, end = end, end + len(list(run))
        partition = partitions.get(partition_id)
        if partition is None or partition.stop_reason is not None:
            continue
        filling = partition.filling
        filling.open(now, messages[start].timestamp()[1])
        offsets = _offsets(messages[start:end])
        partition.record_read(offsets[0], offsets[-1] + 1)
        run_increments = increments[start:end]
        run_multipliers = None if multipliers is None else multipliers[start:end]
        if rejected:
            is_accepted = [index not in rejected for index in range(start, end)]
            for index in sorted(rejected.keys() & set(range(start, end))):
                filling.window.reject(offsets[index - start])
                error = rejected[index]
                store((filling, dead_letter_of(messages[index], error.reason, error.detail)))
            offsets = list(compress(offsets, is_accepted))
            run_increments = list(compress(run_increments, is_accepted))
            if run_multipliers is not None:
                run_multipliers = list(compress(run_multipliers, is_accepted))
        filling.window.add(offsets, run_increments, run_multipliers)
        partition.counts.read += end - start
        taken += end - start
    return taken


def _offsets(run: Sequence[Any]) -> Sequence[int]:
    """Return the offsets of consecutive messages of one partition, which ascend.

    Only transactions and compaction leave gaps. Without a gap a range is enough.
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
    """Handle an error that came as a message. Raises what `check_error` raises."""
    error: KafkaError = message.error()
    code, partition = error.code(), partitions.get(message.partition())
    if code == PARTITION_EOF:
        if partition is not None:
            partition.record_read(message.offset(), message.offset())
    elif code == AUTO_OFFSET_RESET:
        # Without an offset the error says that the group has none. `Offsets.ensure_start` finds
        # that too, and this message may come after it has assigned the partition.
        offset = message.offset()
        if partition is not None and offset is not None and offset >= 0:
            partition.record_out_of_range()
    elif code == UNREADABLE_BATCH and partition is not None:
        # The client repeats this error. A stopped partition never confirms its start, so events
        # that were read before the batch would stay unwritten, and the batch out of reach.
        can_finish = partition.start_confirmed or partition.is_empty
        if partition.stop_reason is None and can_finish:
            reason = unreadable_batch_message(message, settings)
            partition.stop(reason)
            fields = {"topic": settings.topic, "partition": partition.id, "cause": reason}
            log.error("partition stopped", extra={"fields": fields})
    else:
        check_error(message, settings, should_log)
