"""Whether the consumer makes progress, and if not, why: one cause each.

Progress is the age of what happened last, never the absence of errors: a client whose brokers are
gone returns no message and raises nothing.
"""

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from dynatomic.worker.causes import CLIENTS, NO_TROUBLES, OWN, Cause, Stuck, Troubles, cause
from dynatomic.worker.partition import Partition

log = logging.getLogger(__name__)

STUCK_S = 30.0
"""How often it is logged what is stuck, and after how many seconds first."""

GIVE_UP_S = 300.0
"""After how many seconds of what a restart mends the process ends, where no probe has ended it."""

MOST_SAID = 10
SPARE = "the group has more members than the topic has partitions"


@dataclass(slots=True)
class Brokers:
    """What the brokers said last: the end of each partition, and when; -1 where not known."""

    ends: Mapping[int, int] = field(default_factory=dict)
    heard: float | None = None
    trouble: str | None = None
    joined: bool = False

    def silent(self, now: float) -> float:
        """Return for how many seconds they have not answered; 0 if they were never asked."""
        return 0.0 if self.heard is None or self.trouble is None else now - self.heard


class Watch:
    """The progress clocks: of the loop, of the group, and of each partition.

    The loop calls `look` at every turn; any thread may call `stuck`. What is stuck is logged too,
    twice a minute. ``clients_own`` is the first of it that the group's Kafka client may be to
    blame for, while brokers answer others.
    """

    def __init__(self) -> None:
        self.brokers = Brokers()
        self.beat: float | None = None
        self.clients_own: Stuck | None = None
        self._partitions: Collection[Partition] = ()
        self._troubles = NO_TROUBLES
        self._alone = 0.0
        self._said = 0.0
        self._spare = False
        self._unread: dict[int, tuple[int, float]] = {}

    def look(
        self, partitions: Collection[Partition], now: float, troubles: Troubles = NO_TROUBLES
    ) -> None:
        """Take note of where all partitions are, and log what is stuck, if it is time to."""
        if self.beat is None:
            self._alone = self._said = now  # the start is no reason to complain
        self.beat = now
        self._partitions, self._troubles = partitions, troubles
        if partitions or self.brokers.joined:
            self._alone = now
        self._read(partitions, now)
        if now - self._said >= STUCK_S:
            self._tell(now)

    def stuck(self, now: float, after_s: float = STUCK_S) -> list[Stuck]:
        """Return all that has made no progress for ``after_s`` seconds, though events wait.

        Nothing before the loop's first turn: what comes before it has bounds of its own.
        """
        beat = self.beat
        if beat is None:
            return []
        if now - beat >= after_s:
            return [Stuck(Cause.LOOP_HANGS, f"no turn for {now - beat:.0f} s", now - beat)]
        found = []
        partitions = list(self._partitions)
        silent = self.brokers.silent(now)
        if not partitions and not self.brokers.joined and now - self._alone >= after_s:
            detail = self.brokers.trouble or "no answer from the group"
            why = Cause.BROKER_DOWN if silent else Cause.NEVER_ASSIGNED
            found.append(Stuck(why, detail, now - self._alone))
        for each in partitions:
            seconds = max(now - each.progress, self._unread_for(each, now))
            if seconds >= after_s or each.stopped:
                found.append(self._judged(each, now, seconds, silent >= min(after_s, STUCK_S)))
        if not found and silent >= after_s:
            said = f"no broker answers: {self.brokers.trouble}"
            found.append(Stuck(Cause.BROKER_DOWN, said, silent))
        return found

    def _judged(self, each: Partition, now: float, seconds: float, silent: bool) -> Stuck:  # noqa: FBT001
        waits = now - each.progress >= self._unread_for(each, now) or bool(each.stopped)
        why, detail = cause(each, self._troubles)
        if not waits:
            why, detail = Cause.FETCH_STOPPED, "events wait, and none was read"
        if silent and why not in OWN:
            why, detail = Cause.BROKER_DOWN, f"no broker answers: {self.brokers.trouble}; {detail}"
        return Stuck(why, detail, seconds, each.number)

    def _unread_for(self, partition: Partition, now: float) -> float:
        found = self._unread.get(partition.number)
        return 0.0 if found is None else now - found[1]

    def _read(self, partitions: Collection[Partition], now: float) -> None:
        """Keep for how long each partition has had events that it could take and did not get."""
        ends, before = self.brokers.ends, self._unread
        self._unread = {
            p.number: before[p.number]
            if before.get(p.number, (-1, 0.0))[0] == p.position
            else (p.position, now)
            for p in partitions
            if 0 <= p.position < ends.get(p.number, -1) and not p.paused
        }

    def _tell(self, now: float) -> None:
        spare = self.brokers.joined and not self._partitions
        if spare and not self._spare:
            log.info("no partition assigned", extra={"fields": {"cause": SPARE}})
        self._spare = spare
        found = self.stuck(now)
        self.clients_own = next((each for each in found if each.cause in CLIENTS), None)
        for each in found[:MOST_SAID]:
            self._said = now
            stuck = {
                "partition": each.partition,
                "seconds": round(each.seconds),
                "why": each.cause.word,
                "cause": each.detail,
                "do": each.cause.hint,
                "stuck": len(found),
            }
            log.error("no progress", extra={"fields": stuck})
