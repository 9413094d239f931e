"""How far a group is behind, on the fakes: rows, ages, notes, and what the brokers do not tell."""

import json
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import ConsumerGroupState, KafkaError, KafkaException, Message, TopicPartition

from dynatomic.config.settings import Settings
from dynatomic.console import duration, table_lines
from dynatomic.errors import ConfigError, UnavailableError
from dynatomic.kafka.client import Watermarks, consumer_config
from dynatomic.kafka.groups import CommittedOffset, GroupMember, committed_offsets, describe_group
from dynatomic.operations import lag as module
from dynatomic.operations.lag import LagReader, PartitionLag
from dynatomic.operations.positions import READ_LITTLE, GroupPosition, Timestamps
from dynatomic.testing.kafka.broker import FakeBroker
from tests.support.harness import Clock

TOPIC, GROUP = "row-events", "dynatomic"
NOW = 1_000_000.0
OTHER = "f" * 32


def member(name: str, *places: tuple[str, int], client: str = "app") -> SimpleNamespace:
    """Return a member as confluent-kafka describes it."""
    owned = SimpleNamespace(topic_partitions=[TopicPartition(*place) for place in places])
    return SimpleNamespace(member_id=name, host="/10.0.0.1", client_id=client, assignment=owned)


class Admin:
    """Describes the fake broker's topics, and one group by hand; an int is an error's code."""

    def __init__(self, broker: FakeBroker) -> None:
        self.broker = broker
        self.group: int | tuple[ConsumerGroupState, list[Any]] = (ConsumerGroupState.STABLE, [])

    def list_topics(self, topic: str, timeout: float) -> Any:
        assert timeout > 0
        return self.broker.metadata(topic)

    def describe_topics(self, _topics: Any, *, request_timeout: float) -> dict[str, Any]:
        assert request_timeout > 0
        high, low = divmod(int(self.broker.topic_ids[TOPIC], 16), 2**64)
        topic_id = SimpleNamespace(
            get_most_significant_bits=lambda: high, get_least_significant_bits=lambda: low
        )
        told: Future[Any] = Future()
        told.set_result(SimpleNamespace(topic_id=topic_id))
        return {TOPIC: told}

    def describe_consumer_groups(
        self, names: Sequence[str], *, request_timeout: float
    ) -> dict[str, Any]:
        assert request_timeout > 0
        told: Future[Any] = Future()
        if isinstance(self.group, int):
            told.set_exception(KafkaException(KafkaError(self.group)))
        else:
            state, members = self.group
            told.set_result(SimpleNamespace(state=state, members=members))
        return dict.fromkeys(names, told)


class World:
    """A topic, a group outside of which the test stands, and a clock."""

    def __init__(self, partitions: int = 1, **settings: Any) -> None:
        self.clock = Clock()
        self.made = NOW
        self.broker = FakeBroker(sleep=self.clock.advance, clock=lambda: self.made)
        self.broker.create_topic(TOPIC, partitions)
        self.id = self.broker.topic_ids[TOPIC]
        self.admin = Admin(self.broker)
        self.settings = Settings(topic=TOPIC, group_id=GROUP, **settings)
        config = consumer_config(self.settings, eof=True) | READ_LITTLE
        self.consumer = self.broker.consumer(config)

    def emit(self, count: int, partition: int = 0, age_s: float = 0.0) -> None:
        self.made = NOW - age_s
        for _ in range(count):
            self.broker.append(TOPIC, partition, None, b"event", [])

    def commit(self, offset: int, partition: int = 0, about: str | None = None) -> None:
        group = self.broker.group(GROUP)
        group.offsets[TOPIC, partition] = offset
        group.metadata[TOPIC, partition] = self.id if about is None else about

    def watch(self) -> LagReader:
        return LagReader(
            self.settings, self.consumer, self.admin, clock=self.clock, now=lambda: NOW
        )

    def rows(self) -> list[PartitionLag]:
        return self.watch().read().rows

    def row(self) -> PartitionLag:
        (found,) = self.rows()
        return found


# --- offsets and lag -------------------------------------------------------------------------


def test_the_lag_is_the_end_less_the_committed_offset() -> None:
    w = World(2)
    w.emit(10, 0)
    w.emit(7, 1)
    w.commit(4, 0)
    w.commit(7, 1)
    assert [(r.partition, r.current_offset, r.log_end_offset, r.lag) for r in w.rows()] == [
        (0, 4, 10, 6),
        (1, 7, 7, 0),
    ]


def test_without_a_committed_offset_there_is_no_lag_but_an_age() -> None:
    w = World()
    w.emit(3, age_s=5.0)
    row = w.row()
    assert (row.current_offset, row.log_end_offset, row.lag, row.age_s) == (None, 3, None, 5.0)


def test_where_the_group_would_begin_at_the_end_nothing_is_old() -> None:
    w = World(librdkafka={"auto.offset.reset": "latest"})
    w.emit(3, age_s=5.0)
    assert w.row().age_s is None


def test_of_what_retention_removed_the_row_tells() -> None:
    w = World()
    w.emit(5, age_s=50)
    w.emit(5, age_s=20)
    w.commit(2)
    w.broker.delete_before(TOPIC, 0, 6)
    row = w.row()
    assert (row.lag, row.age_s) == (8, 20)  # Kafka's tool says 8 as well
    assert row.note == "retention removed offsets 2 to 5"


def test_an_offset_of_a_deleted_topic_is_no_lag() -> None:
    w = World()
    w.emit(10, age_s=9)
    w.commit(4, about=OTHER)
    row = w.row()
    assert (row.current_offset, row.lag, row.age_s) == (4, None, 9)
    assert row.note == f"committed in another topic of this name, id {OTHER}"


@pytest.mark.parametrize("about", ["", "by hand", "same"])
def test_offsets_of_other_tools_are_believed(about: str) -> None:
    w = World()
    w.emit(10)
    w.commit(4, about=w.id if about == "same" else about)
    assert (w.row().lag, w.row().note) == (6, "")


def test_an_offset_beyond_the_end_is_no_negative_lag() -> None:
    w = World()
    w.emit(3)
    w.commit(8)
    row = w.row()
    assert (row.lag, row.age_s, row.note) == (None, None, "5 beyond the end")


# --- ages ------------------------------------------------------------------------------------


def test_the_age_is_that_of_the_first_event_that_is_not_committed() -> None:
    w = World()
    w.emit(2, age_s=60)
    w.emit(2, age_s=7)
    w.commit(2)
    assert w.row().age_s == 7
    w.commit(1)
    assert w.row().age_s == 60
    w.commit(4)
    assert w.row().age_s is None


def test_gaps_hold_no_event() -> None:
    w = World(2)
    for partition in (0, 1):
        w.emit(1, partition, age_s=60)
        w.broker.append_gap(TOPIC, partition, 3)
        w.commit(1, partition)
    w.emit(1, 1, age_s=3)
    first, second = w.rows()
    assert (first.lag, first.age_s) == (3, None)
    assert (second.lag, second.age_s) == (4, 3)


def test_an_event_from_the_future_is_not_younger_than_now() -> None:
    w = World()
    w.emit(1, age_s=-10)
    assert w.row().age_s == 0


def test_an_event_without_a_time_has_no_age() -> None:
    w = World()
    timeless = Message(topic=TOPIC, partition=0, offset=0, value=b"event", timestamp=(0, 5))
    w.broker.logs[TOPIC][0].messages.append(timeless)
    row = w.row()
    assert (row.lag, row.age_s) == (None, None)


def test_brokers_that_send_nothing_leave_the_age_unknown_within_a_bound() -> None:
    w = World()
    w.emit(1)
    seen = Timestamps(w.consumer, w.settings, w.clock)
    w.broker.faults.down = True
    before = w.clock()
    assert seen.first({0: 0}, timeout_s=3.0) == {}
    assert 3.0 <= w.clock() - before < 4.0
    w.broker.faults.down = False
    assert seen.first({0: 0}) == {0: NOW}


def test_what_was_read_is_not_read_again_while_the_offset_stays() -> None:
    w = World(2)
    for partition in (0, 1):
        w.emit(2, partition, age_s=8)
    seen = Timestamps(w.consumer, w.settings, w.clock)
    assert seen.first({0: 0, 1: 0}) == {0: NOW - 8, 1: NOW - 8}
    w.broker.faults.down = True
    assert seen.first({0: 0, 1: 0}) == {0: NOW - 8, 1: NOW - 8}
    assert seen.first({0: 1, 1: 0}, timeout_s=1.0) == {1: NOW - 8}
    w.broker.faults.down = False
    assert seen.first({0: 1}) == {0: NOW - 8}


def test_a_denied_topic_says_what_to_allow() -> None:
    w = World()
    w.emit(1)
    w.broker.emit_error(w.consumer, KafkaError.TOPIC_AUTHORIZATION_FAILED)
    with pytest.raises(ConfigError, match="allow Read"):
        w.watch().read()


# --- members ---------------------------------------------------------------------------------


def test_each_partition_names_its_member_and_idle_ones_have_a_row() -> None:
    w = World(2)
    members = [
        member("m2", (TOPIC, 1), ("another", 0)),
        member("m1"),
        member("m3", ("another", 1)),  # not idle, but not here
    ]
    w.admin.group = (ConsumerGroupState.STABLE, members)
    rows = w.rows()
    assert [(r.partition, r.member.consumer_id if r.member else None) for r in rows] == [
        (0, None),
        (1, "m2"),
        (None, "m1"),
    ]
    assert rows[1].member == GroupMember("m2", "/10.0.0.1", "app", frozenset({1}), idle=False)


@pytest.mark.parametrize(
    ("group", "committed", "remark"),
    [
        ((ConsumerGroupState.EMPTY, []), True, "has no active members"),
        ((ConsumerGroupState.DEAD, []), False, "does not exist"),
        ((ConsumerGroupState.DEAD, []), True, "has no active members"),
        (KafkaError.GROUP_ID_NOT_FOUND, False, "does not exist"),
        (KafkaError._UNSUPPORTED_FEATURE, True, "these brokers tell no members"),
        (KafkaError.UNSUPPORTED_VERSION, True, "these brokers tell no members"),
    ],
)
def test_what_is_said_of_the_whole_group(group: Any, committed: bool, remark: str) -> None:  # noqa: FBT001 - parametrized
    w = World()
    if committed:
        w.commit(0)
    w.admin.group = group
    (said,) = w.watch().read().remarks
    assert remark in said


def test_of_a_group_with_members_nothing_is_said() -> None:
    w = World()
    w.admin.group = (ConsumerGroupState.STABLE, [member("m1", (TOPIC, 0))])
    assert w.watch().read().remarks == []


@pytest.mark.parametrize(
    ("state", "members", "active"),
    [
        (ConsumerGroupState.STABLE, 1, True),
        (ConsumerGroupState.PREPARING_REBALANCING, 0, True),
        (ConsumerGroupState.UNKNOWN, 0, True),
        (ConsumerGroupState.EMPTY, 1, True),
        (ConsumerGroupState.EMPTY, 0, False),
        (ConsumerGroupState.DEAD, 0, False),
    ],
)
def test_a_group_is_active_unless_it_is_empty_or_dead(
    state: ConsumerGroupState,
    members: int,
    active: bool,  # noqa: FBT001 - parametrized
) -> None:
    w = World()
    w.admin.group = (state, [member(f"m{n}") for n in range(members)])
    found = describe_group(w.admin, w.settings)
    assert found is not None
    assert found.active is active


# --- what goes wrong -------------------------------------------------------------------------


def test_a_denied_group_is_a_matter_of_configuration() -> None:
    w = World()
    w.admin.group = KafkaError.GROUP_AUTHORIZATION_FAILED
    with pytest.raises(ConfigError, match="allow Describe") as error:
        w.watch().read()
    assert error.value.exit_code == 78


def test_a_group_whose_coordinator_is_away_is_unavailable() -> None:
    w = World()
    w.admin.group = KafkaError.COORDINATOR_NOT_AVAILABLE
    with pytest.raises(UnavailableError, match="try again") as error:
        w.watch().read()
    assert error.value.exit_code == 75


class Refusing:
    """A consumer whose committed offsets come with errors."""

    def __init__(self, code: int, *, raises: bool) -> None:
        self.code, self.raises = code, raises

    def committed(self, places: list[TopicPartition], timeout: float) -> list[Any]:
        assert timeout > 0
        error = KafkaError(self.code)
        if self.raises:
            raise KafkaException(error)
        return [SimpleNamespace(partition=p.partition, offset=-1, error=error) for p in places]


@pytest.mark.parametrize("raises", [True, False])
@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (KafkaError.GROUP_AUTHORIZATION_FAILED, ConfigError),
        (KafkaError.TOPIC_AUTHORIZATION_FAILED, ConfigError),
        (KafkaError.COORDINATOR_LOAD_IN_PROGRESS, UnavailableError),
    ],
)
def test_committed_offsets_that_are_not_told_are_an_error(
    monkeypatch: pytest.MonkeyPatch,
    code: int,
    kind: type[Exception],
    raises: bool,  # noqa: FBT001 - parametrized
) -> None:
    monkeypatch.setattr("dynatomic.kafka.groups.TIMEOUT_S", 0.1)
    with pytest.raises(kind):
        committed_offsets(Refusing(code, raises=raises), Settings(), [0])


# --- what is printed -------------------------------------------------------------------------


def printed(
    w: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], **how: Any
) -> tuple[str, str]:
    """Return what the command prints on stdout and stderr."""
    monkeypatch.setattr(module, "lag_reader", lambda _settings: nullcontext(w.watch()))
    assert module.lag(w.settings, **how) == 0
    found = capsys.readouterr()
    return found.out, found.err


def test_the_table_has_the_columns_of_kafkas_tool(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    w = World(2)
    w.emit(1500, 0, age_s=130)
    w.commit(300)
    w.admin.group = (ConsumerGroupState.STABLE, [member("m1", (TOPIC, 0), client="a\x1b[2Jb")])
    out, err = printed(w, monkeypatch, capsys)
    rows = [line.split() for line in out.splitlines()]
    assert rows == [
        [
            *("GROUP", "TOPIC", "PARTITION", "CURRENT-OFFSET", "LOG-END-OFFSET", "LAG"),
            *("CONSUMER-ID", "HOST", "CLIENT-ID", "AGE"),
        ],
        [GROUP, TOPIC, "0", "300", "1500", "1200", "m1", "/10.0.0.1", "a?[2Jb", "2m10s"],
        [GROUP, TOPIC, "1", "-", "0", "-", "-", "-", "-", "-"],
    ]
    assert err == ""


def test_notes_have_a_column_once_there_is_one_and_remarks_go_to_stderr(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    w = World()
    w.commit(3)
    w.admin.group = (ConsumerGroupState.EMPTY, [])
    out, err = printed(w, monkeypatch, capsys)
    heading, row = out.splitlines()
    assert heading.endswith("AGE  NOTE")
    assert row.endswith("3 beyond the end")
    assert err == f"group {GROUP} has no active members\n"


def test_json_has_null_where_nothing_is_known(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    w = World(2)
    w.emit(4, age_s=12.3456)
    w.commit(1)
    members = [member("m1", (TOPIC, 0)), member("m2")]
    w.admin.group = (ConsumerGroupState.STABLE, members)
    out, _ = printed(w, monkeypatch, capsys, output="json")
    known, unknown, idle = json.loads(out)
    assert known == {
        "group": GROUP,
        "topic": TOPIC,
        "partition": 0,
        "current_offset": 1,
        "log_end_offset": 4,
        "lag": 3,
        "consumer_id": "m1",
        "host": "/10.0.0.1",
        "client_id": "app",
        "age_seconds": 12.346,
        "note": None,
    }
    assert {name for name, value in unknown.items() if value is None} == {
        *("current_offset", "lag", "consumer_id", "host", "client_id", "age_seconds", "note")
    }
    assert (idle["topic"], idle["partition"], idle["consumer_id"]) == (None, None, "m2")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "-"),
        (0, "0.0s"),
        (9.94, "9.9s"),
        (9.96, "10s"),
        (59.4, "59s"),
        (59.6, "1m0s"),
        (3_600, "1h0m"),
        (7_210, "2h0m"),
        (86_399.9, "1d0h"),
        (400_000, "4d15h"),
    ],
)
def test_durations_have_their_largest_unit_and_the_next(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text


def test_numbers_stand_to_the_right() -> None:
    assert list(table_lines([("a", "n"), ("bb", "10")], {1})) == ["a    n", "bb  10"]


@pytest.mark.parametrize(
    ("offset", "policy", "begin"),
    [
        (None, "earliest", 10),
        (None, "error", 10),
        (None, "latest", 20),
        (5, "latest", 10),
        (15, "latest", 15),
        (25, "earliest", 20),
    ],
)
def test_where_a_group_is_done(offset: int | None, policy: Any, begin: int) -> None:
    found = None if offset is None else CommittedOffset(offset, "")
    assert GroupPosition(0, Watermarks(10, 20), found, None).begin(policy) == begin
