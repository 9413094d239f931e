"""The state of a consumer as one frozen value. Status, metrics and probes read only this value.

`SnapshotSource.take` may be called on any thread. It reads whole numbers and short lists, so the
loop never waits for a reader. Values that the loop changes meanwhile may be one poll apart.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from dynatomic.dead_letters.store import LetterStore
from dynatomic.dynamodb.counters import Counters
from dynatomic.dynamodb.meter import OUTCOMES, Meter, Outcome
from dynatomic.kafka.event_reader import EventReader
from dynatomic.telemetry.durations import Durations
from dynatomic.worker.causes import Stall
from dynatomic.worker.event_counts import EventCounts
from dynatomic.worker.loop import Worker
from dynatomic.worker.offsets import Offsets
from dynatomic.worker.partition import Partition

PartitionState = Literal["reading", "paused", "stopped"]
Histogram = tuple[Sequence[int], float]
"""Counts by bucket of `telemetry.durations.BUCKETS`, the last one without a bound; and the sum."""


@dataclass(frozen=True, slots=True)
class PartitionSnapshot:
    """One assigned partition. An offset is None where it is not known.

    ``position`` is the offset after the last event that was read. ``end_offset`` is the last stable
    offset: an open transaction holds back the offsets from there to the ``high_watermark``.
    ``lag_offsets`` goes from the committed offset to the end. ``lag_seconds`` is the age of the
    oldest event that is not committed: 0 without a lag, None if its timestamp is not known. For a
    stopped partition, which reads nothing, it is at least the time since it stopped.
    ``refused_tables`` has the tables that refuse the window being written, each with the cause.
    """

    id: int
    state: PartitionState
    stop_reason: str | None
    position: int | None
    committed_offset: int | None
    end_offset: int | None
    high_watermark: int | None
    lag_offsets: int | None
    lag_seconds: float | None
    held_events: int
    counts: EventCounts
    refused_tables: Mapping[str, str]

    @property
    def transaction_offsets(self) -> int:
        """The offsets that an open transaction holds back."""
        return (self.high_watermark or 0) - (self.end_offset or 0)

    @classmethod
    def of(
        cls,
        partition: Partition,
        *,
        end_offset: int = -1,
        high_watermark: int = -1,
        unix_time: float = 0.0,
        stopped_time: float | None = None,
    ) -> "PartitionSnapshot":
        """Read a partition. ``end_offset`` and ``high_watermark`` are -1 if they are not known.

        ``stopped_time`` is when it was first seen to be stopped, in Unix time.
        """
        position = partition.position
        start = -1 if partition.start_offset is None else partition.start_offset
        committed = max(partition.committed_offset, start)
        end = max(end_offset, position)
        base = committed if committed >= 0 else partition.first_read_offset
        lag = max(0, end - base) if min(base, end) >= 0 else None
        write = partition.closing.write if partition.closing is not None else None
        state: PartitionState = "paused" if partition.is_paused else "reading"
        return cls(
            id=partition.id,
            state="stopped" if partition.stop_reason else state,
            stop_reason=partition.stop_reason,
            position=_known(position),
            committed_offset=_known(committed),
            end_offset=_known(end),
            high_watermark=_known(max(high_watermark, end)),
            lag_offsets=lag,
            lag_seconds=_lag_seconds(partition, lag, unix_time, stopped_time),
            held_events=partition.held_events(),
            counts=replace(partition.counts),
            refused_tables={} if write is None else write.refused_tables,
        )


@dataclass(frozen=True, slots=True)
class ConsumerSnapshot:
    """A consumer at one moment. Totals count from its start.

    ``has_joined`` says that the group has this member, with or without a partition.
    ``loop_age_seconds`` is the time since the last turn of the loop, None before the first one.
    ``stalls`` has the stalls, and ``waits`` those that are only seconds old. ``partitions`` is
    sorted by id. ``event_counts`` has each partition that was ever assigned, ``unaccounted_events``
    the events of each that were read and have no outcome, which is 0 except for a moment.
    ``unknown_outcomes`` counts the requests that may have been applied or not. ``write_units`` are
    those that DynamoDB reported. ``last_commit_time`` is in Unix time, 0 without a commit.
    """

    has_joined: bool
    loop_age_seconds: float | None
    stalls: tuple[Stall, ...]
    waits: tuple[Stall, ...]
    brokers_silent_seconds: float
    partitions: tuple[PartitionSnapshot, ...]
    events: int
    payloads_decoded: int
    windows: int
    window_events: int
    window_counters: int
    suppressed_events: int
    event_counts: Mapping[int, EventCounts]
    unaccounted_events: Mapping[int, int]
    dead_letters: Mapping[str, int]
    dead_letters_pending: int
    requests: Mapping[tuple[str, Outcome], int]
    throttles: Mapping[str, int]
    unknown_outcomes: Mapping[str, int]
    write_units: Mapping[str, float]
    commits: Mapping[str, int]
    last_commit_time: float
    rebalances: Mapping[str, int]
    phase_durations: Mapping[str, Histogram]
    request_durations: Mapping[tuple[str, str], Histogram]
    in_flight: Mapping[str, int]

    @property
    def lag_offsets(self) -> int:
        """The lag of all partitions together, as far as it is known."""
        return sum(partition.lag_offsets or 0 for partition in self.partitions)

    @property
    def held_events(self) -> int:
        """The events in windows that fill or are written."""
        return sum(partition.held_events for partition in self.partitions)


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotSource:
    """The objects that a snapshot is read from; in a dry run some of them count nothing.

    A partition is stalled after ``stalled_after_s`` seconds without progress. ``clock`` is
    monotonic, ``unix_clock`` is Unix time. ``stopped_times`` has when each stopped partition was
    first seen to be stopped.
    """

    worker: Worker
    reader: EventReader
    letters: LetterStore
    offsets: Offsets
    counters: Counters
    meter: Meter
    stalled_after_s: float
    clock: Callable[[], float] = time.monotonic
    unix_clock: Callable[[], float] = time.time
    stopped_times: dict[int, float] = field(default_factory=dict)

    def take(self) -> ConsumerSnapshot:
        """Read all of it."""
        worker, meter, now = self.worker, self.meter, self.clock()
        progress, tally = worker.progress, worker.settlement.tally
        last_tick_at = progress.last_tick_at
        phases = {
            "poll": worker.poll_durations,
            "decode": worker.decode_durations,
            "write": tally.write_durations,
            "commit": self.offsets.commit_durations,
        }
        tables = tuple(self.counters.keys)
        partitions = self._partitions()
        event_counts = {id_: replace(counts) for id_, counts in sorted(worker.event_counts.items())}
        event_counts |= {partition.id: partition.counts for partition in partitions}
        held = {partition.id: partition.held_events for partition in partitions}
        return ConsumerSnapshot(
            has_joined=progress.has_joined,
            loop_age_seconds=None if last_tick_at is None else max(0.0, now - last_tick_at),
            stalls=tuple(progress.stalls(now, self.stalled_after_s)),
            waits=progress.waits.current,
            brokers_silent_seconds=progress.brokers.silent_s(now),
            partitions=partitions,
            events=worker.events,
            payloads_decoded=self.reader.decodes,
            windows=tally.windows,
            window_events=tally.events,
            window_counters=tally.counters,
            suppressed_events=tally.suppressed,
            event_counts=event_counts,
            unaccounted_events={
                id_: counts.unaccounted(held.get(id_, 0)) for id_, counts in event_counts.items()
            },
            dead_letters=dict(tally.letters),
            dead_letters_pending=self.letters.pending,
            requests={
                (table, outcome): meter.requests[table, outcome]
                for table in tables
                for outcome in OUTCOMES
            },
            throttles={table: meter.throttles[table] for table in tables},
            unknown_outcomes={table: meter.unknown[table] for table in tables},
            write_units={table: self.counters.units.by_table[table] for table in tables},
            commits=dict(self.offsets.commits),
            last_commit_time=self.offsets.last_commit,
            rebalances=dict(worker.rebalances),
            phase_durations=_read(phases),
            request_durations={
                (table, outcome): meter.durations[table, outcome].read()
                for table, outcome in list(meter.durations)
            },
            in_flight={table: meter.in_flight[table] for table in tables},
        )

    def _partitions(self) -> tuple[PartitionSnapshot, ...]:
        brokers, unix_time = self.worker.progress.brokers, self.unix_clock()
        ends, high_watermarks = brokers.end_offsets, brokers.high_watermarks
        owned = sorted(self.worker.partitions.values(), key=lambda partition: partition.id)
        return tuple(
            PartitionSnapshot.of(
                partition,
                end_offset=ends.get(partition.id, -1),
                high_watermark=high_watermarks.get(partition.id, -1),
                unix_time=unix_time,
                stopped_time=self._stopped_time(partition, unix_time),
            )
            for partition in owned
        )

    def _stopped_time(self, partition: Partition, unix_time: float) -> float | None:
        """Return when the partition was first seen to be stopped, None if it is not stopped."""
        if not partition.stop_reason:
            self.stopped_times.pop(partition.id, None)
            return None
        return self.stopped_times.setdefault(partition.id, unix_time)


def _read(durations: Mapping[str, Durations]) -> dict[str, Histogram]:
    return {label: histogram.read() for label, histogram in durations.items()}


def _lag_seconds(
    partition: Partition, lag: int | None, unix_time: float, stopped_time: float | None
) -> float | None:
    if lag == 0:
        return 0.0
    oldest_ms = 0 if lag is None else partition.oldest_timestamp_ms()
    oldest_time = oldest_ms / 1000 if oldest_ms > 0 else stopped_time
    return None if oldest_time is None else max(0.0, unix_time - oldest_time)


def _known(offset: int) -> int | None:
    return offset if offset >= 0 else None
