"""Whether a group takes a consumer as a member, and the message if not."""

from typing import Any

import pytest
from confluent_kafka import ConsumerGroupState, ConsumerGroupType, KafkaError, Message

from dynatomic.config.settings import Settings
from dynatomic.errors import ConfigError, DynatomicError, GroupRefusedError
from dynatomic.kafka.admission import check_commits, check_group, explain_refusal, refusal_of
from dynatomic.kafka.client import client_id
from dynatomic.kafka.commit_metadata import CommitMetadata
from dynatomic.kafka.groups import CommittedOffset
from dynatomic.kafka.messages import check_error
from dynatomic.testing.kafka.broker import FakeBroker
from tests.support.lag_world import Admin, member
from tests.support.log_records import logged

CLASSIC = Settings(group_id="g")
CONSUMER = Settings(group_id="g", group_protocol="consumer")

# What the client reported on Kafka 4.4.
NO_SUCH_API = "ConsumerGroupHeartbeat fatal error: Broker: API version not supported"
NOT_CONVERTED = "ConsumerGroupHeartbeat fatal error: Broker: The group id does not exist"
OTHER_FATAL = "ConsumerGroupHeartbeat fatal error: Broker: Consumer group has reached maximum size"


def admin(assignor: str, client: str = "dynatomic", **more: Any) -> Admin:
    """Return an admin client of a group with one member."""
    admin = Admin(FakeBroker())
    admin.group = (ConsumerGroupState.STABLE, [member("m-1", client=client)])
    admin.assignor = assignor
    for name, value in more.items():
        setattr(admin, name, value)
    return admin


def empty(**more: Any) -> Admin:
    """Return an admin client of a group without members."""
    return admin("", group=(ConsumerGroupState.EMPTY, []), **more)


def test_a_group_that_uses_another_assignor_is_refused() -> None:
    with pytest.raises(ConfigError, match="group g is in use with the assignor range") as caught:
        check_group(admin("range"), CLASSIC)
    assert "member m-1 at " in str(caught.value)
    assert "choose another --group-id" in str(caught.value)


@pytest.mark.parametrize("assignor", ["", "cooperative-sticky"])
def test_a_group_of_the_same_assignor_or_of_none_yet_is_joined(assignor: str) -> None:
    assert check_group(admin(assignor), CLASSIC) == ""


def test_the_brokers_convert_a_group_to_the_other_protocol() -> None:
    assert check_group(admin("range", protocols="classic,consumer"), CONSUMER) == ""
    uniform = admin("uniform", type=ConsumerGroupType.CONSUMER)
    assert check_group(uniform, CLASSIC) == ""
    assert check_group(uniform, CONSUMER) == "", "no other proof is needed"


@pytest.mark.parametrize(
    ("client", "own", "words"),
    [
        ("dynatomic-counters-30603732", None, "the counters file 30603732 (member m-1"),
        ("dynatomic", "30603732", "row events (member m-1"),
        ("dynatomic-counters-11111111", "30603732", "this consumer by the counters file 30603732"),
    ],
)
def test_a_member_with_another_counters_file_is_refused(
    client: str, own: str | None, words: str
) -> None:
    with pytest.raises(ConfigError, match="group g is counting by") as caught:
        check_group(admin("cooperative-sticky", client), CLASSIC, own)
    assert words in str(caught.value)
    assert "all members need one file" in str(caught.value)


def test_a_member_with_the_same_counters_file_is_joined() -> None:
    mine = client_id("at-least-once", "30603732")
    assert check_group(admin("cooperative-sticky", mine), CLASSIC, "30603732") == ""
    with pytest.raises(ConfigError, match="is running with exactly-once"):
        check_group(admin("", client_id("exactly-once", "30603732")), CLASSIC, "30603732")


def test_a_client_id_of_the_users_own_says_nothing() -> None:
    assert check_group(admin("cooperative-sticky", "dynatomic-counters-x"), CLASSIC, "1" * 8) == ""


ID = "a" * 32


@pytest.mark.parametrize(
    ("committed", "own"), [("30603732", "11111111"), ("30603732", None)], ids=str
)
def test_commits_by_another_counters_file_stop_the_start(committed: str, own: str | None) -> None:
    commits = {3: CommittedOffset(7, CommitMetadata(ID, counters=committed).encode())}
    with pytest.raises(
        ConfigError, match="group g has counted row-events:3 by the count"
    ) as caught:
        check_commits(commits, CLASSIC, ID, own)
    assert "start once with --accept-counters" in str(caught.value)
    assert "verify --snapshot" in str(caught.value)


@pytest.mark.parametrize(
    "metadata",
    [
        "",
        ID,
        CommitMetadata(ID, counters="30603732").encode(),
        CommitMetadata("b" * 32, counters="11111111").encode(),
    ],
)
def test_other_commits_do_not_stop_it(metadata: str) -> None:
    check_commits({3: CommittedOffset(7, metadata)}, CLASSIC, ID, "30603732")


def test_a_member_with_the_other_guarantee_is_refused() -> None:
    with pytest.raises(ConfigError, match="is running with exactly-once"):
        check_group(admin("cooperative-sticky", "dynatomic-exactly-once"), Settings())


def test_members_that_are_not_of_dynatomic_are_named(caplog: pytest.LogCaptureFixture) -> None:
    other = admin("cooperative-sticky", "billing-app")
    note = "; members of other programs: billing-app; events that they commit are not counted"
    assert check_group(other, CLASSIC) == note
    (fields,) = logged(caplog, "group has other members")
    assert fields == {"group": "g", "client_ids": "billing-app"}
    assert check_group(admin("cooperative-sticky", "dynatomic@host-7"), CLASSIC) == ""
    named = Settings(group_id="g", librdkafka={"client.id": "billing-app"})
    assert check_group(other, named) == "", "a client id that the user set shows nothing"


def test_brokers_without_the_protocol_are_refused() -> None:
    assert check_group(empty(protocols="classic, consumer"), CONSUMER) == ""
    assert check_group(empty(protocols="classic"), CLASSIC) == ""
    told = r"do not have the group protocol consumer \(.*=classic\): use --group-protocol classic"
    with pytest.raises(ConfigError, match=told):
        check_group(empty(protocols="classic"), CONSUMER)


def test_brokers_that_do_not_show_their_settings_are_named() -> None:
    assert "do not say whether" in check_group(empty(), CONSUMER)
    assert check_group(empty(), CLASSIC) == ""


def test_brokers_that_do_not_describe_the_group_refuse_nothing() -> None:
    admin = empty(protocols="consumer")
    admin.group = KafkaError._TIMED_OUT
    assert check_group(admin, CONSUMER) == ""
    admin.group = KafkaError._UNSUPPORTED_FEATURE
    assert check_group(admin, CONSUMER) == ""


def fatal(text: str) -> KafkaError:
    return KafkaError(KafkaError._FATAL, f"Fatal error: {text.split(': ', 1)[1]}: {text}")


@pytest.mark.parametrize(
    ("error", "parts"),
    [
        (
            KafkaError(KafkaError.INCONSISTENT_GROUP_PROTOCOL),
            ("group g refuses", "INCONSISTENT_GROUP_PROTOCOL", "choose another --group-id"),
        ),
        (fatal(NO_SUCH_API), ("use --group-protocol classic, or Kafka 4.0",)),
        (fatal(NOT_CONVERTED), ("group g refuses", "group.consumer.migration.policy")),
    ],
)
def test_a_join_that_is_refused_ends_the_loop(error: KafkaError, parts: tuple[str, ...]) -> None:
    with pytest.raises(GroupRefusedError) as caught:
        check_error(Message(topic="", error=error), CONSUMER)
    assert all(part in str(caught.value) for part in parts)
    assert caught.value.exit_code == 78


def test_other_errors_of_the_group_are_no_refusal() -> None:
    assert refusal_of(KafkaError(KafkaError.REBALANCE_IN_PROGRESS), CLASSIC) is None
    with pytest.raises(DynatomicError, match="failed for good") as caught:
        check_error(Message(topic="", error=fatal(OTHER_FATAL)), CONSUMER)
    assert caught.value.exit_code == 1


REFUSED = GroupRefusedError("group g refuses this consumer")


@pytest.mark.parametrize(
    ("admin", "settings", "text"),
    [
        (admin("range"), CLASSIC, "in use with the assignor range"),
        (
            admin("uniform", type=ConsumerGroupType.CONSUMER),
            CLASSIC,
            r"with the group protocol consumer \(member m-1 .* use --group-protocol consumer",
        ),
        (
            admin("range", protocols="consumer"),
            CONSUMER,
            r"with the group protocol classic \(member m-1 .* use --group-protocol classic",
        ),
        (empty(), CLASSIC, "group g refuses this consumer"),
        (admin("", group=KafkaError._TIMED_OUT), CLASSIC, "group g refuses this consumer"),
    ],
)
def test_a_refusal_names_what_the_members_use(admin: Admin, settings: Settings, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        raise explain_refusal(admin, settings, REFUSED)
