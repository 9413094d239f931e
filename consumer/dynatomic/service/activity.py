"""What the consumer does now, in one sentence for people."""

from collections.abc import Sequence

from dynatomic.worker.causes import Cause, Stall
from dynatomic.worker.snapshot import ConsumerSnapshot

_SENTENCES = {
    Cause.LOOP_HANGS: "the loop does not run",
    Cause.NEVER_ASSIGNED: "waiting for the group: no assignment",
    Cause.NEVER_FETCHED: "waiting for the broker: nothing was read",
    Cause.FETCH_STOPPED: "waiting for events that the broker has",
    Cause.BROKER_DOWN: "no broker answers",
    Cause.OFFSET_UNKNOWN: "waiting for the group: committed offset unknown",
    Cause.TOPIC_UNKNOWN: "waiting for the broker: topic id not confirmed",
    Cause.TOPIC_MISSING: "the topic does not exist",
    Cause.TRANSACTION_OPEN: "waiting for an open transaction",
    Cause.TABLE_THROTTLED: "waiting for {tables}: throttled",
    Cause.TABLE_REFUSED: "waiting for {tables}: refused",
    Cause.TABLE_FAILING: "waiting for {tables}: requests fail",
    Cause.DEAD_LETTERS_DOWN: "waiting for the dead-letter topic",
    Cause.COMMITS_FAILING: "waiting for the group: commits fail",
    Cause.PARTITION_STOPPED: "partition {partition} is stopped",
}


def activity(
    snapshot: ConsumerSnapshot, stalls: Sequence[Stall], *, is_stopping: bool, is_ready: bool
) -> str:
    """Return the sentence: the oldest stall or wait, or the current step."""
    if is_stopping:
        return "stopping"
    if reasons := (*stalls, *snapshot.waits):
        return sentence(max(reasons, key=lambda reason: reason.seconds))
    if not is_ready:
        return "joining the group"
    return "counting" if snapshot.partitions else "ready: no partition is assigned"


def sentence(reason: Stall) -> str:
    """Return what a stall or a wait is waiting for."""
    text = _SENTENCES.get(reason.cause, "no progress")
    tables = ", ".join(f"table {table}" for table in reason.tables) or "a table"
    return text.format(tables=tables, partition=reason.partition)
