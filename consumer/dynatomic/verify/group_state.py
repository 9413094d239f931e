"""Whether a group's commits tell what is counted, for who compares it with the tables."""

from collections.abc import Iterable, Mapping
from typing import Any

from dynatomic.config.settings import Settings
from dynatomic.errors import ConfigError, UnavailableError
from dynatomic.kafka.client import Watermarks
from dynatomic.kafka.commit_metadata import is_foreign
from dynatomic.kafka.groups import committed_offsets, describe_group


class GroupState:
    """Asks about the group of the settings, and is no member of it.

    ``consumer`` is one with the group's id that never subscribes; ``admin`` an AdminClient.
    """

    def __init__(self, consumer: Any, admin: Any, settings: Settings, topic_id: str | None) -> None:
        self.name = settings.group_id
        self._consumer = consumer
        self._admin = admin
        self._settings = settings
        self._topic_id = topic_id

    def committed(self, partitions: Iterable[int]) -> dict[int, int]:
        """Return the committed offsets, of partitions that have one of this topic.

        Raises ConfigError if they may not be seen, UnavailableError if no broker tells in time.
        A commit may carry the id of its topic. Of one that was deleted and made again, the old
        one's commits say nothing: at-least-once raises ConfigError, for it rests on them.
        """
        offsets = {}
        for partition, commit in committed_offsets(
            self._consumer, self._settings, partitions
        ).items():
            if not is_foreign(commit.metadata, self._topic_id):
                offsets[partition] = commit.offset
            elif not self._settings.exactly_once:
                raise ConfigError(
                    f"group {self.name}: its committed offset of partition {partition} is of "
                    f"another topic of the name {self._settings.topic!r}, which was deleted"
                )
        return offsets

    def members(self) -> int | None:
        """Return how many members it has now, None if the brokers do not tell."""
        group = describe_group(self._admin, self._settings)
        return None if group is None else len(group.members)

    def check_committed(
        self, committed: Mapping[int, int], marks: Mapping[int, Watermarks]
    ) -> None:
        """Raise ConfigError if these committed offsets say nothing of a topic that ends there."""
        topic = self._settings.topic
        if not committed and any(low < high for low, high in marks.values()):
            raise ConfigError(
                f"group {self.name} has committed nothing of topic {topic}: check --group-id, or "
                "start the group"
            )
        for partition, offset in committed.items():
            if partition in marks and offset > marks[partition].high:
                raise ConfigError(
                    f"group {self.name} committed offset {offset} of partition {partition} of "
                    f"{topic}, which ends at {marks[partition].high}: events that it counted are "
                    "gone"
                )

    def check_idle(
        self,
        partitions: Iterable[int],
        members: int | None,
        committed: Mapping[int, int],
        *,
        to_count: bool,
    ) -> bool:
        """Raise UnavailableError if it may have written since `members` and `committed` said this.

        Members that had nothing ``to_count`` wrote nothing. Returns whether the brokers tell of
        members at all.
        """
        now = self.members()
        cause = ""
        if self.committed(partitions) != committed:
            cause = "its committed offsets move"
        elif to_count and (members or now):
            cause = f"it has {max(members or 0, now or 0)} members, and events to count"
        if cause:
            raise UnavailableError(
                f"group {self.name} is not idle ({cause}), and without fences nothing tells what "
                "it has written: stop it, or wait until it has caught up, and verify again"
            )
        return members is not None and now is not None
