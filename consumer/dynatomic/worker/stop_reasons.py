"""Why a partition stops because of its offsets, and the command that resolves it. Pure."""

from dataclasses import dataclass
from shlex import quote

from dynatomic.console import plural
from dynatomic.kafka.commit_metadata import CommitMetadata
from dynatomic.kafka.messages import Truncation
from dynatomic.kafka.topic_identity import MOVE_GUIDE
from dynatomic.worker.partition import Partition


@dataclass(frozen=True, slots=True)
class StopReasons:
    """Makes the messages of a group. ``tables`` are needed where fences must be changed too.

    Without ``tables`` the group uses at-least-once.
    """

    topic: str
    group: str
    topic_id: str | None = None
    tables: tuple[str, ...] = ()

    def missing_offset(self, partition: Partition, committed: int) -> str:
        """Return the reason for an offset that the topic does not have."""
        name, fix = self._name(partition), self._command(partition)
        if committed < 0 <= partition.position:
            return f"{name} no longer has the offset {partition.position}; to go on without: {fix}"
        if committed < 0:
            return f"{name} has no committed offset and auto.offset.reset is error: {fix}"
        return f"{name} no longer has the committed offset {committed}; to go on without: {fix}"

    def foreign_offset(self, partition: Partition, committed: int, metadata: CommitMetadata) -> str:
        """Return the reason for a commit that has the id of another topic."""
        group = f"{quote(self.group)} -t {self.topic}"
        old = f"{metadata.topic_id}{self._fence_flags()}"
        return (
            f"{self._name(partition)} has the committed offset {committed} of a topic with the id "
            f"{metadata.topic_id}, and this one's is {self.topic_id}; if it was deleted and made "
            f"again, count it from its beginning: {self._command(partition)}; if it is a copy with "
            f"the same offsets (Cluster Linking), continue: `dynatomic offsets -g {group} --adopt "
            f"{old} --execute`; if MirrorMaker copied it, see {MOVE_GUIDE}"
        )

    def truncated(self, partition: Partition, truncation: Truncation) -> str:
        """Return the reason for a log that lost events which were read."""
        last, end, read = partition.last_event, truncation.end, truncation.read
        epoch = "" if last is None or last.epoch is None else f" (leader epoch {last.epoch})"
        where = doubt = ""
        if end is not None and read is not None:
            where = f" at offset {end}"
            events = plural(read - end, "event")
            doubt = f"{read - end} {events} at the offsets {end} to {read - 1} are in doubt: "
        return (
            f"{self._name(partition)} lost events that were read{epoch}: its log was cut{where} by "
            f"an unclean leader election or a power failure; {doubt}what is there now is not "
            f"counted; to count it: {self._command(partition, with_tables=True)}"
        )

    def _name(self, partition: Partition) -> str:
        return f"{self.topic}:{partition.id}"

    def _command(self, partition: Partition, *, with_tables: bool = False) -> str:
        where = f"{partition.id}{self._fence_flags() if with_tables else ''}"
        return (
            f"stop the group, then `dynatomic offsets -g {quote(self.group)} -t {self.topic} "
            f"--partition {where} --execute`"
        )

    def _fence_flags(self) -> str:
        tables = "".join(f" --table {table}" for table in self.tables)
        return f" --processing-guarantee exactly-once{tables}" if self.tables else ""
