"""The committed offsets and the members of the group, and whether the offsets can be relied on."""

from collections.abc import Iterable, Mapping
from typing import Any

from dynatomic.config.settings import Settings
from dynatomic.errors import ConfigError, UnavailableError
from dynatomic.kafka.client import Watermarks
from dynatomic.kafka.commit_metadata import is_foreign
from dynatomic.kafka.groups import committed_offsets, describe_group


class GroupState:
    """Asks the brokers about the group of the settings, without joining it.

    ``consumer`` has the id of the group and never subscribes. ``admin`` is an AdminClient.
    """

    def __init__(self, consumer: Any, admin: Any, settings: Settings, topic_id: str | None) -> None:
        self.name = settings.group_id
        self._consumer = consumer
        self._admin = admin
        self._settings = settings
        self._topic_id = topic_id

    def committed(self, partitions: Iterable[int]) -> dict[int, int]:
        """Return the committed offsets by partition; partitions without one are left out.

        An offset that was committed for a deleted topic of the same name is left out too, because
        the metadata of the commit names another topic id. With at-least-once it raises ConfigError.
        Raises ConfigError without permission, and UnavailableError if no broker answers in time.
        """
        offsets = {}
        for partition, commit in committed_offsets(
            self._consumer, self._settings, partitions
        ).items():
            if not is_foreign(commit.metadata, self._topic_id):
                offsets[partition] = commit.offset
            elif not self._settings.exactly_once:
                raise ConfigError(
                    f"group {self.name}: its committed offset of partition {partition} belongs to "
                    f"another topic of the name {self._settings.topic!r}, which was deleted"
                )
        return offsets

    def members(self) -> int | None:
        """Return the number of members, or None if the brokers do not report it."""
        group = describe_group(self._admin, self._settings)
        return None if group is None else len(group.members)

    def check_committed(
        self, committed: Mapping[int, int], marks: Mapping[int, Watermarks]
    ) -> None:
        """Raise ConfigError if there is no committed offset, or one beyond the end of the topic."""
        topic = self._settings.topic
        if not committed and any(low < high for low, high in marks.values()):
            raise ConfigError(
                f"group {self.name} has no committed offset of topic {topic}: check --group-id, or "
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
        """Raise UnavailableError if the group may have written since the given state was read.

        The state is ``members`` and ``committed``. Members without events ``to_count`` wrote
        nothing. Return whether the brokers report the number of members.
        """
        now = self.members()
        cause = ""
        if self.committed(partitions) != committed:
            cause = "its committed offsets change"
        elif to_count and (members or now):
            cause = f"it has {max(members or 0, now or 0)} members, and events to count"
        if cause:
            raise UnavailableError(
                f"group {self.name} is not idle ({cause}), and without fences nothing shows what "
                "it has written: stop it, or wait until it has caught up, and verify again"
            )
        return members is not None and now is not None
