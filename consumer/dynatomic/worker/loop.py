"""The loop: poll, window, write, commit, rebalance, shut down."""

import logging
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from threading import Event
from typing import TYPE_CHECKING, Any

from confluent_kafka import KafkaError, TopicPartition

from dynatomic.config.settings import Settings
from dynatomic.dead_letters.store import LetterStore
from dynatomic.dynamodb.write import WindowWriter
from dynatomic.kafka.event_reader import EventReader
from dynatomic.kafka.messages import error_of
from dynatomic.kafka.topic_identity import TopicIdCheck
from dynatomic.telemetry.durations import Durations
from dynatomic.telemetry.logs import RateLimiter
from dynatomic.worker.callbacks import CallbackErrors
from dynatomic.worker.causes import SharedErrors
from dynatomic.worker.event_counts import EventCounts
from dynatomic.worker.flow import FlowControl, filling_bytes
from dynatomic.worker.health import ProgressMonitor
from dynatomic.worker.intake import before_unreadable, take_error, take_in
from dynatomic.worker.limits import Limits
from dynatomic.worker.offsets import Offsets
from dynatomic.worker.partition import Partition
from dynatomic.worker.ratio import DeadLetterRatio
from dynatomic.worker.rejected import RejectedEvents
from dynatomic.worker.rereading import ReadAgain
from dynatomic.worker.settlement import Settlement

if TYPE_CHECKING:
    from dynatomic.dead_letters.letter import DeadLetter
    from dynatomic.worker.in_flight import InFlightWindow

log = logging.getLogger(__name__)

POLL_S, SHORT_POLL_S, LETTER_POLL_S = 0.1, 0.005, 0.02
LEAVE_S = 6.0
REVOKE_WAIT_S = 2.0
"""How long a revoked window may wait for a table or topic that does not work."""
UNKEYED_ACTION = (
    "an item gets a fence for each partition that names it: key events by table and item"
)


class Worker:
    """Counts the events of the partitions that the group assigns to it.

    ``make_consumer`` takes librdkafka's configuration and returns a Consumer. Everything but the
    writes and ``read_again`` happens on the thread that calls `tick`.
    """

    def __init__(  # noqa: PLR0913 - each is replaced in a test
        self,
        settings: Settings,
        *,
        make_consumer: Callable[[dict[str, Any]], Any],
        config: Mapping[str, Any],
        reader: EventReader,
        writer: WindowWriter,
        letters: LetterStore,
        read_again: ReadAgain,
        offsets: Offsets,
        topic_id_check: TopicIdCheck,
        has_new_counters: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.settings = settings
        self.partitions: dict[int, Partition] = {}
        self.event_counts: defaultdict[int, EventCounts] = defaultdict(EventCounts)
        self.events = 0
        self.drain_to: Mapping[int, int] = {}
        self.rebalances = {"assigned": 0, "revoked": 0, "lost": 0}
        self.poll_durations, self.decode_durations = Durations(), Durations()
        self.progress = ProgressMonitor()
        self._reader = reader
        self._writer = writer
        self._letters = letters
        self._offsets = offsets
        self._topic_id_check = topic_id_check
        self._clock = clock
        self._ratio = DeadLetterRatio(settings.dead_letter_max_ratio)
        self._wake = Event()
        self._should_log = RateLimiter(1.0, clock)
        topic_id = topic_id_check.topic_id if settings.exactly_once else None
        self.settlement = Settlement(
            writer=writer,
            letters=letters,
            rejected=RejectedEvents(settings.topic, reader, read_again, self._wake_up, clock),
            topic_id_check=topic_id_check,
            ratio=self._ratio,
            on_done=self._wake_up,
            topic_id=topic_id,
            has_new_counters=has_new_counters,
            clock=clock,
        )
        self._callbacks = CallbackErrors()
        self._is_closing = False
        self._key_checked = not settings.exactly_once
        self.consumer = make_consumer(
            {**config, "on_commit": self._callbacks.guard(self._on_commit)}
        )
        self._flow = FlowControl(self.consumer, settings.topic, letters)

    @property
    def topic_id(self) -> str | None:
        """The id of the topic, None if the brokers have no topic ids."""
        return self._topic_id_check.topic_id

    def subscribe(self) -> None:
        """Join the group."""
        self.consumer.subscribe(
            [self.settings.topic],
            on_assign=self._callbacks.guard(self._on_assign),
            on_revoke=self._callbacks.guard(self._on_revoke),
            on_lost=self._callbacks.guard(self._on_lost),
        )

    def assign(self, offsets: list[TopicPartition]) -> None:
        """Read partitions without joining the group, from the given offsets."""
        self.consumer.assign(offsets)
        self._on_assign(self.consumer, offsets)
        for partition in self.partitions.values():
            partition.confirm_start()

    def tick(self, timeout_s: float = POLL_S) -> None:
        """Poll once, and do the next steps of all partitions.

        After an exception only `close` is allowed.
        """
        if self._topic_id_check.pending:
            timeout_s = min(timeout_s, SHORT_POLL_S)
        started = self._clock()
        messages = self.consumer.consume(self._flow.poll_messages(self._limits), timeout_s)
        self._callbacks.raise_first()
        polled = self._clock()
        self.poll_durations.add(polled - started)
        if messages:
            self._take_in(messages)
            self.decode_durations.add(self._clock() - polled)
        if self._ratio.exceeded is not None and self._keep_only_closing():
            raise self._ratio.exceeded
        self._advance()
        self._flow.reread(self.partitions.values(), self._clock())
        self._flow.update(
            self.partitions.values(), self._limits, is_ending=self._ratio.exceeded is not None
        )

    def shut_down(self) -> bool:
        """Write the open windows, commit and leave the group; False if the time was too short.

        Up to `LEAVE_S` of the bound is kept for leaving the group: a coordinator that is busy with
        a rebalance answers neither a commit nor LeaveGroup, and librdkafka waits 5 s for that.
        """
        bound = self.settings.shutdown_timeout_ms / 1000
        deadline = self._clock() + bound - min(LEAVE_S, bound / 2)
        try:
            owned = list(self.partitions.values())
            self._flow.pause(owned)
            finished = self._write_out(owned, deadline, deadline)
            self._offsets.commit(self.consumer, self.partitions.values(), now=True)
            while any(p.committable_offset > p.committed_offset for p in self.partitions.values()):
                if self._clock() >= deadline:
                    return False
                self.consumer.consume(1, POLL_S)  # serves commit answers; all partitions are paused
                self._callbacks.raise_first()
                self._offsets.commit(self.consumer, self.partitions.values(), now=False)
            return finished
        finally:
            self.close()

    def close(self) -> None:
        """Leave the group at once. The next owner reads the events of unfinished windows again."""
        self._is_closing = True
        self.abandon(list(self.partitions))
        self.consumer.close()

    def _take_in(self, messages: list[Any]) -> None:
        errors: Sequence[Any] = []
        if any(map(error_of, messages)):
            errors = [m for m in messages if m.error() is not None]
            messages = [m for m in messages if m.error() is None]
            messages, errors = before_unreadable(messages, errors)
        if not self._key_checked and messages and messages[0].key() is None:
            self._key_checked = True
            log.warning("events without a key", extra={"fields": {"do": UNKEYED_ACTION}})
        letters: list[tuple[InFlightWindow, DeadLetter]] = []
        before = filling_bytes(self.partitions.values())
        taken = take_in(messages, self.partitions, self._reader, letters.append, self._clock())
        self.events += taken
        self.settlement.store_rejected(taken, letters, self.partitions)
        self._flow.record_poll(filling_bytes(self.partitions.values()) - before, len(messages))
        # The end of a partition comes after its events of the same batch, so the events go first.
        for message in errors:
            take_error(message, self.partitions, self.settings, self._should_log)

    def _keep_only_closing(self) -> bool:
        """Drop all windows except those being written; return whether these are committed.

        If the process ended before these are committed, their events would count twice.
        """
        is_committed = True
        for partition in self.partitions.values():
            is_committed &= partition.keep_only_closing()
        return is_committed

    def _advance(self, revoked: Sequence[Partition] = ()) -> None:
        """Do the next steps of all partitions; windows of ``revoked`` are closed at once."""
        if self._writer.failure is not None:
            raise self._writer.failure
        self._letters.poll(0.0)
        now, limits = self._clock(), self._limits
        self._offsets.ensure_start(self.consumer, self.partitions.values(), may_assign=not revoked)
        for partition in list(self.partitions.values()):
            self.settlement.advance(partition, now)
            is_drained = partition.reaches(self.drain_to.get(partition.id, -1))
            is_due = is_drained or limits.is_due(partition.filling, now)
            if partition.is_empty:
                partition.skip_to_position()
            elif partition.closing is None and (partition in revoked or is_due):
                partition.close_window(now, self._topic_id_check.check_number())
            self._offsets.handle_truncation(partition)
            if partition.out_of_range and partition.stop_reason is None and not revoked:
                self._offsets.handle_out_of_range(self.consumer, partition)
        self._topic_id_check.poll(self._wake_up)
        for partition in self.partitions.values():
            self.settlement.advance(partition, now)
            partition.record_progress(now)
        self._offsets.commit(self.consumer, self.partitions.values(), now=False)
        errors = SharedErrors(
            letters=self._letters.last_error,
            commits=self._offsets.last_error,
            topic_id=self._topic_id_check.last_error,
        )
        self.progress.check(tuple(self.partitions.values()), now, errors)

    def _wake_up(self, _done: object) -> None:
        self._wake.set()

    @property
    def _limits(self) -> Limits:
        return Limits(self.settings, len(self.partitions))

    def _write_out(
        self, partitions: Sequence[Partition], deadline: float, blocked_deadline: float
    ) -> bool:
        """Write the windows of revoked partitions; False if the time was too short.

        Windows that wait for a table or topic with a problem have time until ``blocked_deadline``.
        """
        while True:
            self._wake.clear()
            self._advance(revoked=partitions)
            unfinished = [p for p in partitions if not p.is_empty]
            if not unfinished:
                return True
            now, left_s = self._clock(), deadline - self._clock()
            is_blocked = now >= blocked_deadline and all(
                map(self.settlement.is_blocked, unfinished)
            )
            if is_blocked or left_s <= 0:
                return False
            self._wake.wait(min(left_s, LETTER_POLL_S if self._letters.pending else POLL_S))

    def abandon(self, partition_ids: Iterable[int]) -> None:
        """Drop partitions, so that nothing of them is written, committed or waited for."""
        for partition_id in partition_ids:
            partition = self.partitions.pop(partition_id, None)
            for window in partition.abandon() if partition else ():
                if window.write is not None:
                    self._writer.cancel(window.write)

    def _on_assign(self, _consumer: Any, assigned: list[TopicPartition]) -> None:
        for topic_partition in assigned:
            # librdkafka keeps a pause after a new assignment, so `FlowControl` resumes each new
            # one.
            partition_id = topic_partition.partition
            counts, now = self.event_counts[partition_id], self._clock()
            partition = Partition(partition_id, is_paused=True, progress_at=now, counts=counts)
            self.partitions[partition_id] = partition
        self.progress.has_joined = True
        self._log_rebalance("assigned", assigned)

    def _on_revoke(self, _consumer: Any, revoked: list[TopicPartition]) -> None:
        partition_ids = [r.partition for r in revoked]
        if not self._is_closing and self._callbacks.first is None:
            partitions = [self.partitions[i] for i in partition_ids if i in self.partitions]
            # Nothing is read here, also not from the other partitions.
            bound_s, now = self.settings.shutdown_timeout_ms / 1000, self._clock()
            if not self._write_out(partitions, now + bound_s, now + min(bound_s, REVOKE_WAIT_S)):
                log.warning("revoked before it was written; the next owner reads it again")
            self._offsets.commit(self.consumer, partitions, now=True)
        self.abandon(partition_ids)
        # The group gives a member that stays its next assignment soon, which may be empty.
        self.progress.has_joined = bool(self.partitions)
        self._log_rebalance("revoked", revoked)

    def _on_lost(self, _consumer: Any, lost: list[TopicPartition]) -> None:
        self.abandon(topic_partition.partition for topic_partition in lost)
        self.progress.has_joined = False
        self._log_rebalance("lost", lost)

    def _on_commit(self, error: KafkaError | None, results: list[TopicPartition]) -> None:
        self._offsets.on_commit_result(error, results, self.partitions)

    def _log_rebalance(self, event: str, changed: list[TopicPartition]) -> None:
        self.rebalances[event] += 1
        fields = {
            "topic": self.settings.topic,
            "partitions": sorted(topic_partition.partition for topic_partition in changed),
            "owned": len(self.partitions),
        }
        level = logging.WARNING if event == "lost" else logging.INFO
        log.log(level, event, extra={"fields": fields})
