"""Where a consumer group stands, seen from outside: its committed offsets and its members."""

import time
from collections.abc import Iterable, Mapping
from typing import Any

from confluent_kafka import KafkaError, KafkaException, TopicPartition

from consumer.errors import ConfigError, UnavailableError
from consumer.init import until
from consumer.kafka import DENIED, Watermarks, reason
from consumer.offsets import is_foreign
from consumer.settings import Settings

TIMEOUT_S = 10.0

_DENIED = (*DENIED, KafkaError.GROUP_AUTHORIZATION_FAILED)
_UNKNOWN = (KafkaError._UNSUPPORTED_FEATURE, KafkaError.UNSUPPORTED_VERSION)  # noqa: SLF001


class Group:
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
        places = [TopicPartition(self._settings.topic, number) for number in partitions]

        def ask() -> list[TopicPartition]:
            try:
                return list(self._consumer.committed(places, timeout=5.0))
            except KafkaException as error:  # the group's coordinator may be moving
                raise self._trouble(error) from None

        found = {}
        for place in until(time.monotonic() + TIMEOUT_S, ask):
            if place.error is not None:
                raise self._trouble(KafkaException(place.error))
            if place.offset < 0:
                continue
            if is_foreign(place.metadata or "", self._topic_id):
                if self._settings.exactly_once:
                    continue
                raise ConfigError(
                    f"group {self.name}: its committed offset of partition {place.partition} is "
                    f"of another topic of the name {place.topic!r}, which was deleted"
                )
            found[place.partition] = place.offset
        return found

    def members(self) -> int | None:
        """Return how many members it has now, None if the brokers do not tell."""
        asked = self._admin.describe_consumer_groups([self.name], request_timeout=TIMEOUT_S)
        try:
            return len(asked[self.name].result().members)
        except KafkaException as error:
            code = error.args[0].code()
            if code in _UNKNOWN:
                return None
            if code == KafkaError.GROUP_ID_NOT_FOUND:
                return 0
            raise self._trouble(error) from None

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
        for number, offset in committed.items():
            if number in marks and offset > marks[number].high:
                raise ConfigError(
                    f"group {self.name} committed offset {offset} of partition {number} of {topic}"
                    f", which ends at {marks[number].high}: events that it counted are gone"
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
        why = ""
        if self.committed(partitions) != committed:
            why = "its committed offsets move"
        elif to_count and (members or now):
            why = f"it has {max(members or 0, now or 0)} members, and events to count"
        if why:
            raise UnavailableError(
                f"group {self.name} is not idle ({why}), and without fences nothing tells what it "
                "has written: stop it, or wait until it has caught up, and verify again"
            )
        return members is not None and now is not None

    def _trouble(self, error: KafkaException) -> ConfigError | UnavailableError:
        what = f"group {self.name} of topic {self._settings.topic}: {reason(error)}"
        if error.args[0].code() in _DENIED:
            return ConfigError(f"{what}; allow Describe on both")
        return UnavailableError(f"{what}; try again")
