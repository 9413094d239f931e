"""Puts consumed messages into the windows of their partitions."""

import logging
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate, chain, compress, groupby, repeat
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from confluent_kafka import KafkaError

from dynatomic.config.settings import Settings
from dynatomic.dead_letters.letter import DeadLetter, dead_letter_of
from dynatomic.events.decoded import Decoded
from dynatomic.events.window import Window
from dynatomic.kafka.client import AUTO_OFFSET_RESET, PARTITION_EOF
from dynatomic.kafka.event_reader import EventReader
from dynatomic.kafka.messages import (
    UNREADABLE_BATCHES,
    check_error,
    last_event_of,
    offset_of,
    partition_of,
    truncation_of,
    unreadable_batch_message,
)
from dynatomic.worker.in_flight import InFlightWindow
from dynatomic.worker.partition import Partition

log = logging.getLogger(__name__)

REREAD_S = 1.0
"""After how many seconds an event that could not be judged is read again."""


def take_in(
    messages: Sequence[Any],
    partitions: Mapping[int, Partition],
    reader: EventReader,
    store: Callable[[tuple[InFlightWindow, DeadLetter]], None],
    now: float,
) -> int:
    """Add messages to the filling windows, and return how many were added.

    ``store`` gets the dead letter of each message that cannot be counted. Messages of stopped
    partitions are dropped, and of those whose start is not validated yet. So are those of
    partitions that this member does not own: they may still arrive after a rebalance. A partition
    whose next event cannot be judged now takes nothing from there on.
    """
    decoded = reader.read(messages)
    increments_before = None if decoded.counts is None else [0, *accumulate(decoded.counts)]
    taken = end = 0
    for partition_id, run in groupby(map(partition_of, messages)):
        start, end = end, end + len(list(run))
        partition = partitions.get(partition_id)
        if partition is None or partition.stop_reason is not None or partition.waits_to_reread:
            continue
        if partition.needs_validation:
            # They are read again, from the offset that was validated.
            partition.record_read(offset_of(messages[start]), offset_of(messages[end - 1]) + 1)
            continue
        stop = _first_unavailable(decoded, start, end)
        if stop is not None:
            cause = str(decoded.unavailable[stop])
            partition.wait_to_reread(offset_of(messages[stop]), now + REREAD_S, cause)
            if stop == start:
                continue
        run_end = end if stop is None else stop
        filling = partition.filling
        filling.open(now, messages[start].timestamp()[1])
        offsets = _offsets(messages[start:run_end])
        partition.record_read(offsets[0], offsets[-1] + 1)
        filling.record_last(last_event_of(messages[run_end - 1]))
        rejected: list[int] = []
        if decoded.rejected:
            rejected = sorted(decoded.rejected.keys() & set(range(start, run_end)))
        for index in rejected:
            filling.window.reject(offsets[index - start])
            error = decoded.rejected[index]
            store((filling, dead_letter_of(messages[index], error.reason, error.detail)))
        if increments_before is None:
            _add_one_each(filling.window, offsets, decoded, start, {i - start for i in rejected})
        else:
            increment_range = increments_before[start], increments_before[run_end]
            _add_several(filling.window, offsets, decoded, start, increment_range)
        partition.counts.read += run_end - start
        taken += run_end - start
    return taken


def _first_unavailable(decoded: Decoded, start: int, end: int) -> int | None:
    """Return the index of the first event of a run that cannot be judged now."""
    if not decoded.unavailable:
        return None
    return min((i for i in decoded.unavailable if start <= i < end), default=None)


def _add_one_each(
    window: Window, offsets: Sequence[int], decoded: Decoded, start: int, rejected: set[int]
) -> None:
    """Add the events of one run, each of which adds to one counter if it is not rejected."""
    end = start + len(offsets)
    increments = decoded.unit_increments[start:end]
    multipliers = None if decoded.multipliers is None else decoded.multipliers[start:end]
    if rejected:
        is_accepted = [index not in rejected for index in range(end - start)]
        offsets = list(compress(offsets, is_accepted))
        increments = list(compress(increments, is_accepted))
        if multipliers is not None:
            multipliers = list(compress(multipliers, is_accepted))
    window.add(offsets, increments, multipliers)


def _add_several(
    window: Window,
    offsets: Sequence[int],
    decoded: Decoded,
    start: int,
    increment_range: tuple[int, int],
) -> None:
    """Add the events of one run, which may add to any number of counters.

    ``increment_range`` has the index of their first increment and the one after the last.
    """
    first, end = increment_range
    counts = (decoded.counts or [])[start : start + len(offsets)]
    without = counts.count(0)
    passed_over = without - sum(start <= index < start + len(offsets) for index in decoded.rejected)
    if passed_over:
        tombstones = sum(start <= i < start + len(offsets) for i in decoded.tombstones)
        window.pass_over(
            offsets[0], offsets[-1], unmatched=passed_over - tombstones, tombstones=tombstones
        )
    # All in C: one offset for each increment, as many times as its event adds.
    repeated = offsets if max(counts) == 1 and not without else _repeat_each(offsets, counts)
    multipliers = None if decoded.multipliers is None else decoded.multipliers[first:end]
    window.add(
        repeated, decoded.unit_increments[first:end], multipliers, events=len(counts) - without
    )


def _repeat_each(offsets: Sequence[int], counts: Sequence[int]) -> list[int]:
    return list(chain.from_iterable(map(repeat, offsets, counts)))


def _offsets(run: Sequence[Any]) -> Sequence[int]:
    """Return the offsets of consecutive messages of one partition, in ascending order.

    Only transactions and compaction leave gaps. Without a gap a range is enough.
    """
    first, last = offset_of(run[0]), offset_of(run[-1])
    if last - first == len(run) - 1:
        return range(first, last + 1)
    return list(map(offset_of, run))


def before_unreadable(
    messages: list[Any], errors: Sequence[Any]
) -> tuple[list[Any], Sequence[Any]]:
    """Return the messages and the errors of a poll, without those after an unreadable batch.

    The client may read on after such a batch. Its events would be skipped if later ones counted, or
    if the end of the partition was committed.
    """
    ends = {m.partition(): m.offset() for m in errors if m.error().code() in UNREADABLE_BATCHES}
    if not ends:
        return messages, errors

    def is_before(message: Any) -> bool:
        end = ends.get(message.partition())
        return end is None or message.offset() < end

    return (
        [m for m in messages if is_before(m)],
        [m for m in errors if m.error().code() != PARTITION_EOF or is_before(m)],
    )


def take_error(
    message: Any,
    partitions: Mapping[int, Partition],
    settings: Settings,
    should_log: Callable[[], bool] = lambda: True,
) -> None:
    """Handle an error message. Raises the errors of `check_error`."""
    error: KafkaError = message.error()
    code, partition = error.code(), partitions.get(message.partition())
    if code == PARTITION_EOF:
        # The end after a batch that cannot be read is not reached: it would be committed.
        is_reading = partition is not None and partition.stop_reason is None
        if partition is not None and is_reading and not partition.waits_to_reread:
            partition.record_read(message.offset(), message.offset())
    elif code == AUTO_OFFSET_RESET:
        # Without an offset, the error means that the group has no committed offset.
        # `Offsets.ensure_start` handles that, and this message may come after it has assigned the
        # partition.
        offset, truncation = message.offset(), truncation_of(error)
        if partition is not None and truncation is not None:
            partition.record_truncation(truncation)
        elif partition is not None and offset is not None and offset >= 0:
            partition.record_out_of_range()
    elif code in UNREADABLE_BATCHES and partition is not None:
        # The client repeats this error. A stopped partition never confirms its start. So events
        # that were read before the batch would stay unwritten, and the batch could not be skipped.
        # Events that were dropped until the start is validated are read again first.
        is_reread = partition.needs_validation and partition.position >= 0
        may_stop = partition.start_confirmed or (partition.is_empty and not is_reread)
        if partition.stop_reason is None and may_stop:
            reason = unreadable_batch_message(message, settings)
            partition.stop(reason)
            fields = {"topic": settings.topic, "partition": partition.id, "cause": reason}
            log.error("partition stopped", extra={"fields": fields})
    else:
        check_error(message, settings, should_log)
