"""`increment` on the fake, on both servers, and behind a proxy with faults."""

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.config import Config

from dynatomic.dynamodb.client import make_client
from dynatomic.dynamodb.increment import increment
from dynatomic.errors import ConfigError, IncrementError, RowError
from dynatomic.events.row import CounterRef, Reason
from tests.support.faults import (
    DropResponse,
    Fault,
    access_denied,
    throttle,
)
from tests.support.names import unique
from tests.support.proxy import FaultyProxy
from tests.support.tables import MakeTable
from tests.support.tables import make_client as plain_client

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
from tests.support.counters import FAULTS, numbers, put, refs, stored

DESCRIBED = {"DescribeTable": 1, "DescribeTimeToLive": 1}


def test_increment_returns_the_new_value(dynamodb: "DynamoDBClient", make_table: MakeTable) -> None:
    table = make_table(dynamodb)
    assert increment(table, "k", client=dynamodb) == 1
    assert increment(table, "k", by=41, client=dynamodb) == 42
    assert increment(table, "k", by=-50, client=dynamodb) == -8
    assert increment(table, "k", by=0, client=dynamodb) == -8
    assert increment(table, "k", counter="hits", by=7, client=dynamodb) == 7
    assert increment(table, "other", by=2**63 - 1, client=dynamodb) == 2**63 - 1
    assert increment(table, "other", by=2**63 - 1, client=dynamodb) == 2**64 - 2
    assert numbers(dynamodb, refs(table, ["k"])) == {CounterRef(table, "k", None, "count"): -8}


def test_increment_with_range_and_number_keys(
    dynamodb: "DynamoDBClient", make_table: MakeTable
) -> None:
    table = make_table(dynamodb, "S", "N")
    assert increment(table, "k", "1", client=dynamodb) == 1
    assert increment(table, "k", "1.0", client=dynamodb) == 2
    assert increment(table, "k", "2", client=dynamodb) == 1


@pytest.mark.parametrize(
    ("range_type", "arguments", "reason"),
    [
        (None, {"range": "r"}, Reason.RANGE_UNEXPECTED),
        ("S", {}, Reason.RANGE_MISSING),
        ("N", {"range": "seven"}, Reason.KEY_NOT_A_NUMBER),
        (None, {"key": ""}, Reason.KEY_EMPTY),
        (None, {"counter": "a b"}, Reason.COUNTER_NAME),
        (None, {"counter": "pk"}, Reason.COUNTER_NAME),
        (None, {"by": 2**63}, Reason.INCR_OUT_OF_BOUNDS),
        (None, {"by": 1.5}, Reason.UNDECODABLE),
    ],
)
def test_increment_refuses_a_bad_row(
    dynamodb: "DynamoDBClient",
    make_table: MakeTable,
    range_type: Any,
    arguments: dict[str, Any],
    reason: Reason,
) -> None:
    table = make_table(dynamodb, "S", range_type)
    with pytest.raises(RowError) as caught:
        increment(**{"table": table, "key": "k", **arguments}, client=dynamodb)
    assert caught.value.reason == reason


def test_increment_of_what_is_no_number_was_surely_not_applied(
    dynamodb: "DynamoDBClient", make_table: MakeTable
) -> None:
    table = make_table(dynamodb)
    put(dynamodb, table, "k", text={"S": "text"})
    with pytest.raises(IncrementError, match=r"'text' .* is not a number") as caught:
        increment(table, "k", counter="text", client=dynamodb)
    assert caught.value.applied is False
    (ref,) = refs(table, ["k"], "text")
    assert stored(dynamodb, [ref]) == {ref: {"S": "text"}}


def test_increment_in_a_missing_table_is_a_configuration_error(dynamodb: "DynamoDBClient") -> None:
    gone = unique("gone")
    with pytest.raises(ConfigError, match=f"table '{gone}' does not exist in region us-east-1"):
        increment(gone, "k", client=dynamodb)


@pytest.mark.parametrize(
    ("fault", "applied", "says"),
    [
        (throttle(), False, "nothing was counted"),
        (access_denied(), False, "allow dynamodb:.* on arn:aws:dynamodb"),
        *[
            (fault, None, "may or may not")
            for name, fault in FAULTS.items()
            if name not in {"throttled", "request limit"} and not name.startswith("500 ")
        ],
    ],
)
def test_increment_says_whether_it_was_surely_not_applied(
    endpoint_url: str, make_table: MakeTable, fault: Fault, applied: Any, says: str
) -> None:
    table = make_table(plain_client(endpoint_url))
    with FaultyProxy(endpoint_url, [None, None, fault]) as proxy:
        with pytest.raises(IncrementError, match=says) as caught:
            increment(table, "k", client=make_client(proxy.endpoint_url))
        assert caught.value.applied is applied
        assert "\n" not in str(caught.value)
        assert proxy.counts == {**DESCRIBED, "UpdateItem": 1}


def test_increment_that_could_not_connect_was_surely_not_applied(
    endpoint_url: str, make_table: MakeTable
) -> None:
    table = make_table(plain_client(endpoint_url))
    with FaultyProxy(endpoint_url) as proxy:
        client = make_client(proxy.endpoint_url)
        assert increment(table, "k", client=client) == 1
        proxy.refuse()
        with pytest.raises(IncrementError, match="nothing was counted") as caught:
            increment(table, "k", client=client)
        assert caught.value.applied is False
        proxy.accept()
        assert increment(table, "k", client=client) == 2


FORK = """
import os, sys, warnings
warnings.simplefilter("ignore")  # Python warns of a fork beside threads; here are none that matter
from dynatomic import increment
from dynatomic.dynamodb.client import make_client
table, client = sys.argv[1], make_client()
print(increment(table, "k"), increment(table, "k", client=client), flush=True)
if os.fork() == 0:
    print(increment(table, "k"), flush=True)
    try:
        increment(table, "k", client=client)
    except RuntimeError as error:
        print(error, flush=True)
    os._exit(0)
os.wait()
print(increment(table, "k"), increment(table, "k", client=client))
"""


def test_a_fork_takes_no_connection_along(endpoint_url: str, make_table: MakeTable) -> None:
    table = make_table(plain_client(endpoint_url))
    command = [sys.executable, "-c", FORK, table]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    first, child, refused, last = done.stdout.splitlines()
    assert (first, child, last) == ("1 2", "3", "4 5")
    assert "make one after fork" in refused


@pytest.mark.parametrize(
    "retries",
    [
        None,
        {"mode": "adaptive"},
        {"mode": "standard", "max_attempts": 3},
        {"total_max_attempts": 2},
    ],
)
def test_increment_refuses_a_client_that_retries(retries: Any) -> None:
    client = boto3.client(
        "dynamodb",
        endpoint_url="http://127.0.0.1:1",
        region_name="us-east-1",
        config=Config(retries=retries),
    )
    with pytest.raises(ConfigError, match="total_max_attempts"):
        increment("hits", "k", client=client)


@pytest.mark.parametrize("retries", [{"total_max_attempts": 1}, {"max_attempts": 0}])
def test_increment_takes_a_client_that_does_not_retry(
    endpoint_url: str, make_table: MakeTable, retries: Any
) -> None:
    table = make_table(plain_client(endpoint_url))
    with FaultyProxy(
        endpoint_url, lambda r: DropResponse() if r.operation == "UpdateItem" else None
    ) as proxy:
        config = Config(retries=retries)
        client = boto3.client("dynamodb", endpoint_url=proxy.endpoint_url, config=config)
        with pytest.raises(IncrementError, match="may or may not"):
            increment(table, "k", client=client)
        assert proxy.counts["UpdateItem"] == 1
