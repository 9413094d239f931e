"""Steps of the model: logs that lose their tail, and the repair."""

from contextlib import suppress
from typing import Any

from confluent_kafka import ConsumerGroupState

from dynatomic.config.settings import Settings
from dynatomic.dynamodb.fence_changes import FenceChanges, change_fences
from dynatomic.errors import DynatomicError
from dynatomic.events.row import KeySchema
from dynatomic.kafka.client import consumer_config
from dynatomic.kafka.commit_metadata import parse
from dynatomic.operations.reset_offsets import ResetOptions, Resetter
from dynatomic.testing.dynamodb.client import Faults
from tests.support.clients import GROUP, TOPIC
from tests.support.lag_world import Admin
from tests.support.model_brokers import BrokerSteps
from tests.support.model_checks import TABLES


class LogSteps(BrokerSteps):
    """What happens to the logs of the partitions."""

    def lose_tail(self, partition: int, lost: int, seed: int) -> None:
        """All replicas of a partition lose events that were counted and committed; it grows again.

        No process of the group runs then, and no late request arrives: see docs/guarantees.md.
        """
        number = partition % self.partitions
        place, log = (self.world.topic_id, number), self.broker.logs[TOPIC][number]
        group = self.broker.group(GROUP)
        if place in self.world.cut or (TOPIC, number) not in group.offsets:
            self.mend()
            self.emit_some(number, seed)
            self.start(seed, seed, seed)
            self.progress(3)
            return
        for member in self.living:
            member.kill()
        self._land_all()
        committed = group.offsets.get((TOPIC, number), -1)
        about = parse(group.metadata.get((TOPIC, number), ""))
        last = about.last.offset if about.last is not None else -1
        end = max(log.low, last - lost % 6)
        if about.topic_id != place[0] or not 0 <= end <= last < committed <= log.high:
            return
        if log.transaction_start is not None or not self.world.may_lose(place, end):
            return
        self.world.requests.clear()
        self.broker.elect_leader(TOPIC, number, end)
        self.world.lose(place, end, committed)
        for _ in range(seed % 3):
            self.emit_some(number, seed)
        self.start(seed, seed, seed)

    def _land_all(self) -> None:
        while self.world.on_the_way:
            self.land(0)
        while self.world.unanswered:
            self.answer(0)
        self.world.check()

    def rewind(self, partition: int, offset: int, wiped: int) -> None:
        """Somebody sets the group's offset back, but not where the message says what to do."""
        if (self.world.topic_id, partition % self.partitions) not in self.world.cut:
            super().rewind(partition, offset, wiped)

    def expire_offsets(self) -> None:
        """The offsets of the group expire. Then nothing shows that a log lost its tail."""
        if not self.world.cut:
            super().expire_offsets()

    def operate(self) -> None:
        """Somebody does what the messages say: with the group stopped, runs the command."""
        super().operate()
        cut = {n: end for (id_, n), end in self.world.cut.items() if id_ == self.world.topic_id}
        if not cut or self.broker.faults.down or self.world.kept_items:
            return
        for member in self.living:
            member.kill()
        with suppress(DynatomicError):  # it is run again later
            said = list(self._resetter().run(ResetOptions(partitions=tuple(cut), execute=True)))
            for number, end in cut.items():
                assert self.broker.committed(GROUP, TOPIC, number) == end, said
            self.world.cut.clear()

    def _resetter(self) -> Resetter:
        settings = Settings(
            topic=TOPIC,
            group_id=GROUP,
            tables=TABLES,
            processing_guarantee="exactly-once" if self.once else "at-least-once",
        )
        config = consumer_config(settings, eof=True)
        return Resetter(
            settings,
            self.broker.consumer(config),
            self._admin(),
            lambda: self.broker.consumer(config),
            self._change_table,
            self.clock,
        )

    def _admin(self) -> Admin:
        admin = Admin(self.broker)
        admin.group = ConsumerGroupState.EMPTY, []
        return admin

    def _change_table(self, table: str, changes: FenceChanges) -> tuple[int, int]:
        client: Any = self.world.dynamodb
        faults, client.faults = client.faults, Faults()
        try:
            return change_fences(client, table, KeySchema("pk"), changes)
        finally:
            client.faults = faults
