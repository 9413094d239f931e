"""Whether the consumer makes progress, and the cause if it does not.

Progress is measured by the age of the last success, never by the absence of errors: a client that
lost its brokers returns no messages and no error.
"""

import logging
from collections.abc import Collection

from dynatomic.worker.brokers import BrokerView
from dynatomic.worker.causes import (
    CLIENT_CAUSES,
    NO_ERRORS,
    NOT_BROKER_CAUSES,
    TABLE_CAUSES,
    Cause,
    SharedErrors,
    Stall,
    cause_of,
    has_evidence,
    tables_waited_for,
)
from dynatomic.worker.partition import Partition
from dynatomic.worker.waits import WAIT_AFTER_S, WaitMonitor

log = logging.getLogger(__name__)

STALLED_AFTER_S = 30.0
"""After how many seconds a stall is logged first, and how often it is logged again."""

RESTART_AFTER_S = 300.0
"""After how many seconds the process exits, if a restart can end the stall."""

WAIT_INTERVAL_S = 1.0

TRANSACTION_AFTER_S = 10.0
"""After how many seconds an open transaction is reported. Producers with transactions often commit
every few seconds."""

MAX_LOGGED = 10
SPARE = "the group has more members than the topic has partitions"


class ProgressMonitor:
    """The progress clocks of the loop, of the group, and of each partition.

    The loop calls `check` at every tick. Any thread may call `stalls`. Stalls are logged too, twice
    a minute. ``waits`` has the stalls that are only seconds old. ``client_stall`` is the first
    stall that the Kafka client of the group may have caused, while the brokers answer other
    clients.

    ``has_joined`` says that the group has this member, with or without a partition. The loop sets
    it when the group gave this member an assignment, and `service.membership` where the group
    protocol sends nothing to a member without a partition.
    """

    def __init__(self) -> None:
        self.brokers = BrokerView()
        self.has_joined = False
        self.last_tick_at: float | None = None
        self.client_stall: Stall | None = None
        self._partitions: Collection[Partition] = ()
        self._errors = NO_ERRORS
        self._unassigned_since = 0.0
        self._logged_at = 0.0
        self.waits = WaitMonitor()
        self._waits_checked_at = float("-inf")
        self._was_spare = self._was_missing = False
        self._unread: dict[int, tuple[int, float]] = {}

    def check(
        self, partitions: Collection[Partition], now: float, errors: SharedErrors = NO_ERRORS
    ) -> None:
        """Record the state of all partitions, and log the stalls twice a minute."""
        if self.last_tick_at is None:
            # The time before the first tick does not count.
            self._unassigned_since = self._logged_at = now
        self.last_tick_at = now
        self._partitions, self._errors = partitions, errors
        if partitions or self.has_joined:
            self._unassigned_since = now
        self._update_unread(partitions, now)
        if now - self._waits_checked_at >= WAIT_INTERVAL_S:
            self._waits_checked_at = now
            waits = self._stalls_after(now, WAIT_AFTER_S, needs_evidence=True)
            self.waits.update(waits, [partition.id for partition in partitions], now)
        missing_s = self.brokers.topic_missing_s(now)
        if missing_s and not self._was_missing:
            fields = {"seconds": round(missing_s), "do": Cause.TOPIC_MISSING.hint}
            log.error("topic does not exist", extra={"fields": fields})
        self._was_missing = bool(missing_s)
        if now - self._logged_at >= STALLED_AFTER_S:
            self._log_stalls(now)

    def stalls(self, now: float, after_s: float = STALLED_AFTER_S) -> list[Stall]:
        """Return the stalls: no progress for ``after_s`` seconds, although events wait.

        Nothing is returned before the first tick: the steps before it have bounds of their own.
        """
        last_tick_at = self.last_tick_at
        if last_tick_at is None:
            return []
        if (seconds := now - last_tick_at) >= after_s:
            return [Stall(Cause.LOOP_HANGS, f"no turn for {seconds:.0f} s", seconds)]
        return self._stalls_after(now, after_s)

    def _stalls_after(
        self, now: float, after_s: float, *, needs_evidence: bool = False
    ) -> list[Stall]:
        if missing_s := self.brokers.topic_missing_s(now):
            # This is the reason for all other stalls.
            return [Stall(Cause.TOPIC_MISSING, "the brokers do not have the topic", missing_s)]
        partitions = list(self._partitions)
        silent_s = self.brokers.silent_s(now)
        stalls = []
        unassigned_s = now - self._unassigned_since
        is_unassigned = not partitions and not self.has_joined and unassigned_s >= after_s
        # A rebalance takes seconds, so a short wait for the group alone shows nothing.
        if is_unassigned and (silent_s or not needs_evidence):
            cause = Cause.BROKER_DOWN if silent_s else Cause.NEVER_ASSIGNED
            detail = self.brokers.last_error or "no answer from the group"
            stalls.append(Stall(cause, detail, max(unassigned_s, silent_s)))
        are_brokers_silent = silent_s >= min(after_s, STALLED_AFTER_S)
        for partition in partitions:
            waiting_s = now - partition.progress_at
            if partition.stop_reason or max(waiting_s, self._unread_s(partition, now)) >= after_s:
                stall = self._stall_of(partition, now, are_brokers_silent=are_brokers_silent)
                if not needs_evidence or has_evidence(stall.cause, partition, self._errors):
                    stalls.append(stall)
            elif (held_back := self._transaction_stall(partition, now, after_s)) is not None:
                stalls.append(held_back)
        if not stalls and silent_s >= after_s:
            detail = f"no broker answers: {self.brokers.last_error}"
            stalls.append(Stall(Cause.BROKER_DOWN, detail, silent_s))
        return stalls

    def _transaction_stall(self, partition: Partition, now: float, after_s: float) -> Stall | None:
        seconds = self.brokers.open_transaction_s(partition.id, partition.position, now)
        if seconds < max(after_s, TRANSACTION_AFTER_S):
            return None
        offset = self.brokers.open_transactions[partition.id].offset
        held = self.brokers.high_watermarks[partition.id] - offset
        detail = f"{held} offsets wait behind an open transaction, which begins at offset {offset}"
        return Stall(Cause.TRANSACTION_OPEN, detail, seconds, partition.id)

    def _stall_of(self, partition: Partition, now: float, *, are_brokers_silent: bool) -> Stall:
        waiting_s, unread_s = now - partition.progress_at, self._unread_s(partition, now)
        if waiting_s >= unread_s or partition.stop_reason:
            cause, detail = cause_of(partition, self._errors)
        else:
            cause, detail = Cause.FETCH_STOPPED, "events wait, and none was read"
        if are_brokers_silent and cause not in NOT_BROKER_CAUSES:
            cause = Cause.BROKER_DOWN
            detail = f"no broker answers: {self.brokers.last_error}; {detail}"
        tables = tables_waited_for(partition) if cause in TABLE_CAUSES else ()
        return Stall(cause, detail, max(waiting_s, unread_s), partition.id, tables)

    def _unread_s(self, partition: Partition, now: float) -> float:
        unread = self._unread.get(partition.id)
        return 0.0 if unread is None else now - unread[1]

    def _update_unread(self, partitions: Collection[Partition], now: float) -> None:
        """Record since when each partition has unread events."""
        end_offsets, before = self.brokers.end_offsets, self._unread
        self._unread = {}
        for p in partitions:
            if 0 <= p.position < end_offsets.get(p.id, -1) and not p.is_paused:
                position, since = before.get(p.id, (-1, now))
                self._unread[p.id] = (p.position, since if position == p.position else now)

    def _log_stalls(self, now: float) -> None:
        is_spare = self.has_joined and not self._partitions
        if is_spare and not self._was_spare:
            log.info("no partition assigned", extra={"fields": {"cause": SPARE}})
        self._was_spare = is_spare
        stalls = self.stalls(now)
        self.client_stall = next((s for s in stalls if s.cause in CLIENT_CAUSES), None)
        for stall in stalls[:MAX_LOGGED]:
            self._logged_at = now
            fields = {
                "partition": stall.partition,
                "seconds": round(stall.seconds),
                "why": stall.cause.word,
                "cause": stall.detail,
                "do": stall.cause.hint,
                "stuck": len(stalls),
            }
            log.error("no progress", extra={"fields": fields})
