"""Whether the consumer makes progress, and if not, why: one cause each.

Progress is the age of what happened last, never the absence of errors: a client whose brokers are
gone returns no message and raises nothing.
"""

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from dynatomic.worker.causes import (
    CLIENT_CAUSES,
    NO_ERRORS,
    NOT_BROKER_CAUSES,
    Cause,
    SharedErrors,
    Stall,
    cause_of,
)
from dynatomic.worker.partition import Partition

log = logging.getLogger(__name__)

STALLED_AFTER_S = 30.0
"""How often it is logged what is stuck, and after how many seconds first."""

RESTART_AFTER_S = 300.0
"""After how many seconds of what a restart mends the process ends, where no probe has ended it."""

MAX_LOGGED = 10
SPARE = "the group has more members than the topic has partitions"


@dataclass(slots=True)
class BrokerView:
    """What the brokers answered last. Only `service.end_offsets.EndOffsetPoller` writes it.

    ``end_offsets`` has the end of each partition, -1 where it is not known. ``is_answering`` says
    whether the newest request got an answer, ``answered_at`` when one did.
    """

    end_offsets: Mapping[int, int] = field(default_factory=dict)
    answered_at: float | None = None
    is_answering: bool = False
    last_error: str | None = None

    def silent_s(self, now: float) -> float:
        """Return for how many seconds they have not answered; 0 if they were never asked."""
        return (
            0.0 if self.answered_at is None or self.last_error is None else now - self.answered_at
        )


class ProgressMonitor:
    """The progress clocks: of the loop, of the group, and of each partition.

    The loop calls `look` at every turn; any thread may call `stuck`. What is stuck is logged too,
    twice a minute. ``clients_own`` is the first of it that the group's Kafka client may be to
    blame for, while brokers answer others.

    ``group_answered`` is set by the loop: the group gave this member an assignment. With
    ``group_answers_spares`` False the group protocol sends nothing to a member without a
    partition (KIP-848), so the newest answer of any broker counts instead.
    """

    def __init__(self, *, group_answers_spares: bool = True) -> None:
        self.brokers = BrokerView()
        self.group_answered = False
        self._group_answers_spares = group_answers_spares
        self.last_tick_at: float | None = None
        self.client_stall: Stall | None = None
        self._partitions: Collection[Partition] = ()
        self._troubles = NO_ERRORS
        self._unassigned_since = 0.0
        self._logged_at = 0.0
        self._was_spare = False
        self._unread: dict[int, tuple[int, float]] = {}

    @property
    def has_joined(self) -> bool:
        """Whether the group has this member, with or without a partition."""
        return self.group_answered if self._group_answers_spares else self.brokers.is_answering

    def check(
        self, partitions: Collection[Partition], now: float, troubles: SharedErrors = NO_ERRORS
    ) -> None:
        """Take note of where all partitions are, and log what is stuck, if it is time to."""
        if self.last_tick_at is None:
            self._unassigned_since = self._logged_at = now  # the start is no reason to complain
        self.last_tick_at = now
        self._partitions, self._troubles = partitions, troubles
        if partitions or self.has_joined:
            self._unassigned_since = now
        self._update_unread(partitions, now)
        if now - self._logged_at >= STALLED_AFTER_S:
            self._log_stalls(now)

    def stalls(self, now: float, after_s: float = STALLED_AFTER_S) -> list[Stall]:
        """Return all that has made no progress for ``after_s`` seconds, though events wait.

        Nothing before the loop's first turn: what comes before it has bounds of its own.
        """
        last_tick_at = self.last_tick_at
        if last_tick_at is None:
            return []
        if now - last_tick_at >= after_s:
            return [
                Stall(
                    Cause.LOOP_HANGS, f"no turn for {now - last_tick_at:.0f} s", now - last_tick_at
                )
            ]
        found = []
        partitions = list(self._partitions)
        silent = self.brokers.silent_s(now)
        if not partitions and not self.has_joined and now - self._unassigned_since >= after_s:
            detail = self.brokers.last_error or "no answer from the group"
            why = Cause.BROKER_DOWN if silent else Cause.NEVER_ASSIGNED
            found.append(Stall(why, detail, now - self._unassigned_since))
        for each in partitions:
            seconds = max(now - each.progress_at, self._unread_for(each, now))
            if seconds >= after_s or each.stop_reason:
                found.append(
                    self._stall_of(each, now, seconds, silent >= min(after_s, STALLED_AFTER_S))
                )
        if not found and silent >= after_s:
            said = f"no broker answers: {self.brokers.last_error}"
            found.append(Stall(Cause.BROKER_DOWN, said, silent))
        return found

    def _stall_of(self, each: Partition, now: float, seconds: float, silent: bool) -> Stall:  # noqa: FBT001
        waits = now - each.progress_at >= self._unread_for(each, now) or bool(each.stop_reason)
        why, detail = cause_of(each, self._troubles)
        if not waits:
            why, detail = Cause.FETCH_STOPPED, "events wait, and none was read"
        if silent and why not in NOT_BROKER_CAUSES:
            why, detail = (
                Cause.BROKER_DOWN,
                f"no broker answers: {self.brokers.last_error}; {detail}",
            )
        return Stall(why, detail, seconds, each.id)

    def _unread_for(self, partition: Partition, now: float) -> float:
        found = self._unread.get(partition.id)
        return 0.0 if found is None else now - found[1]

    def _update_unread(self, partitions: Collection[Partition], now: float) -> None:
        """Keep for how long each partition has had events that it could take and did not get."""
        ends, before = self.brokers.end_offsets, self._unread
        self._unread = {
            p.id: before[p.id]
            if before.get(p.id, (-1, 0.0))[0] == p.position
            else (p.position, now)
            for p in partitions
            if 0 <= p.position < ends.get(p.id, -1) and not p.is_paused
        }

    def _log_stalls(self, now: float) -> None:
        spare = self.has_joined and not self._partitions
        if spare and not self._was_spare:
            log.info("no partition assigned", extra={"fields": {"cause": SPARE}})
        self._was_spare = spare
        found = self.stalls(now)
        self.client_stall = next((each for each in found if each.cause in CLIENT_CAUSES), None)
        for each in found[:MAX_LOGGED]:
            self._logged_at = now
            stuck = {
                "partition": each.partition,
                "seconds": round(each.seconds),
                "why": each.cause.word,
                "cause": each.detail,
                "do": each.cause.hint,
                "stuck": len(found),
            }
            log.error("no progress", extra={"fields": stuck})
