"""The loop: poll, window, write, commit, rebalance, shut down."""

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from threading import Event
from typing import TYPE_CHECKING, Any

from confluent_kafka import KafkaError, TopicPartition

from dynatomic.config.settings import Settings
from dynatomic.dead_letters.store import LetterStore
from dynatomic.dynamodb.write import WindowWriter
from dynatomic.events.decoder import Decoder
from dynatomic.kafka.messages import error_of
from dynatomic.kafka.topic_identity import TopicIdCheck
from dynatomic.telemetry.durations import Durations
from dynatomic.telemetry.logs import RateLimiter
from dynatomic.worker.causes import SharedErrors
from dynatomic.worker.health import ProgressMonitor
from dynatomic.worker.intake import take_error, take_in
from dynatomic.worker.limits import Limits
from dynatomic.worker.offsets import Offsets
from dynatomic.worker.partition import InFlightWindow, Partition
from dynatomic.worker.ratio import DeadLetterRatio
from dynatomic.worker.refused import ReadAgain, RejectedEvents
from dynatomic.worker.settlement import Settlement

if TYPE_CHECKING:
    from dynatomic.dead_letters.letter import DeadLetter

log = logging.getLogger(__name__)

POLL_S, SHORT_POLL_S = 0.1, 0.005
LEAVE_S = 6.0
UNKEYED_ACTION = (
    "an item gets a fence for each partition that names it: key events by table and item"
)
MAX_LETTERS_PENDING, MAX_LETTER_BYTES_PENDING = 10_000, 16 * 1024 * 1024


class Worker:
    """Counts the events of the partitions that the group assigns to it.

    ``make_consumer`` takes librdkafka's configuration and returns a Consumer. Everything but the
    writes and ``read_again`` happens on the thread that calls `tick`.
    """

    def __init__(  # noqa: PLR0913 - its parts, each replaced in a test
        self,
        settings: Settings,
        make_consumer: Callable[[dict[str, Any]], Any],
        config: Mapping[str, Any],
        decoder: Decoder,
        writer: WindowWriter,
        letters: LetterStore,
        read_again: ReadAgain,
        offsets: Offsets,
        identity: TopicIdCheck,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.settings = settings
        self.partitions: dict[int, Partition] = {}
        self.events = 0
        self.rebalances = {"assigned": 0, "revoked": 0, "lost": 0}
        self.poll_durations, self.decode_durations = Durations(), Durations()
        self.progress = ProgressMonitor(group_answers_spares=settings.group_protocol == "classic")
        self._decoder = decoder
        self._writer = writer
        self._letters = letters
        self._offsets = offsets
        self._identity = identity
        self._clock = clock
        self._ratio = DeadLetterRatio(settings.dead_letter_max_ratio)
        self._wake = Event()
        self._may_say = RateLimiter(1.0, clock)
        refused = RejectedEvents(settings.topic, read_again, self._wake_up, clock)
        topic_id = identity.topic_id if settings.exactly_once else None
        self.settlement = Settlement(
            writer=writer,
            letters=letters,
            refused=refused,
            identity=identity,
            ratio=self._ratio,
            on_done=self._wake_up,
            topic_id=topic_id,
            clock=clock,
        )
        self._callback_error: BaseException | None = None
        self._closing = False
        self._key_checked = not settings.exactly_once
        self.consumer = make_consumer({**config, "on_commit": self._guard(self._on_commit)})

    @property
    def topic_id(self) -> str | None:
        """The id of the topic that is read, where the brokers give one."""
        return self._identity.topic_id

    def subscribe(self) -> None:
        """Join the group."""
        self.consumer.subscribe(
            [self.settings.topic],
            on_assign=self._guard(self._on_assign),
            on_revoke=self._guard(self._on_revoke),
            on_lost=self._guard(self._on_lost),
        )

    def assign(self, places: list[TopicPartition]) -> None:
        """Read partitions without joining the group, from the given offsets."""
        self.consumer.assign(places)
        self._on_assign(self.consumer, places)
        for partition in self.partitions.values():
            partition.start_confirmed = True

    def tick(self, timeout_s: float = POLL_S) -> None:
        """Read once, and move every partition on. After an exception only `close` is allowed."""
        if self._identity.pending:
            timeout_s = min(timeout_s, SHORT_POLL_S)
        began = self._clock()
        messages = self.consumer.consume(self._limits.poll_messages(), timeout_s)
        self._raise_from_callbacks()
        read = self._clock()
        self.poll_durations.add(read - began)
        if messages:
            self._take_in(messages)
            self.decode_durations.add(self._clock() - read)
        # What is on its way to a table is settled and committed first, or it would count twice.
        if self._ratio.exceeded and all(
            list(map(Partition.keep_only_closing, self.partitions.values()))
        ):
            raise self._ratio.exceeded
        self._advance()
        self._hold_back()

    def shut_down(self) -> bool:
        """Finish the open windows, commit and leave the group; False if the bound was too short.

        Of the bound, up to `LEAVE_S` is kept for leaving: a coordinator that is busy with a
        rebalance answers neither commits nor the farewell, and librdkafka waits 5 s for that.
        """
        bound = self.settings.shutdown_timeout_ms / 1000
        deadline = self._clock() + bound - min(LEAVE_S, bound / 2)
        try:
            mine = list(self.partitions.values())
            self._pause(mine, paused=True)
            finished = self._write_out(mine, deadline)
            self._offsets.commit(self.consumer, self.partitions.values(), now=True)
            while any(p.committable_offset > p.committed_offset for p in self.partitions.values()):
                if self._clock() >= deadline:
                    return False
                self.consumer.consume(1, POLL_S)  # serves the commit's answer; all is paused
                self._raise_from_callbacks()
                self._offsets.commit(self.consumer, self.partitions.values(), now=False)
            return finished
        finally:
            self.close()

    def close(self) -> None:
        """Leave the group at once; what is not settled is dropped and will be read again."""
        self._closing = True
        self._abandon(list(self.partitions))
        self.consumer.close()

    def _take_in(self, messages: list[Any]) -> None:
        errors: list[Any] = []
        if any(map(error_of, messages)):
            errors = [m for m in messages if m.error() is not None]
            messages = [m for m in messages if m.error() is None]
        if not self._key_checked and messages and messages[0].key() is None:
            self._key_checked = True
            log.warning("events without a key", extra={"fields": {"do": UNKEYED_ACTION}})
        bad: list[tuple[InFlightWindow, DeadLetter]] = []
        mine, keep = self.partitions, lambda *found: bad.append(found)
        taken = take_in(messages, mine, self._decoder, keep, self._clock())
        self.events += taken
        self.settlement.store_rejected(taken, bad)
        # An end of partition stands behind the events of the same batch, so these go first.
        for message in errors:
            take_error(message, self.partitions, self.settings, self._may_say)

    def _advance(self, finish: Sequence[Partition] = ()) -> None:
        """Move every partition on; those in ``finish`` without waiting for their windows' end."""
        if self._writer.failure is not None:
            raise self._writer.failure
        self._letters.poll(0.0)
        now, limits = self._clock(), self._limits
        self._offsets.ensure_start(self.consumer, self.partitions.values(), may_begin=not finish)
        for partition in list(self.partitions.values()):
            self.settlement.advance(partition, now)
            if partition.is_empty:
                # Nothing is held: all below the position is settled, markers of transactions too.
                if partition.start_confirmed:
                    partition.committable_offset = max(
                        partition.committable_offset, partition.position
                    )
            elif partition.closing is None and (
                partition in finish or limits.is_due(partition.filling, now)
            ):
                partition.close_window(now).topic_check_number = self._identity.check_number()
            if partition.out_of_range and partition.stop_reason is None and not finish:
                self._offsets.handle_out_of_range(self.consumer, partition)
        self._identity.poll(self._wake_up)
        for partition in self.partitions.values():
            self.settlement.advance(partition, now)
            if not partition.is_waiting:
                partition.progress_at = now
        self._offsets.commit(self.consumer, self.partitions.values(), now=False)
        troubles = SharedErrors(
            self._letters.last_error, self._offsets.last_error, self._identity.last_error
        )
        self.progress.check(tuple(self.partitions.values()), now, troubles)

    def _wake_up(self, _done: object) -> None:
        self._wake.set()

    @property
    def _limits(self) -> Limits:
        return Limits(self.settings, len(self.partitions))

    def _hold_back(self) -> None:
        """Pause what cannot take more; the loop goes on polling for all others."""
        held, limits = self._letters, self._limits
        crowded = (
            held.pending >= MAX_LETTERS_PENDING or held.pending_bytes >= MAX_LETTER_BYTES_PENDING
        )
        waits: dict[bool, list[Partition]] = {True: [], False: []}
        for p in self.partitions.values():
            full = p.closing is not None and limits.is_full(p.filling)
            ends = p.stop_reason is not None or self._ratio.exceeded is not None
            wait = full or ends or (crowded and p.filling.letters_pending > 0)
            if wait != p.is_paused:
                waits[wait].append(p)
        for paused, partitions in waits.items():
            self._pause(partitions, paused=paused)

    def _pause(self, partitions: list[Partition], *, paused: bool) -> None:
        if not partitions:
            return
        places = [TopicPartition(self.settings.topic, p.id) for p in partitions]
        (self.consumer.pause if paused else self.consumer.resume)(places)
        for partition in partitions:
            partition.is_paused = paused

    def _write_out(self, mine: list[Partition], deadline: float) -> bool:
        """Write the windows of partitions that are given up; False if time ran out first."""
        while True:
            self._wake.clear()
            self._advance(finish=mine)
            if all(p.is_empty for p in mine):
                return True
            left = deadline - self._clock()
            if left <= 0:
                return False
            self._wake.wait(min(left, 0.02 if self._letters.pending else POLL_S))

    def _abandon(self, numbers: Iterable[int]) -> None:
        for number in numbers:
            partition = self.partitions.pop(number, None)
            for pending in partition.abandon() if partition else ():
                if pending.write is not None:
                    self._writer.cancel(pending.write)

    # librdkafka's callbacks. One that raises loses messages and hangs close, so what they raise
    # is kept and raised by `tick`.

    def _guard(self, callback: Callable[..., None]) -> Callable[..., None]:
        def guarded(*args: Any) -> None:
            try:
                callback(*args)
            except BaseException as error:  # noqa: BLE001 - raised by _raise_from_callbacks
                self._callback_error = self._callback_error or error

        return guarded

    def _raise_from_callbacks(self) -> None:
        if self._callback_error is not None:
            raise self._callback_error

    def _on_assign(self, _consumer: Any, places: list[TopicPartition]) -> None:
        for place in places:
            # librdkafka keeps a pause over assignments: taken for paused, so that it is resumed.
            partition = Partition(place.partition, is_paused=True, progress_at=self._clock())
            self.partitions[place.partition] = partition
        self.progress.group_answered = True
        self._log_rebalance("assigned", places)

    def _on_revoke(self, _consumer: Any, places: list[TopicPartition]) -> None:
        numbers = [place.partition for place in places]
        if not self._closing and self._callback_error is None:
            mine = [p for n in numbers if (p := self.partitions.get(n)) is not None]
            deadline = self._clock() + self.settings.shutdown_timeout_ms / 1000
            if not self._write_out(mine, deadline):
                log.warning("revoked before it was written; the next owner reads it again")
            self._offsets.commit(self.consumer, mine, now=True)
        self._abandon(numbers)
        # The group tells a member that stays what it has next, be it nothing.
        self.progress.group_answered = bool(self.partitions)
        self._log_rebalance("revoked", places)

    def _on_lost(self, _consumer: Any, places: list[TopicPartition]) -> None:
        self._abandon(place.partition for place in places)
        self.progress.group_answered = False
        self._log_rebalance("lost", places)

    def _on_commit(self, error: KafkaError | None, places: list[TopicPartition]) -> None:
        self._offsets.on_commit_result(error, places, self.partitions)

    def _log_rebalance(self, what: str, places: list[TopicPartition]) -> None:
        self.rebalances[what] += 1
        numbers = sorted(place.partition for place in places)
        fields = {
            "topic": self.settings.topic,
            "partitions": numbers,
            "owned": len(self.partitions),
        }
        log.log(logging.WARNING if what == "lost" else logging.INFO, what, extra={"fields": fields})
