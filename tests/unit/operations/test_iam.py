"""The IAM policies: what each command calls, and nothing else."""

import json
import re
from pathlib import Path
from typing import Any, get_args

import pytest
from botocore import xform_name

from dynatomic.cli import main as cli
from dynatomic.config.settings import Settings
from dynatomic.dynamodb.direct.transport import Operation
from dynatomic.errors import ConfigError
from dynatomic.operations.iam import NEEDS, Command, PolicyScope, policy

SETTINGS = Settings(topic="rows", group_id="billing*", tables=("usage", "quota"))
CLUSTER = "arn:aws:kafka:eu-west-1:123456789012:cluster/main/0a1b-2"
MSK = PolicyScope("eu-west-1", "123456789012", CLUSTER)

# The calls of the client in each module, by the action that allows them.
CALLS = {
    "batch_execute_statement": {"PartiQLInsert", "PartiQLUpdate"},
    "update_item": {"UpdateItem"},
    "delete_item": {"DeleteItem"},
    "describe_table": {"DescribeTable"},
    "describe_time_to_live": {"DescribeTimeToLive"},
    "update_time_to_live": {"UpdateTimeToLive"},
    "create_table": {"CreateTable"},
    "batch_get_item": {"BatchGetItem"},
    "query": {"Query"},
    "scan": {"Scan"},
    "list_tables": set[str](),
}


def by_sid(found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {statement["Sid"]: statement for statement in found["Statement"]}


def test_the_policy_of_a_consumer_is_about_the_listed_tables_only() -> None:
    found = by_sid(policy("run", SETTINGS, PolicyScope("eu-west-1", "123456789012")))
    assert found == {
        "Tables": {
            "Sid": "Tables",
            "Effect": "Allow",
            "Action": [
                "dynamodb:DescribeTable",
                "dynamodb:DescribeTimeToLive",
                "dynamodb:PartiQLInsert",
                "dynamodb:PartiQLUpdate",
                "dynamodb:UpdateItem",
            ],
            "Resource": [
                "arn:aws:dynamodb:eu-west-1:123456789012:table/usage",
                "arn:aws:dynamodb:eu-west-1:123456789012:table/quota",
            ],
        }
    }


def test_with_a_cluster_of_msk_it_has_the_kafka_side_too() -> None:
    found = by_sid(policy("run", SETTINGS, MSK))
    start = "arn:aws:kafka:eu-west-1:123456789012"
    assert {sid: statement["Resource"] for sid, statement in found.items() if sid != "Tables"} == {
        "Cluster": [CLUSTER],
        "Topic": [f"{start}:topic/main/0a1b-2/rows"],
        "DeadLetters": [f"{start}:topic/main/0a1b-2/rows.dlq"],
        "Group": [f"{start}:group/main/0a1b-2/billing${{*}}"],
    }
    assert found["DeadLetters"]["Action"] == [
        "kafka-cluster:DescribeTopic",
        "kafka-cluster:WriteData",
    ]
    replays = by_sid(policy("dlq", SETTINGS, MSK))["TransactionalId"]["Resource"]
    assert replays == [f"{start}:transactional-id/main/0a1b-2/rows.dlq.replay"]


@pytest.mark.parametrize(
    ("region", "partition"),
    [("us-east-1", "aws"), ("cn-north-1", "aws-cn"), ("us-gov-west-1", "aws-us-gov"), ("*", "aws")],
)
def test_the_partition_of_a_region(region: str, partition: str) -> None:
    assert PolicyScope(region).table("usage").startswith(f"arn:{partition}:dynamodb:{region}:")


@pytest.mark.parametrize(
    ("place", "flag"),
    [
        ({"region": "Europe"}, "--region"),
        ({"account": "12"}, "--account"),
        ({"msk_cluster": "main"}, "--msk-cluster"),
    ],
)
def test_what_cannot_stand_in_an_arn(place: dict[str, str], flag: str) -> None:
    with pytest.raises(ConfigError, match=rf"^{flag}: "):
        PolicyScope(**place)


def test_a_command_that_needs_nothing_of_aws() -> None:
    with pytest.raises(ConfigError, match="--msk-cluster"):
        policy("produce", SETTINGS, PolicyScope())
    with pytest.raises(ConfigError, match="tables"):
        policy("run", Settings(), PolicyScope())


def test_every_command_has_a_policy() -> None:
    assert set(NEEDS) == set(get_args(Command))


def test_every_call_of_the_client_is_in_a_policy_and_no_action_without_a_call() -> None:
    package = Path(cli.__file__).parents[1]
    source = "\n".join(
        path.read_text()
        for path in package.rglob("*.py")
        if "testing" not in path.parts and path.name != "memory_counters.py"  # of the fakes
    )
    called = {name for name in CALLS if re.search(rf"client\.{name}\b", source)}
    called |= {xform_name(operation) for operation in get_args(Operation)}  # of the transport
    called.remove("transact_write_items")  # its update needs UpdateItem, and nothing else
    assert not re.search(r"client\.(get_item|put_item|delete_table|transact_)", source)
    allowed = {action for needs in NEEDS.values() for action in needs.tables}
    assert allowed == {action for name in called for action in CALLS[name]}


def test_the_command_prints_json(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DYNATOMIC_TABLES", raising=False)
    arguments = ["--table", "usage", "--region", "eu-west-1", "--account", "123456789012"]
    assert cli.main(["init", "--print-iam", *arguments]) == 0
    expected = policy("run", Settings(tables=("usage",)), PolicyScope("eu-west-1", "123456789012"))
    assert json.loads(capsys.readouterr().out) == expected
    assert cli.main(["init", "--print-iam", "--policy", "verify", *arguments]) == 0
    assert "dynamodb:BatchGetItem" in capsys.readouterr().out
    assert cli.main(["init", "--print-iam", *arguments[:-1], "12"]) == 78
    assert "--account" in capsys.readouterr().err
