"""How far a group is behind, on the fakes: rows, members, and what is printed."""

import json
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import ConsumerGroupState, KafkaError, KafkaException, TopicPartition

from dynatomic.config.settings import Settings
from dynatomic.errors import ConfigError, DynatomicError, UnavailableError
from dynatomic.kafka.groups import GroupMember, committed_offsets, describe_group
from dynatomic.operations import lag as module
from dynatomic.operations.lag import GroupLag, PartitionLag, text_lines
from tests.support.lag_world import GROUP, OTHER, TOPIC, World, member


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


def test_what_an_open_transaction_holds_back_is_a_note_and_no_lag() -> None:
    w = World()
    w.emit(4)
    w.commit(4)
    assert (w.row().note, w.row().high_watermark) == ("", 4)
    w.held_by_transactions = 3
    row = w.row()
    assert (row.log_end_offset, row.high_watermark, row.lag) == (4, 7, 0)
    assert row.note == "an open transaction holds back 3 offsets"


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
    assert (row.lag, row.age_s, row.note) == (None, None, "5 beyond the end: the log was cut at 3")


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
        (KafkaError._UNSUPPORTED_FEATURE, True, "these brokers do not report its members"),
        (KafkaError.UNSUPPORTED_VERSION, True, "these brokers do not report its members"),
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


def printed(
    w: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], **how: Any
) -> tuple[str, str]:
    """Return what the command prints on stdout and stderr."""
    monkeypatch.setattr(module, "lag_reader", lambda _settings: nullcontext(w.watch()))
    assert module.lag(w.settings, **how) == 0
    found = capsys.readouterr()
    return found.out, found.err


@pytest.mark.parametrize("output", ["text", "json"])
def test_a_group_that_does_not_exist_is_an_error_with_a_similar_one(
    monkeypatch: pytest.MonkeyPatch, output: str
) -> None:
    w = World()
    w.admin.group = (ConsumerGroupState.DEAD, [])
    w.admin.groups = ["other", "dynatomics"]
    monkeypatch.setattr(module, "lag_reader", lambda _settings: nullcontext(w.watch()))
    words = r"^group dynatomic does not exist at localhost:9092; .* did you mean 'dynatomics'\?$"
    with pytest.raises(DynatomicError, match=words):
        module.lag(w.settings, output)  # type: ignore[arg-type]


def test_lines_are_at_most_80_columns_wide() -> None:
    client = f"dynatomic-exactly-once@{'worker-' * 8}1:4711"
    owner = GroupMember("m", "/10.0.0.1", client, frozenset({0}), idle=False)
    short = owner._replace(client_id="dynatomic@worker-1:4711")
    rows = [
        PartitionLag(0, 10**12, 10**12 + 10**7, 10**7, 200_000.0, owner),
        PartitionLag(1, 5, 5, 0, None, short),
    ]
    lines = list(text_lines(Settings(), GroupLag(rows, [], 0.0)))
    assert max(map(len, lines)) <= 80
    assert lines[2].endswith("worker-worker-work...")
    assert lines[3].endswith("worker-1:4711")


def test_the_table_names_offsets_as_kafkas_tool_does(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    w = World(2)
    w.emit(1500, 0, age_s=130)
    w.commit(300)
    w.admin.group = (ConsumerGroupState.STABLE, [member("m1", (TOPIC, 0), client="a\x1b[2Jb")])
    out, err = printed(w, monkeypatch, capsys)
    head, *table = out.splitlines()
    assert head == f"group {GROUP}, topic {TOPIC}, 1 member"
    assert [line.split() for line in table] == [
        ["PARTITION", "CURRENT-OFFSET", "LOG-END-OFFSET", "LAG", "AGE", "MEMBER"],
        ["0", "300", "1500", "1200", "2m10s", "a?[2Jb"],
        ["1", "-", "0", "-", "-", "-"],
    ]
    assert err == ""


def test_notes_follow_the_table_and_remarks_go_to_stderr(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    w = World()
    w.commit(3)
    w.admin.group = (ConsumerGroupState.EMPTY, [])
    out, err = printed(w, monkeypatch, capsys)
    *_, note = out.splitlines()
    assert note == "partition 0: 3 beyond the end: the log was cut at 0"
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
        "high_watermark": 4,
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
