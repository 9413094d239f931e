"""The IAM policies that ``dynatomic init --print-iam`` prints. Pure.

Without an Amazon MSK cluster a policy covers the tables only. With a cluster that authenticates by
IAM it covers Kafka too. Sources: AWS, *Service Authorization Reference* (DynamoDB; Apache
Kafka APIs for Amazon MSK clusters), *IAM security policies with PartiQL for DynamoDB*.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from dynatomic.config.settings import Settings
from dynatomic.errors import ConfigError

Command = Literal["run", "verify", "init", "incr", "get", "produce", "dlq", "offsets", "probe"]
"""A command that has a policy; ``probe`` is ``config check --probe``.

`config check --connect`, `lag`, `top` and `offsets` need what ``run`` needs of Kafka.
"""

ANY = "*"

_REGION = re.compile(r"\*|[a-z]{2,4}(-[a-z]+)+-\d")
_ACCOUNT = re.compile(r"\*|\d{12}")
_CLUSTER = re.compile(r"arn:aws[a-z-]*:kafka:[a-z0-9-]+:\d{12}:cluster/[^/:*]+/[^/:*]+")
# The first prefix that matches decides. Source: the partitions in botocore's list of regions.
_PARTITIONS = (
    ("cn-", "aws-cn"),
    ("us-gov-", "aws-us-gov"),
    ("us-iso-", "aws-iso"),
    ("us-isob-", "aws-iso-b"),
    ("eu-isoe-", "aws-iso-e"),
    ("us-isof-", "aws-iso-f"),
    ("eusc-", "aws-eusc"),
    ("", "aws"),
)


@dataclass(frozen=True, slots=True)
class Needs:
    """The actions of a command by kind of resource, which is the ``Sid`` of the statement too."""

    tables: tuple[str, ...] = ()
    cluster: tuple[str, ...] = ()
    topic: tuple[str, ...] = ()
    dead_letters: tuple[str, ...] = ()
    group: tuple[str, ...] = ()
    transactional_id: tuple[str, ...] = ()


_SEE = ("DescribeTopic", "DescribeTopicDynamicConfiguration")
# AWS requires AlterGroup with ReadData, also for a consumer that joins no group.
_GROUP = ("AlterGroup", "DescribeGroup")
_CONNECT, _PRODUCE = ("Connect",), ("Connect", "WriteDataIdempotently")

# ListTables is not listed, though `init --wait` calls it to see whether DynamoDB answers: a refusal
# is an answer too.
NEEDS: Mapping[Command, Needs] = {
    "run": Needs(
        tables=(
            "DescribeTable",
            "DescribeTimeToLive",
            "PartiQLInsert",
            "PartiQLUpdate",
            "UpdateItem",
        ),
        cluster=_PRODUCE,
        topic=(*_SEE, "ReadData"),
        dead_letters=("DescribeTopic", "WriteData"),
        group=_GROUP,
    ),
    "verify": Needs(
        tables=("BatchGetItem", "DescribeTable", "DescribeTimeToLive", "Scan"),
        cluster=_CONNECT,
        topic=(*_SEE, "ReadData"),
        dead_letters=("DescribeTopic", "ReadData"),
        group=_GROUP,
    ),
    "init": Needs(
        tables=("CreateTable", "DescribeTable", "DescribeTimeToLive", "UpdateTimeToLive"),
        cluster=_CONNECT,
        topic=("CreateTopic", *_SEE),
        dead_letters=("CreateTopic", "DescribeTopic"),
    ),
    "incr": Needs(tables=("DescribeTable", "DescribeTimeToLive", "UpdateItem")),
    "get": Needs(tables=("DescribeTable", "Query")),
    "probe": Needs(
        tables=(
            "DeleteItem",
            "DescribeTable",
            "DescribeTimeToLive",
            "PartiQLInsert",
            "PartiQLUpdate",
            "UpdateItem",
        )
    ),
    "offsets": Needs(
        tables=("DescribeTable", "Scan", "UpdateItem"),
        cluster=_CONNECT,
        topic=(*_SEE, "ReadData"),
        group=_GROUP,
    ),
    "produce": Needs(cluster=_PRODUCE, topic=("DescribeTopic", "WriteData")),
    "dlq": Needs(
        tables=("DescribeTable", "DescribeTimeToLive"),
        cluster=_PRODUCE,
        topic=("DescribeTopic", "WriteData"),
        dead_letters=("DescribeTopic", "ReadData", "WriteData"),
        group=_GROUP,
        transactional_id=("AlterTransactionalId", "DescribeTransactionalId"),
    ),
}


@dataclass(frozen=True, slots=True)
class PolicyScope:
    """Where the tables and the brokers are; ``*`` is any region or account.

    ``msk_cluster`` is the ARN of a cluster of Amazon MSK, None if the brokers are elsewhere or do
    not authenticate by IAM. Raises ConfigError for a value that an ARN cannot contain.
    """

    region: str = ANY
    account: str = ANY
    msk_cluster: str | None = None

    def __post_init__(self) -> None:
        if not _REGION.fullmatch(self.region):
            raise ConfigError(f"--region: {self.region!r} is no region; use one like eu-west-1")
        if not _ACCOUNT.fullmatch(self.account):
            raise ConfigError(f"--account: {self.account!r} is no account; use its 12 digits")
        if self.msk_cluster is not None and not _CLUSTER.fullmatch(self.msk_cluster):
            raise ConfigError(
                f"--msk-cluster: {self.msk_cluster!r} is no cluster of Amazon MSK; use its ARN, "
                "arn:aws:kafka:REGION:ACCOUNT:cluster/NAME/UUID"
            )

    def table(self, name: str) -> str:
        """Return a table's ARN."""
        partition = next(part for start, part in _PARTITIONS if self.region.startswith(start))
        return f"arn:{partition}:dynamodb:{self.region}:{self.account}:table/{name}"

    def kafka(self, kind: str, name: str) -> str:
        """Return the ARN of a ``topic``, ``group`` or ``transactional-id`` of the MSK cluster."""
        start, _, cluster = (self.msk_cluster or "").partition(":cluster/")
        # A group's name may contain these characters, which have a meaning in a policy.
        plain = re.sub(r"[$*?]", r"${\g<0>}", name)
        return f"{start}:{kind}/{cluster}/{plain}"


def policy(command: Command, settings: Settings, scope: PolicyScope) -> dict[str, object]:
    """Return the policy of a command for the settings' tables, topics and group.

    Raises ConfigError if no table is listed, or if the command calls no AWS service.
    """
    needs = NEEDS[command]
    tables = settings.require_tables() if needs.tables else ()
    resources = {"tables": [scope.table(name) for name in tables]}
    if scope.msk_cluster is not None:
        resources |= {
            "cluster": [scope.msk_cluster],
            "topic": [scope.kafka("topic", settings.topic)],
            "dead_letters": [scope.kafka("topic", settings.dead_letters)],
            "group": [scope.kafka("group", settings.group_id)],
            "transactional_id": [
                scope.kafka("transactional-id", f"{settings.dead_letters}.replay")
            ],
        }
    statements = [
        _statement(kind, getattr(needs, kind), names)
        for kind, names in resources.items()
        if getattr(needs, kind)
    ]
    if not statements:
        raise ConfigError(
            f"--policy: {command} calls Kafka only, which needs no IAM policy unless the brokers "
            "are Amazon MSK with IAM: then give --msk-cluster ARN"
        )
    return {"Version": "2012-10-17", "Statement": statements}


def _statement(kind: str, actions: tuple[str, ...], names: list[str]) -> dict[str, object]:
    service = "dynamodb" if kind == "tables" else "kafka-cluster"
    return {
        "Sid": kind.title().replace("_", ""),
        "Effect": "Allow",
        "Action": [f"{service}:{action}" for action in actions],
        "Resource": names,
    }


def print_iam(command: Command, settings: Settings, scope: PolicyScope) -> Iterator[str]:
    """Yield the lines of the policy as JSON, as ``aws iam create-policy`` takes it."""
    yield from json.dumps(policy(command, settings, scope), indent=2).splitlines()
