"""A stopped group whose offsets are set again, on the fakes."""

from typing import Any

from confluent_kafka import ConsumerGroupState, TopicPartition

from dynatomic.dynamodb.fence_changes import FenceChanges
from dynatomic.kafka.client import consumer_config
from dynatomic.kafka.commit_metadata import parse
from dynatomic.operations.reset_offsets import ResetOptions, Resetter
from dynatomic.testing.kafka.consumer import FakeConsumer
from tests.support.lag_world import GROUP, TOPIC, World

EMPTY: tuple[Any, list[Any]] = (ConsumerGroupState.EMPTY, [])
EXECUTE = ResetOptions(execute=True)


class Scene(World):
    """A stopped group, and a topic with ten events in each partition."""

    def __init__(self, partitions: int = 1, **settings: Any) -> None:
        super().__init__(partitions, **settings)
        self.admin.group = EMPTY
        self.joined: list[FakeConsumer] = []
        self.by_time: Any = lambda _milliseconds: -1
        self.asked: list[int] = []
        self.consumer.offsets_for_times = self.offsets_for_times  # type: ignore[attr-defined]
        for number in range(partitions):
            self.emit(10, number)

    def offsets_for_times(
        self, places: list[TopicPartition], timeout: float
    ) -> list[TopicPartition]:
        assert timeout > 0
        self.asked.extend(place.offset for place in places)
        return [TopicPartition(TOPIC, p.partition, self.by_time(p.offset)) for p in places]

    def change_table(self, table: str, changes: FenceChanges) -> tuple[int, int]:
        raise AssertionError(f"the fences of {table} are changed by {changes}")

    def join(self) -> FakeConsumer:
        self.joined.append(self.broker.consumer(consumer_config(self.settings)))
        return self.joined[-1]

    def run(self, options: ResetOptions = EXECUTE) -> str:
        made = Resetter(
            settings=self.settings,
            consumer=self.consumer,
            admin=self.admin,
            join=self.join,
            change_table=self.change_table,
            clock=self.clock,
        )
        return "\n".join(made.run(options))

    def stored(self, partition: int = 0) -> tuple[int | None, str]:
        group = self.broker.group(GROUP)
        place = (TOPIC, partition)
        return group.offsets.get(place), parse(group.metadata.get(place, "")).topic_id or ""
