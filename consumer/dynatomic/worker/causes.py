"""The causes of missing progress, and what to do about each."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from dynatomic.dynamodb.answers import Refused, Retry
from dynatomic.worker.partition import Partition


class Cause(Enum):
    """Why there is no progress, what to do about it, and whether a restart of this process helps.

    A restart helps where only this process is affected. Where the next owner of the partition would
    be affected too, a restart does harm: at-least-once counts open windows twice.
    """

    LOOP_HANGS = (
        "loop-hangs",
        "the loop does not run: restart the process, and report its log",
        True,
    )
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
            "opens new connections"
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
    TOPIC_MISSING = (
        "topic-missing",
        (
            "the brokers do not have the topic: if it was deleted by mistake, create it again "
            "(its events are lost), then start the consumers again; else stop them"
        ),
    )
    TRANSACTION_OPEN = (
        "transaction-open",
        (
            "a producer neither commits nor aborts its transaction: the broker aborts it after its "
            "transaction.timeout.ms; `kafka-transactions.sh` finds it (find-hanging) and aborts it"
        ),
    )
    SCHEMA_UNAVAILABLE = (
        "schema-unavailable",
        (
            "a schema of the events cannot be read: check the schema registry that the counters "
            "file names, and the credentials for it"
        ),
    )
    TABLE_THROTTLED = (
        "table-throttled",
        (
            "DynamoDB throttles writes: raise the table's capacity, or write less with a longer "
            "--window-ms"
        ),
    )
    TABLE_REFUSED = (
        "table-refused",
        "correct the table, its name or the permission that the cause names",
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
    UNKNOWN = "unknown", "a step takes too long: check the log"

    def __init__(self, word: str, hint: str, restart: bool = False) -> None:  # noqa: FBT001, FBT002 - a row of the table above
        self.word = word
        self.hint = hint
        self.restart = restart


@dataclass(frozen=True, slots=True)
class Stall:
    """A stall: one partition, or the whole consumer (None), makes no progress.

    ``tables`` are those that the partition waits for.
    """

    cause: Cause
    detail: str
    seconds: float
    partition: int | None = None
    tables: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SharedErrors:
    """The last error of each part that all partitions share; None while it works."""

    letters: str | None = None
    commits: str | None = None
    topic_id: str | None = None


NO_ERRORS = SharedErrors()


def cause_of(partition: Partition, errors: SharedErrors) -> tuple[Cause, str]:
    """Return the cause and the detail for a partition that waits or was never read."""
    return (
        _read_cause(partition)
        or _write_cause(partition, errors)
        or _commit_cause(partition, errors)
        or (Cause.TABLE_FAILING, "no answer from DynamoDB yet")
    )


def has_evidence(cause: Cause, partition: Partition, errors: SharedErrors) -> bool:
    """Return whether an error or a missing answer shows the cause. A long duration alone does not.

    A large window may take long to write while every answer is good.
    """
    write = partition.closing.write if partition.closing is not None else None
    evidence = {
        Cause.TABLE_FAILING: write is not None and bool(write.waits_by_table),
        Cause.DEAD_LETTERS_DOWN: errors.letters is not None,
        Cause.COMMITS_FAILING: errors.commits is not None,
        Cause.TOPIC_UNKNOWN: errors.topic_id is not None,
        Cause.UNKNOWN: False,
    }
    return evidence.get(cause, True)


def tables_waited_for(partition: Partition) -> tuple[str, ...]:
    """Return the tables that the window in flight waits for."""
    write = partition.closing.write if partition.closing is not None else None
    return () if write is None else tuple(sorted(dict(write.waits_by_table)))


def _read_cause(partition: Partition) -> tuple[Cause, str] | None:
    if partition.stop_reason:
        return Cause.PARTITION_STOPPED, partition.stop_reason
    is_start_unknown = partition.start_offset is None and not partition.start_confirmed
    if partition.reread_cause:
        return Cause.SCHEMA_UNAVAILABLE, partition.reread_cause
    if partition.position < 0 and not is_start_unknown:
        detail = "nothing was read, not even its end: no leader, or no offset to start at"
        return Cause.NEVER_FETCHED, detail
    if not partition.start_confirmed:
        detail = "its committed offset is not known yet: no answer from the group's coordinator"
        return Cause.OFFSET_UNKNOWN, detail
    return None


def _commit_cause(partition: Partition, errors: SharedErrors) -> tuple[Cause, str] | None:
    if partition.waits_for_letters:
        return _dead_letter_cause(errors)
    if partition.committed_offset < partition.committable_offset:
        return Cause.COMMITS_FAILING, f"commit: {errors.commits or 'no answer yet'}"
    return None


def _write_cause(partition: Partition, errors: SharedErrors) -> tuple[Cause, str] | None:
    closing = partition.closing
    if closing is None:
        return None
    if closing.is_unwritten and not closing.is_topic_confirmed:
        return Cause.TOPIC_UNKNOWN, f"the topic's id: {errors.topic_id or 'no answer yet'}"
    write = closing.write
    if write is not None and (waits := dict(write.waits_by_table)):
        return _table_cause(waits)
    if closing.letters_pending:
        return _dead_letter_cause(errors)
    if write is not None and write.rejected:
        return Cause.UNKNOWN, "rejected events are read from the topic again"
    return None


def _dead_letter_cause(errors: SharedErrors) -> tuple[Cause, str]:
    return Cause.DEAD_LETTERS_DOWN, f"dead-letter topic: {errors.letters or 'no answer yet'}"


def _table_cause(waits: Mapping[str, Retry | Refused]) -> tuple[Cause, str]:
    detail = "; ".join(f"table {table}: {wait.cause}" for table, wait in waits.items())
    if any(isinstance(wait, Refused) for wait in waits.values()):
        return Cause.TABLE_REFUSED, detail
    is_throttled = any(isinstance(wait, Retry) and wait.throttled for wait in waits.values())
    return Cause.TABLE_THROTTLED if is_throttled else Cause.TABLE_FAILING, detail


# A client that has lost its brokers has one of these causes, while other clients may have none.
CLIENT_CAUSES = {
    Cause.NEVER_ASSIGNED,
    Cause.NEVER_FETCHED,
    Cause.FETCH_STOPPED,
    Cause.OFFSET_UNKNOWN,
    Cause.COMMITS_FAILING,
}


TABLE_CAUSES = {Cause.TABLE_THROTTLED, Cause.TABLE_REFUSED, Cause.TABLE_FAILING}

# The brokers are not the reason for these causes.
NOT_BROKER_CAUSES = {*TABLE_CAUSES, Cause.PARTITION_STOPPED}
