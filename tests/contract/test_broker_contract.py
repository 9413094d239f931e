"""What the worker relies on of Kafka and its client: fake, librdkafka's mock cluster, Kafka 4.4.

Clients are configured by `kafka.client`, only with shorter time-outs. Where the three differ
for a reason, the test says which answers it takes from whom.
"""

import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, cast

import pytest
from confluent_kafka import (
    OFFSET_BEGINNING,
    OFFSET_END,
    OFFSET_INVALID,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicPartition,
)

from dynatomic.config.settings import Settings
from dynatomic.kafka.client import (
    AUTO_OFFSET_RESET,
    PARTITION_EOF,
    consumer_config,
    producer_config,
)
from tests.support.brokers import Broker, FakeBrokerAdapter, MakeTopic
from tests.support.names import unique

if TYPE_CHECKING:
    from dynatomic.testing.kafka.consumer import FakeConsumer

SECONDS: Final = 20
ANSWERED: Final = 5.0
GroupProtocol = Literal["classic", "consumer"]
PROTOCOLS: Final = ("classic", "consumer")


def quick(broker: Broker, protocol: GroupProtocol) -> dict[str, str]:
    """Return what makes rebalances quick.

    The mock cluster ends each one of a classic group only after the session time-out, less a
    second.
    """
    if protocol == "consumer":
        return {}
    session = "2000" if broker.name == "embedded" else "6000"
    return {"session.timeout.ms": session, "heartbeat.interval.ms": "100"}


class Member:
    """A consumer in a group, and all that came out of it."""

    def __init__(self, broker: Broker, settings: Settings, *, beginning: bool, eof: bool) -> None:
        self.topic = settings.topic
        self.on_revoke: Callable[[Consumer, list[TopicPartition]], object] | None = None
        self._beginning = beginning
        self.rows: list[Message] = []
        self.events: list[Message] = []
        self.calls: list[tuple[str, list[int]]] = []
        self.commits: list[tuple[KafkaError | None, list[TopicPartition]]] = []
        self.owned: set[int] = set()
        config = consumer_config(settings, eof=eof)
        config["on_commit"] = lambda error, places: self.commits.append((error, places))
        self.consumer: Consumer = broker.consumer(config)

    def subscribe(self) -> "Member":
        self.consumer.subscribe(
            [self.topic],
            on_assign=self._gained,
            on_revoke=lambda _, places: self._given_up("revoke", places),
            on_lost=lambda _, places: self._given_up("lost", places),
        )
        return self

    def _gained(self, consumer: Consumer, places: list[TopicPartition]) -> None:
        numbers = sorted(place.partition for place in places)
        self.calls.append(("assign", numbers))
        self.owned.update(numbers)
        if self._beginning and numbers:
            consumer.incremental_assign([self.at(n, OFFSET_BEGINNING) for n in numbers])

    def _given_up(self, kind: str, places: list[TopicPartition]) -> None:
        if kind == "revoke" and self.on_revoke is not None:
            self.on_revoke(self.consumer, places)
        numbers = sorted(place.partition for place in places)
        self.calls.append((kind, numbers))
        self.owned.difference_update(numbers)

    def poll(self) -> None:
        for message in self.consumer.consume(100, 0.02):
            (self.events if message.error() else self.rows).append(message)

    def at(self, partition: int, offset: int = OFFSET_INVALID) -> TopicPartition:
        return TopicPartition(self.topic, partition, offset)

    def committed(self, *partitions: int) -> list[int]:
        places = [self.at(partition) for partition in partitions]
        return [place.offset for place in self.consumer.committed(places, ANSWERED)]

    def commit(self, partition: int, offset: int) -> list[TopicPartition]:
        """Commit and wait for the answer."""
        places = [self.at(partition, offset)]
        return self.consumer.commit(offsets=places, asynchronous=False)

    def values(self, partition: int = 0) -> list[bytes | None]:
        return [row.value() for row in self.rows if row.partition() == partition]

    def codes(self) -> list[tuple[int | None, int]]:
        """Return partition and code of each event."""
        return [(e.partition(), error.code()) for e in self.events if (error := e.error())]


def wait(condition: Callable[[], object], *members: Member) -> None:
    """Poll the members until the condition holds."""
    deadline = time.monotonic() + SECONDS
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(str([(m.calls, m.codes(), len(m.rows)) for m in members]))
        for member in members:
            member.poll()


def code_of(error: pytest.ExceptionInfo[KafkaException]) -> int:
    return int(error.value.args[0].code())


def refusal_of_commits(member: Member) -> int:
    """Commit, without polling, until it is refused, and return the code."""
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        try:
            member.commit(0, 1)
        except KafkaException as error:
            return int(error.args[0].code())
    pytest.fail("commits are still accepted")


class Join(Protocol):
    """Makes members; they are closed after the test."""

    def __call__(
        self,
        topic: str,
        group: str | None = None,
        *,
        protocol: GroupProtocol = "classic",
        beginning: bool = True,
        eof: bool = False,
        **librdkafka: str,
    ) -> Member:
        """Return a member that joins at its first poll; its group is named as the topic."""


@pytest.fixture
def join(broker: Broker) -> Iterator[Join]:
    made: list[Member] = []

    def make(
        topic: str,
        group: str | None = None,
        *,
        protocol: GroupProtocol = "classic",
        beginning: bool = True,
        eof: bool = False,
        **librdkafka: str,
    ) -> Member:
        more = {name.replace("_", "."): value for name, value in librdkafka.items()}
        settings = Settings(
            bootstrap_servers=broker.bootstrap_servers or "fake",
            topic=topic,
            group_id=group or topic,
            group_protocol=protocol,
            librdkafka={"fetch.wait.max.ms": "50", **quick(broker, protocol), **more},
        )
        member = Member(broker, settings, beginning=beginning, eof=eof)
        made.append(member)
        return member.subscribe()

    yield make
    for member in made:
        member.consumer.close()


class Produce(Protocol):
    """Makes producers as the product does."""

    def __call__(self, **librdkafka: str) -> Producer:
        """Return one; what it did not send is forgotten after the test."""


@pytest.fixture
def produce(broker: Broker) -> Iterator[Produce]:
    made: list[Producer] = []

    def make(**librdkafka: str) -> Producer:
        more = {name.replace("_", "."): value for name, value in librdkafka.items()}
        servers = broker.bootstrap_servers or "fake"
        settings = Settings(bootstrap_servers=servers, librdkafka={"linger.ms": "0", **more})
        made.append(broker.producer(producer_config(settings)))
        return made[-1]

    yield make
    for producer in made:
        producer.purge()
        producer.flush(ANSWERED)


def fill(producer: Producer, topic: str, *values: bytes, partition: int = 0) -> None:
    for value in values:
        producer.produce(topic, value, partition=partition)
    assert producer.flush(SECONDS) == 0


def numbered(count: int, first: int = 0) -> list[bytes]:
    return [b"%d" % i for i in range(first, first + count)]


def test_rows_come_in_order_with_offsets_that_count_up(
    topic: MakeTopic, join: Join, produce: Produce
) -> None:
    name = topic(2)
    producer = produce()
    for partition in (0, 1):
        fill(producer, name, *numbered(250), partition=partition)
    member = join(name)
    wait(lambda: len(member.rows) == 500, member)
    for partition in (0, 1):
        rows = [row for row in member.rows if row.partition() == partition]
        assert [row.offset() for row in rows] == list(range(250))
        assert [row.value() for row in rows] == numbered(250)
        assert {row.topic() for row in rows} == {name}
    ends = member.consumer.position([member.at(0), member.at(1)])
    assert [place.offset for place in ends] == [250, 250]


def test_a_row_keeps_key_value_and_headers(topic: MakeTopic, join: Join, produce: Produce) -> None:
    name = topic()
    producer = produce()
    headers: list[tuple[str, str | bytes | None]] = [
        ("a", b"1"),
        ("a", None),
        ("b", b""),
        ("c", "é"),
    ]
    producer.produce(name, b"v", key=b"k", headers=headers)
    producer.produce(name, None, key=b"k")
    producer.produce(name, b"", key=None)
    producer.produce(name, None, key=None)
    producer.produce(name, "é", key="")
    assert producer.flush(SECONDS) == 0
    member = join(name)
    wait(lambda: len(member.rows) == 5, member)
    assert [(row.key(), row.value()) for row in member.rows] == [
        (b"k", b"v"),
        (b"k", None),
        (None, b""),
        (None, None),
        (b"", "é".encode()),
    ]
    kept = [("a", b"1"), ("a", None), ("b", b""), ("c", "é".encode())]
    assert [row.headers() for row in member.rows] == [kept, None, None, None, None]
    now = time.time() * 1000
    for row in member.rows:
        kind, timestamp = row.timestamp()
        assert kind == 1  # TIMESTAMP_CREATE_TIME
        assert now - 60_000 < timestamp < now + 60_000


def test_the_end_of_each_partition_is_an_event_with_its_offset(
    topic: MakeTopic, join: Join, produce: Produce
) -> None:
    name = topic(2)
    producer = produce()
    fill(producer, name, *numbered(3))
    member = join(name, eof=True)
    wait(lambda: len(member.events) == 2, member)
    assert sorted(member.codes()) == [(0, PARTITION_EOF), (1, PARTITION_EOF)]
    assert sorted((e.partition(), e.offset()) for e in member.events) == [(0, 3), (1, 0)]
    assert len(member.rows) == 3  # an end comes after the rows before it
    fill(producer, name, b"3")
    wait(lambda: len(member.events) == 3, member)
    assert (member.events[-1].partition(), member.events[-1].offset()) == (0, 4)
    assert member.values() == numbered(4)


def test_ends_are_no_events_unless_asked_for(
    topic: MakeTopic, join: Join, produce: Produce
) -> None:
    name = topic(2)
    fill(produce(), name, *numbered(3))
    member = join(name)
    wait(lambda: len(member.rows) == 3, member)
    member.poll()
    assert member.events == []


def test_watermarks(topic: MakeTopic, join: Join, produce: Produce) -> None:
    name = topic(2)
    fill(produce(), name, *numbered(3))
    member = join(name)
    ask = member.consumer.get_watermark_offsets
    assert ask(member.at(0), cached=True) == (OFFSET_INVALID, OFFSET_INVALID)
    assert ask(member.at(0), ANSWERED) == (0, 3)
    assert ask(member.at(1), ANSWERED) == (0, 0)
    with pytest.raises(KafkaException) as error:
        ask(member.at(2), ANSWERED)
    assert code_of(error) == KafkaError._UNKNOWN_PARTITION


def test_metadata_names_the_partitions_and_what_is_missing(
    broker: Broker, topic: MakeTopic, join: Join
) -> None:
    name = topic(3)
    member = join(name)
    found = member.consumer.list_topics(name, timeout=ANSWERED).topics[name]
    assert found.error is None
    assert sorted(found.partitions) == [0, 1, 2]
    if broker.name == "embedded":
        return  # the mock cluster makes a topic as soon as somebody asks for it
    missing = unique("missing")
    nothing = member.consumer.list_topics(missing, timeout=ANSWERED).topics[missing]
    assert nothing.error is not None
    assert nothing.error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART
    assert not nothing.partitions


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_partition_without_committed_offset_is_an_error_and_begins_when_assigned_anew(
    topic: MakeTopic, join: Join, produce: Produce, protocol: GroupProtocol
) -> None:
    name = topic(2)
    producer = produce()
    for partition in (0, 1):
        fill(producer, name, *numbered(3), partition=partition)
    member = join(name, protocol=protocol, beginning=False)
    wait(lambda: len(member.events) == 2, member)
    assert sorted(member.codes()) == [(0, AUTO_OFFSET_RESET), (1, AUTO_OFFSET_RESET)]
    assert [e.offset() for e in member.events] == [None, None]
    assert member.committed(0, 1) == [OFFSET_INVALID, OFFSET_INVALID]
    with pytest.raises(KafkaException) as error:
        member.consumer.seek(member.at(0, 0))
    assert code_of(error) == KafkaError._STATE
    with pytest.raises(KafkaException) as error:
        member.consumer.incremental_assign([member.at(0, OFFSET_BEGINNING)])
    assert code_of(error) == KafkaError._CONFLICT

    member.consumer.incremental_unassign([member.at(0)])
    member.consumer.incremental_assign([member.at(0, OFFSET_BEGINNING)])
    wait(lambda: len(member.rows) == 3, member)
    assert member.values() == numbered(3)
    assert len(member.events) == 2  # the other one stays silent
    assert member.values(1) == []
    # It still is the group's member, and the group knows nothing of the detour.
    member.commit(0, 3)
    assert member.committed(0, 1) == [3, OFFSET_INVALID]
    assert member.calls == [("assign", [0, 1])]


def test_a_partition_can_begin_at_its_end(topic: MakeTopic, join: Join, produce: Produce) -> None:
    name = topic()
    producer = produce()
    fill(producer, name, *numbered(3))
    member = join(name, beginning=False, eof=True)
    wait(lambda: member.events, member)
    member.consumer.incremental_unassign([member.at(0)])
    member.consumer.incremental_assign([member.at(0, OFFSET_END)])
    wait(lambda: (0, PARTITION_EOF) in member.codes(), member)
    fill(producer, name, b"3")
    wait(lambda: member.rows, member)
    assert [row.offset() for row in member.rows] == [3]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_committed_offset_that_the_topic_does_not_have_is_the_same_error(
    topic: MakeTopic, join: Join, produce: Produce, protocol: GroupProtocol
) -> None:
    name = topic()
    fill(produce(), name, *numbered(3))
    before = join(name, protocol=protocol)
    wait(lambda: before.owned, before)
    before.commit(0, 1000)
    before.consumer.close()

    member = join(name, protocol=protocol, beginning=False)
    wait(lambda: member.events, member)
    assert member.codes() == [(0, AUTO_OFFSET_RESET)]
    # The offset that was asked for tells this case from the one without any.
    assert member.events[0].offset() == 1000
    assert member.committed(0) == [1000]
    with pytest.raises(KafkaException) as error:
        member.consumer.seek(member.at(0, 0))
    assert code_of(error) == KafkaError._STATE
    member.consumer.incremental_unassign([member.at(0)])
    member.consumer.incremental_assign([member.at(0, OFFSET_BEGINNING)])
    wait(lambda: len(member.rows) == 3, member)
    assert member.values() == numbered(3)


def test_a_group_goes_on_from_its_committed_offset(
    topic: MakeTopic, join: Join, produce: Produce
) -> None:
    name = topic()
    fill(produce(), name, *numbered(5))
    first = join(name)
    wait(lambda: len(first.rows) == 5, first)
    first.commit(0, 2)
    first.consumer.close()
    second = join(name, beginning=False)
    wait(lambda: len(second.rows) == 3, second)
    assert [row.offset() for row in second.rows] == [2, 3, 4]
    assert second.events == []


def test_a_partition_that_is_read_can_seek_and_others_cannot(
    topic: MakeTopic, join: Join, produce: Produce
) -> None:
    name = topic()
    fill(produce(), name, *numbered(5))
    member = join(name)
    wait(lambda: len(member.rows) == 5, member)
    member.consumer.seek(member.at(0, 3))
    wait(lambda: len(member.rows) == 7, member)
    assert [row.offset() for row in member.rows[5:]] == [3, 4]
    with pytest.raises(KafkaException) as error:
        member.consumer.seek(member.at(9, 0))
    assert code_of(error) == KafkaError._STATE
    with pytest.raises(KafkaException) as error:
        member.consumer.incremental_unassign([member.at(9)])
    assert code_of(error) == KafkaError._INVALID_ARG
    with pytest.raises(KafkaException) as error:
        member.consumer.assign([member.at(0, 0)])
    assert code_of(error) == KafkaError._STATE


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_commit_is_answered_by_on_commit_in_a_later_poll(
    topic: MakeTopic, join: Join, protocol: GroupProtocol
) -> None:
    name = topic(2)
    member = join(name, protocol=protocol)
    wait(lambda: len(member.owned) == 2, member)
    assert member.committed(0, 1) == [OFFSET_INVALID, OFFSET_INVALID]
    member.consumer.commit(offsets=[member.at(0, 5), member.at(1, 7)], asynchronous=True)
    assert member.commits == []
    wait(lambda: member.commits, member)
    ((error, places),) = member.commits
    assert error is None
    assert sorted((p.partition, p.offset, p.error) for p in places) == [(0, 5, None), (1, 7, None)]
    assert member.committed(0, 1) == [5, 7]


def test_commits_are_answered_in_their_order_and_one_may_go_back(
    topic: MakeTopic, join: Join
) -> None:
    member = join(topic())
    wait(lambda: member.owned, member)
    for offset in (3, 9, 6):
        member.consumer.commit(offsets=[member.at(0, offset)], asynchronous=True)
    wait(lambda: len(member.commits) == 3, member)
    assert [places[0].offset for _, places in member.commits] == [3, 9, 6]
    assert member.committed(0) == [6]


def test_a_commit_that_waits_returns_the_answer_of_each_partition(
    topic: MakeTopic, join: Join
) -> None:
    member = join(topic())
    wait(lambda: member.owned, member)
    (place,) = member.commit(0, 4)
    assert (place.partition, place.offset, place.error) == (0, 4, None)
    assert member.committed(0) == [4]


def test_one_bad_partition_fails_the_answer_of_all_though_the_others_are_stored(
    topic: MakeTopic, join: Join
) -> None:
    member = join(topic())
    wait(lambda: member.owned, member)
    both = [member.at(0, 4), member.at(9, 1)]
    with pytest.raises(KafkaException) as error:
        member.consumer.commit(offsets=both, asynchronous=False)
    assert code_of(error) == KafkaError.UNKNOWN_TOPIC_OR_PART
    assert member.committed(0) == [4]
    member.consumer.commit(offsets=[member.at(0, 5), member.at(9, 1)], asynchronous=True)
    wait(lambda: member.commits, member)
    ((failed, places),) = member.commits
    assert failed is not None
    assert failed.code() == KafkaError.UNKNOWN_TOPIC_OR_PART
    answers = [(p.partition, p.error and p.error.code()) for p in places]
    assert answers == [(n, KafkaError.UNKNOWN_TOPIC_OR_PART) for n in (0, 9)]
    assert member.committed(0) == [5]


@pytest.mark.parametrize("places", [0, 1])
def test_a_commit_of_nothing_is_an_error(topic: MakeTopic, join: Join, places: int) -> None:
    member = join(topic())
    wait(lambda: member.owned, member)
    nothing = [member.at(0)] * places
    with pytest.raises(KafkaException) as error:
        member.consumer.commit(offsets=nothing, asynchronous=False)
    assert code_of(error) == KafkaError._NO_OFFSET
    assert member.committed(0) == [OFFSET_INVALID]


def test_a_closed_member_commits_nothing(topic: MakeTopic, join: Join) -> None:
    member = join(topic())
    wait(lambda: member.owned, member)
    member.consumer.close()
    calls: list[Callable[[], object]] = [
        lambda: member.commit(0, 4),
        lambda: member.consumer.consume(1, 0),
        member.consumer.assignment,
    ]
    for call in calls:
        with pytest.raises(RuntimeError, match="closed"):
            call()
    member.consumer.close()  # twice is fine


def test_close_answers_the_commits_that_wait(topic: MakeTopic, join: Join) -> None:
    name = topic()
    member = join(name)
    wait(lambda: member.owned, member)
    member.consumer.commit(offsets=[member.at(0, 4)], asynchronous=True)
    member.consumer.close()
    ((error, places),) = member.commits
    assert error is None
    assert [(p.partition, p.offset) for p in places] == [(0, 4)]
    assert join(name, unique("group")).committed(0) == [OFFSET_INVALID]
    assert join(name).committed(0) == [4]


def test_a_member_that_did_not_poll_is_expelled_and_told_so(
    broker: Broker, topic: MakeTopic, join: Join, produce: Produce
) -> None:
    """In a classic group; a group of the new protocol takes commits while it has no member."""
    name = topic(2)
    fill(produce(), name, *numbered(3))
    late = join(name, session_timeout_ms="1000", max_poll_interval_ms="1000")
    wait(lambda: len(late.rows) == 3, late)
    if isinstance(broker, FakeBrokerAdapter):
        broker.fake.expire(cast("FakeConsumer", late.consumer))
    assert refusal_of_commits(late) == KafkaError.UNKNOWN_MEMBER_ID
    wait(lambda: len(late.calls) == 3, late)
    assert late.calls == [("assign", [0, 1]), ("lost", [0, 1]), ("assign", [0, 1])]
    # The event names partition 0, though it is about none.
    assert late.codes() == [(0, KafkaError._MAX_POLL_EXCEEDED)]
    assert late.events[0].topic() is None
    late.commit(0, 2)
    assert late.committed(0) == [2]


def test_an_expelled_member_commits_nothing_for_its_heirs(
    broker: Broker, topic: MakeTopic, join: Join, produce: Produce
) -> None:
    """In a group of the new protocol."""
    name = topic(2)
    fill(produce(), name, *numbered(3))
    late = join(name, protocol="consumer", max_poll_interval_ms="1000")
    wait(lambda: len(late.rows) == 3, late)
    heir = join(name, protocol="consumer")
    if isinstance(broker, FakeBrokerAdapter):
        broker.fake.expire(cast("FakeConsumer", late.consumer))
    wait(lambda: len(heir.owned) == 2, heir)
    with pytest.raises(KafkaException) as error:
        late.commit(0, 3)
    assert code_of(error) == KafkaError.UNKNOWN_MEMBER_ID
    assert heir.committed(0) == [OFFSET_INVALID]
    heir.commit(0, 1)
    assert heir.committed(0) == [1]
    wait(lambda: (0, KafkaError._MAX_POLL_EXCEEDED) in late.codes(), late, heir)
    wait(lambda: late.owned and len(late.owned | heir.owned) == 2, late, heir)
    # What the group asked back before it expelled the member comes late, and as revoked.
    given_up = [n for kind, numbers in late.calls if kind != "assign" for n in numbers]
    assert sorted(given_up[:2]) == [0, 1]
    assert "lost" in {kind for kind, _ in late.calls}


def test_a_paused_partition_gives_no_rows_and_loses_none(
    topic: MakeTopic, join: Join, produce: Produce
) -> None:
    name = topic(2)
    producer = produce()
    fill(producer, name, *numbered(200))
    member = join(name)
    while not member.rows:  # some are fetched, not all are returned
        member.rows += [m for m in member.consumer.consume(10, 0.1) if not m.error()]
    read = len(member.rows)
    assert read < 200
    member.consumer.pause([member.at(0)])
    fill(producer, name, *numbered(100, 200))
    fill(producer, name, b"other", partition=1)
    wait(lambda: member.values(1) == [b"other"], member)
    assert len(member.values(0)) == read
    member.consumer.resume([member.at(0)])
    wait(lambda: len(member.values(0)) == 300, member)
    assert member.values(0) == numbered(300)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_polling_a_paused_member_serves_commits_and_rebalances(
    topic: MakeTopic, join: Join, produce: Produce, protocol: GroupProtocol
) -> None:
    name = topic(2)
    producer = produce()
    member = join(name, protocol=protocol)
    wait(lambda: len(member.owned) == 2, member)
    member.consumer.pause([member.at(0), member.at(1)])
    for partition in (0, 1):
        fill(producer, name, *numbered(3), partition=partition)
    member.consumer.commit(offsets=[member.at(0, 0), member.at(1, 0)], asynchronous=True)
    wait(lambda: member.commits, member)
    other = join(name, protocol=protocol)
    wait(lambda: other.rows, member, other)
    assert member.rows == []
    (kept,) = member.owned
    assert other.owned == {1 - kept}
    # A rebalance resumes nothing that stays.
    member.poll()
    assert member.rows == []
    member.consumer.resume([member.at(kept)])
    wait(lambda: len(member.rows) == 3, member, other)


def test_pausing_a_partition_that_is_not_ours_is_no_error(topic: MakeTopic, join: Join) -> None:
    member = join(topic())
    wait(lambda: member.owned, member)
    member.consumer.pause([member.at(9)])
    member.consumer.resume([member.at(9)])


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_members_that_come_and_go_move_only_what_must_move(
    topic: MakeTopic, join: Join, protocol: GroupProtocol
) -> None:
    name = topic(4)
    first = join(name, protocol=protocol)
    wait(lambda: len(first.owned) == 4, first)
    assert [call for call in first.calls if call[1]] == [("assign", [0, 1, 2, 3])]
    first.calls.clear()

    second = join(name, protocol=protocol)
    wait(lambda: len(second.owned) == 2, first, second)
    moved = sorted(second.owned)
    # Calls with no partitions tell that a rebalance came to its end; not every broker has them.
    assert [call for call in first.calls if call[1]] == [("revoke", moved)]
    assert [call for call in second.calls if call[1]] == [("assign", moved)]
    assert sorted(p.partition for p in second.consumer.assignment()) == moved
    first.calls.clear()

    second.consumer.close()
    assert second.calls[-1] == ("revoke", moved)
    wait(lambda: len(first.owned) == 4, first)
    assert [call for call in first.calls if call[1]] == [("assign", moved)]
    first.calls.clear()
    first.consumer.close()
    assert first.calls == [("revoke", [0, 1, 2, 3])]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_what_is_committed_on_revoke_is_where_the_next_owner_begins(
    topic: MakeTopic, join: Join, produce: Produce, protocol: GroupProtocol
) -> None:
    name = topic(2)
    producer = produce()
    for partition in (0, 1):
        fill(producer, name, *numbered(3), partition=partition)
    session: dict[str, Any] = {"session_timeout_ms": "6000"} if protocol == "classic" else {}

    def hand_over(group: str) -> bool:
        """Tell whether the first member could commit before its group went on without it."""
        first = join(name, group=group, protocol=protocol, **session)
        wait(lambda: len(first.rows) == 6, first)
        refused: list[int] = []

        def commit(consumer: Consumer, places: list[TopicPartition]) -> None:
            ends = [first.at(place.partition, 2) for place in places]
            try:
                consumer.commit(offsets=ends, asynchronous=False)
            except KafkaException as error:
                refused.append(error.args[0].code())

        first.on_revoke = commit
        second = join(name, group=group, protocol=protocol, beginning=False, **session)
        wait(lambda: second.rows or refused, first, second)
        first.on_revoke = None
        assert set(refused) <= {KafkaError.REBALANCE_IN_PROGRESS, KafkaError.ILLEGAL_GENERATION}
        if refused:
            return False
        assert {row.offset() for row in second.rows} == {2}
        assert second.events == []
        return True

    # The mock cluster takes commits until it ends the rebalance, which a busy machine may miss.
    assert any(hand_over(f"{name}-{attempt}") for attempt in range(3))


def test_each_row_is_reported_with_its_place(topic: MakeTopic, produce: Produce) -> None:
    name = topic(2)
    reports: list[tuple[KafkaError | None, Any, Any]] = []
    producer = produce()
    for i, value in enumerate(numbered(6)):
        producer.produce(
            name,
            value,
            key=b"k",
            partition=i % 2,
            on_delivery=lambda error, m: reports.append(
                (error, (m.topic(), m.partition(), m.offset()), (m.key(), m.value()))
            ),
        )
    assert reports == []  # before a poll, nobody is called
    assert len(producer) == 6
    assert producer.flush(SECONDS) == 0
    assert len(producer) == 0
    assert {error for error, _, _ in reports} == {None}
    for partition in (0, 1):
        found = [(place, row) for _, place, row in reports if place[1] == partition]
        assert [place for place, _ in found] == [(name, partition, i) for i in range(3)]
        assert [row for _, row in found] == [(b"k", b"%d" % i) for i in range(partition, 6, 2)]


def test_one_key_goes_to_one_partition(topic: MakeTopic, join: Join, produce: Produce) -> None:
    name = topic(4)
    producer = produce()
    keys = [b"key-%d" % (i % 20) for i in range(100)]
    for key in keys:
        producer.produce(name, b"v", key=key)
    assert producer.flush(SECONDS) == 0
    member = join(name)
    wait(lambda: len(member.rows) == 100, member)
    places = {(row.key(), row.partition()) for row in member.rows}
    assert len(places) == 20
    assert len({partition for _, partition in places}) > 1


def test_a_row_that_can_never_be_sent_is_refused_at_once(
    topic: MakeTopic, produce: Produce
) -> None:
    name = topic()
    producer = produce(message_max_bytes="2000")
    fill(producer, name, b"known")  # only then the partitions are known
    with pytest.raises(KafkaException) as error:
        producer.produce(name, b"x" * 3000)
    assert code_of(error) == KafkaError.MSG_SIZE_TOO_LARGE
    with pytest.raises(KafkaException) as error:
        producer.produce(name, b"x", partition=7)
    assert code_of(error) == KafkaError._UNKNOWN_PARTITION
    assert len(producer) == 0


def test_purged_rows_are_reported_as_never_sent(
    broker: Broker, topic: MakeTopic, join: Join, produce: Produce
) -> None:
    name = topic()
    producer = produce(linger_ms="60000")
    if isinstance(broker, FakeBrokerAdapter):
        broker.fake.faults.down = True
    reports: list[KafkaError | None] = []
    for value in numbered(3):
        producer.produce(name, value, partition=0, on_delivery=lambda e, _: reports.append(e))
    producer.purge()
    assert producer.flush(SECONDS) == 0
    assert [error and error.code() for error in reports] == [KafkaError._PURGE_QUEUE] * 3
    if isinstance(broker, FakeBrokerAdapter):
        broker.fake.faults.down = False
    member = join(name)
    assert member.consumer.get_watermark_offsets(member.at(0), ANSWERED) == (0, 0)


def test_a_full_queue_refuses_the_next_row_and_keeps_the_others(
    topic: MakeTopic, produce: Produce
) -> None:
    name = topic()
    producer = produce(linger_ms="100", queue_buffering_max_messages="3")
    for value in numbered(3):
        producer.produce(name, value, partition=0)
    with pytest.raises(BufferError):
        producer.produce(name, b"3", partition=0)
    assert producer.flush(SECONDS) == 0
    fill(producer, name, b"3")
