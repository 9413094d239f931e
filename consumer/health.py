"""When the consumer cannot make progress it says so, with the cause."""

import logging
from collections.abc import Collection

from consumer.partition import Partition

log = logging.getLogger(__name__)

STUCK_S = 30.0


def cause(  # noqa: PLR0911 - a table of causes
    partition: Partition, letters: str | None, commits: str | None, identity: str | None
) -> str:
    """Return what a partition waits for, given the trouble of dead letters and of commits."""
    closing = partition.closing
    if partition.stopped:
        return partition.stopped
    if partition.position < 0:
        return "nothing was read, not even its end: no leader, or no offset to begin at"
    if not partition.known:
        return "its committed offset is not known yet: no answer from the group's coordinator"
    if closing is not None and closing.unwritten:
        return f"the topic's id: {identity or 'no answer yet'}"
    if closing is not None and closing.write is not None and closing.write.trouble:
        waits = dict(closing.write.trouble)
        return "; ".join(f"table {table}: {trouble.cause}" for table, trouble in waits.items())
    if closing is not None and closing.letters:
        return f"dead-letter topic: {letters or 'no answer yet'}"
    if closing is not None and closing.write is not None and closing.write.rejected:
        return "refused events are read from the topic again"
    if partition.committed < partition.settled:
        return f"commit: {commits or 'no answer yet'}"
    return "the write is on its way"


class Watch:
    """Logs, twice a minute, each partition that holds events and settles none."""

    def __init__(self) -> None:
        self._said: float | None = None

    def look(
        self,
        partitions: Collection[Partition],
        now: float,
        *,
        letters: str | None,
        commits: str | None,
        identity: str | None,
    ) -> None:
        """Log what is stuck, if it is time to."""
        if self._said is None:
            self._said = now  # the start is no reason to complain
        if now - self._said < STUCK_S:
            return
        if not partitions:
            self._said = now
            fields = {"cause": "more members than partitions, or no answer from the brokers"}
            log.warning("no partition assigned", extra={"fields": fields})
        for partition in partitions:
            if now - partition.progress >= STUCK_S or partition.stopped:
                self._said = now
                stuck: dict[str, str | int] = {
                    "partition": partition.number,
                    "seconds": round(now - partition.progress),
                    "cause": cause(partition, letters, commits, identity),
                }
                log.error("no progress", extra={"fields": stuck})
