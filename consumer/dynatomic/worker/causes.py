"""Why there is no progress: one cause each, and what to do about it."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from dynatomic.dynamodb.answers import Refused, Retry
from dynatomic.worker.partition import Partition


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
class Stall:
    """One thing that makes no progress: a partition, or the whole consumer (None)."""

    cause: Cause
    detail: str
    seconds: float
    partition: int | None = None


@dataclass(frozen=True, slots=True)
class SharedErrors:
    """What went wrong last with what all partitions share; None while it works."""

    letters: str | None = None
    commits: str | None = None
    topic_id: str | None = None


NO_ERRORS = SharedErrors()


def cause_of(partition: Partition, troubles: SharedErrors) -> tuple[Cause, str]:
    """Return what a partition waits for that has something on its way, or was never read."""
    if partition.stop_reason:
        return Cause.PARTITION_STOPPED, partition.stop_reason
    asked = partition.start_offset is None and not partition.start_confirmed
    if partition.position < 0 and not asked:
        said = "nothing was read, not even its end: no leader, or no offset to begin at"
        return Cause.NEVER_FETCHED, said
    if not partition.start_confirmed:
        said = "its committed offset is not known yet: no answer from the group's coordinator"
        return Cause.OFFSET_UNKNOWN, said
    return (
        _write_cause(partition, troubles)
        or _letters_waiting_cause(partition, troubles)
        or _commit_cause(partition, troubles)
        or (Cause.TABLE_FAILING, "no answer from DynamoDB yet")
    )


def _write_cause(partition: Partition, troubles: SharedErrors) -> tuple[Cause, str] | None:
    closing = partition.closing
    if closing is None:
        return None
    if closing.is_unwritten:
        return Cause.TOPIC_UNKNOWN, f"the topic's id: {troubles.topic_id or 'no answer yet'}"
    write = closing.write
    if write is not None and (waits := dict(write.waits_by_table)):
        return _table_cause(waits)
    if closing.letters_pending:
        return _dead_letter_cause(troubles)
    if write is not None and write.rejected:
        return Cause.UNKNOWN, "refused events are read from the topic again"
    return None


def _letters_waiting_cause(
    partition: Partition, troubles: SharedErrors
) -> tuple[Cause, str] | None:
    return _dead_letter_cause(troubles) if partition.waits_for_letters else None


def _dead_letter_cause(troubles: SharedErrors) -> tuple[Cause, str]:
    return Cause.DEAD_LETTERS_DOWN, f"dead-letter topic: {troubles.letters or 'no answer yet'}"


def _table_cause(waits: Mapping[str, Retry | Refused]) -> tuple[Cause, str]:
    said = "; ".join(f"table {table}: {trouble.cause}" for table, trouble in waits.items())
    if any(isinstance(each, Refused) for each in waits.values()):
        return Cause.TABLE_REFUSED, said
    throttled = any(isinstance(each, Retry) and each.throttled for each in waits.values())
    return Cause.TABLE_THROTTLED if throttled else Cause.TABLE_FAILING, said


def _commit_cause(partition: Partition, troubles: SharedErrors) -> tuple[Cause, str] | None:
    if partition.committed_offset < partition.committable_offset:
        return Cause.COMMITS_FAILING, f"commit: {troubles.commits or 'no answer yet'}"
    return None


# What a client meets that has lost its brokers, or is otherwise the only one to meet it.
CLIENT_CAUSES = {
    Cause.NEVER_ASSIGNED,
    Cause.NEVER_FETCHED,
    Cause.FETCH_STOPPED,
    Cause.OFFSET_UNKNOWN,
    Cause.COMMITS_FAILING,
}


# These are not the brokers' doing, whether they answer or not.
NOT_BROKER_CAUSES = {
    Cause.TABLE_THROTTLED,
    Cause.TABLE_REFUSED,
    Cause.TABLE_FAILING,
    Cause.PARTITION_STOPPED,
}
