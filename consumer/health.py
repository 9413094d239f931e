"""Whether the consumer makes progress, and if not, why: one cause each.

Progress is the age of what happened last, never the absence of errors: a client whose brokers are
gone returns no message and raises nothing.
"""

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import Enum

from consumer.answers import Refused, Retry
from consumer.partition import Partition

log = logging.getLogger(__name__)

STUCK_S = 30.0
"""How often it is logged what is stuck, and after how many seconds first."""

GIVE_UP_S = 300.0
"""After how many seconds of what a restart mends the process ends, where no probe has ended it."""

MOST_SAID = 10
SPARE = "the group has more members than the topic has partitions"


class Cause(Enum):
    """Why there is no progress, what to do about it, and whether a restart of this process helps.

    It does for what only this process has, and never for what the next owner of the partition
    would meet too: there it spreads the trouble, and at-least-once counts open windows twice.
    """

    LOOP_HANGS = "loop-hangs", "the loop did no turn: restart it, and report what it printed", True
    NEVER_ASSIGNED = (
        "never-assigned",
        "the group gave this member no answer: check the brokers, and Read on the group",
        True,
    )
    NEVER_FETCHED = (
        "never-fetched",
        (
            "nothing was read, not even the end: check that the partition has a leader, and "
            "Read on the topic"
        ),
    )
    FETCH_STOPPED = (
        "fetch-stopped",
        (
            "events wait and none comes: check the partition's leader and the network; a restart "
            "connects anew"
        ),
        True,
    )
    BROKER_DOWN = "broker-down", "no broker answers: check Kafka and -b/--bootstrap-servers"
    OFFSET_UNKNOWN = (
        "offset-unknown",
        "the committed offset is not known: check the group's coordinator, and Read on the group",
    )
    TOPIC_UNKNOWN = (
        "topic-unknown",
        "the topic's id is not confirmed: check the brokers, and Describe on the topic",
    )
    TABLE_THROTTLED = (
        "table-throttled",
        (
            "DynamoDB takes no more: raise the table's capacity, or lower the writes by a longer "
            "--window-ms"
        ),
    )
    TABLE_REFUSED = (
        "table-refused",
        "mend the table, its name or the permission that the cause names",
    )
    TABLE_FAILING = (
        "table-failing",
        "requests to DynamoDB fail or time out: check the endpoint and the network",
    )
    DEAD_LETTERS_DOWN = (
        "dead-letter-topic-down",
        "check the dead-letter topic, Write on it, and its max.message.bytes",
    )
    COMMITS_FAILING = (
        "commits-failing",
        "events are counted but not committed: check the group's coordinator",
    )
    PARTITION_STOPPED = "partition-stopped", "the cause ends with the command that resolves it"
    UNKNOWN = "unknown", "something is on its way for too long: look at the log"

    def __init__(self, word: str, hint: str, restart: bool = False) -> None:  # noqa: FBT001, FBT002 - a row of the table above
        self.word = word
        self.hint = hint
        self.restart = restart


@dataclass(frozen=True, slots=True)
class Stuck:
    """One thing that makes no progress: a partition, or the whole consumer (None)."""

    cause: Cause
    detail: str
    seconds: float
    partition: int | None = None


@dataclass(frozen=True, slots=True)
class Troubles:
    """What went wrong last with what all partitions share; None while it works."""

    letters: str | None = None
    commits: str | None = None
    identity: str | None = None


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


def cause(partition: Partition, troubles: Troubles) -> tuple[Cause, str]:
    """Return what a partition waits for that has something on its way, or was never read."""
    if partition.stopped:
        return Cause.PARTITION_STOPPED, partition.stopped
    asked = partition.start is None and not partition.known
    if partition.position < 0 and not asked:
        said = "nothing was read, not even its end: no leader, or no offset to begin at"
        return Cause.NEVER_FETCHED, said
    if not partition.known:
        said = "its committed offset is not known yet: no answer from the group's coordinator"
        return Cause.OFFSET_UNKNOWN, said
    return (
        _writing(partition, troubles)
        or _crowded(partition, troubles)
        or _committing(partition, troubles)
        or (Cause.TABLE_FAILING, "no answer from DynamoDB yet")
    )


def _writing(partition: Partition, troubles: Troubles) -> tuple[Cause, str] | None:
    closing = partition.closing
    if closing is None:
        return None
    if closing.unwritten:
        return Cause.TOPIC_UNKNOWN, f"the topic's id: {troubles.identity or 'no answer yet'}"
    write = closing.write
    if write is not None and (waits := dict(write.trouble)):
        return _table(waits)
    if closing.letters:
        return _letters_down(troubles)
    if write is not None and write.rejected:
        return Cause.UNKNOWN, "refused events are read from the topic again"
    return None


def _crowded(partition: Partition, troubles: Troubles) -> tuple[Cause, str] | None:
    return _letters_down(troubles) if partition.crowded else None


def _letters_down(troubles: Troubles) -> tuple[Cause, str]:
    return Cause.DEAD_LETTERS_DOWN, f"dead-letter topic: {troubles.letters or 'no answer yet'}"


def _table(waits: Mapping[str, Retry | Refused]) -> tuple[Cause, str]:
    said = "; ".join(f"table {table}: {trouble.cause}" for table, trouble in waits.items())
    if any(isinstance(each, Refused) for each in waits.values()):
        return Cause.TABLE_REFUSED, said
    throttled = any(isinstance(each, Retry) and each.throttled for each in waits.values())
    return Cause.TABLE_THROTTLED if throttled else Cause.TABLE_FAILING, said


def _committing(partition: Partition, troubles: Troubles) -> tuple[Cause, str] | None:
    if partition.committed < partition.settled:
        return Cause.COMMITS_FAILING, f"commit: {troubles.commits or 'no answer yet'}"
    return None


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
        self._troubles = Troubles()
        self._alone = 0.0
        self._said = 0.0
        self._spare = False
        self._unread: dict[int, tuple[int, float]] = {}

    def look(
        self, partitions: Collection[Partition], now: float, troubles: Troubles = Troubles()
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
        if silent and why not in _OWN:
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
        self.clients_own = next((each for each in found if each.cause in _CLIENTS), None)
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


# What a client meets that has lost its brokers, or is otherwise the only one to meet it.
_CLIENTS = {
    Cause.NEVER_ASSIGNED,
    Cause.NEVER_FETCHED,
    Cause.FETCH_STOPPED,
    Cause.OFFSET_UNKNOWN,
    Cause.COMMITS_FAILING,
}
# These are not the brokers' doing, whether they answer or not.
_OWN = {
    Cause.TABLE_THROTTLED,
    Cause.TABLE_REFUSED,
    Cause.TABLE_FAILING,
    Cause.PARTITION_STOPPED,
}


def markdown_table() -> str:
    """Return the table of all causes for the documentation."""
    rows = ["| cause | what to do | a restart helps |", "|---|---|---|"]
    rows += [
        f"| `{each.word}` | {each.hint} | {'yes' if each.restart else 'no'} |" for each in Cause
    ]
    return "\n".join(rows) + "\n"
