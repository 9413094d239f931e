"""Steps of the model: brokers, topics and committed offsets."""

from confluent_kafka import KafkaError, KafkaException

from dynatomic.kafka.commit_metadata import is_foreign, parse
from tests.support.clients import GROUP, TOPIC
from tests.support.model_steps import MOST_EVENTS, MOST_PARTITIONS, UNKNOWN, ClientSteps


class BrokerSteps(ClientSteps):
    """What happens to the brokers; each step is a method that takes small numbers."""

    # The brokers.

    def down(self) -> None:
        """No broker answers."""
        self.broker.faults.down = True

    def refuse_commits(self) -> None:
        """The client takes no commits."""
        self.world.commit_raises = KafkaException(KafkaError(KafkaError._STATE))

    def hold_answers(self) -> None:
        """Commits are taken, and not answered."""
        self.broker.faults.answers_held = True

    def hold_topic_id(self) -> None:
        """No broker answers with the id of the topic."""
        self.world.topic_id_held = True

    def hold_lookups(self) -> None:
        """No broker answers with the committed offsets."""
        self.world.lookups_held = True

    def hold_letters(self, sent: int) -> None:
        """Dead letters are not sent, or sent and not known to be stored."""
        if sent % 2:
            self.world.deliveries_held = True
        else:
            self.world.letters_held = True

    def refuse_letters(self) -> None:
        """The dead-letter topic takes nothing until it is mended."""
        self.broker.faults.fail_deliveries(KafkaError.TOPIC_AUTHORIZATION_FAILED, 10_000)

    def fail_deliveries(self, stored: int) -> None:
        """Dead letters are refused; some are stored all the same."""
        self.broker.faults.fail_deliveries(KafkaError._MSG_TIMED_OUT, 2, stored=bool(stored % 2))

    def fail_commits(self, code: int, only: int, applied: int) -> None:
        """Commits fail, for all or for some partitions, and some are applied all the same."""
        self.broker.faults.fail_commits(
            self._of(UNKNOWN, code),
            1 + code % 3,
            partitions=[only] if only < self.partitions else None,
            applied=bool(applied % 2),
        )

    def rewind(self, partition: int, offset: int, wiped: int) -> None:
        """Somebody sets the group's offset back, with or without the topic's id."""
        group = self.broker.group(GROUP)
        place = TOPIC, partition % self.partitions
        if place in group.offsets:
            group.offsets[place] = min(group.offsets[place], offset)
            if wiped % 2 and (
                parse(group.metadata[place]).topic_id == self.world.topic_id
                or not group.offsets[place]
            ):
                group.metadata[place] = ""
                self.wiped.add(place)

    def expire_offsets(self) -> None:
        """No member runs for longer than the brokers keep the offsets of an empty group."""
        for member in self.living:
            member.kill()
        group = self.broker.group(GROUP)
        group.offsets.clear()
        group.metadata.clear()
        self.wiped.clear()

    def add_partition(self) -> None:
        """The topic gets another partition."""
        if self.partitions < MOST_PARTITIONS:
            self.broker.create_topic(TOPIC, self.partitions + 1)

    def recreate(self, kept: int) -> None:
        """The topic is deleted and made again, its committed offsets forgotten with it, or not."""
        self.broker.recreate_topic(TOPIC, self.partitions)
        self.aborted.clear()
        self.world.emitted.clear()
        group = self.broker.group(GROUP)
        for place, about in list(group.metadata.items()):
            # A commit without an id would be accepted, as documented.
            if not kept % 2 or (place in self.wiped and not about):
                del group.offsets[place], group.metadata[place]

    def recreate_while_stopped(self, kept: int, seed: int) -> None:
        """The same while no member runs; the new topic soon has more events than the old one."""
        for member in self.living:
            member.kill()
        ends = [log.high for log in self.broker.logs[TOPIC]]
        self.recreate(kept)
        for partition, end in enumerate(ends):
            log = self.broker.logs[TOPIC][partition]
            while log.high <= end < 20 and self.world.events < MOST_EVENTS:
                self.emit_some(partition, seed)
        self.start(seed, seed, seed)

    def delete_stale_offsets(self) -> None:
        """The broker gets to the committed offsets of a deleted topic only now."""
        group = self.broker.group(GROUP)
        for place, about in list(group.metadata.items()):
            if is_foreign(about, self.world.topic_id):
                del group.offsets[place], group.metadata[place]

    def operate(self) -> None:
        """Somebody does what the message about a topic made again says: with the group stopped."""
        group = self.broker.group(GROUP)
        current_id = self.world.topic_id
        stale = [p for p, about in group.metadata.items() if is_foreign(about, current_id)]
        if stale:
            for member in self.living:
                member.kill()
            for place in stale:
                group.offsets[place], group.metadata[place] = 0, ""
