"""The options of `increment` on the fake, on both servers, and behind a proxy with faults."""

import asyncio
import calendar
import time
from typing import TYPE_CHECKING, Any

import pytest

from dynatomic.dynamodb.client import make_client
from dynatomic.dynamodb.increment import aincrement, increment
from dynatomic.errors import ConfigError, IncrementError, LimitExceededError, RowError
from dynatomic.events.row import Reason
from tests.support.counters import put
from tests.support.faults import DropResponse, Fault, html, server_error
from tests.support.names import unique
from tests.support.proxy import FaultyProxy
from tests.support.tables import MakeTable
from tests.support.tables import make_client as plain_client

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

AT = calendar.timegm((2026, 11, 29, 10, 5, 59)) + 0.5
"""Half a second before the end of a minute."""


def with_ttl(client: "DynamoDBClient", table: str) -> str:
    client.update_time_to_live(
        TableName=table, TimeToLiveSpecification={"Enabled": True, "AttributeName": "expires"}
    )
    return table


def item(client: "DynamoDBClient", table: str, **key: str) -> Any:
    attributes: Any = {name: {"S": value} for name, value in key.items()}
    answer = client.get_item(TableName=table, Key=attributes, ConsistentRead=True)
    return {n: v for n, v in answer.get("Item", {}).items() if n not in key}


def test_a_limit_is_never_exceeded(dynamodb: "DynamoDBClient", table: str) -> None:
    def add(by: int, limit: int = 5) -> int:
        return increment(table, "k", by=by, limit=limit, client=dynamodb)

    assert [add(2), add(3)] == [2, 5]
    with pytest.raises(LimitExceededError, match="the counter is 5, and 1 more would") as caught:
        add(1)
    error = caught.value
    assert (error.value, error.limit, error.applied, error.retry_after_s) == (5, 5, False, None)
    assert add(0) == 5
    assert add(-2, limit=1) == 3  # what was counted may be given back, whatever the limit is
    with pytest.raises(LimitExceededError) as caught:
        add(3)
    assert caught.value.value == 3
    assert item(dynamodb, table, pk="k") == {"count": {"N": "3"}}


def test_a_limit_holds_for_a_counter_that_is_missing(
    dynamodb: "DynamoDBClient", table: str
) -> None:
    with pytest.raises(LimitExceededError) as caught:
        increment(table, "k", by=6, limit=5, client=dynamodb)
    assert caught.value.value == 0
    put(dynamodb, table, "k", other={"N": "1"}, text={"S": "x"})
    with pytest.raises(LimitExceededError) as caught:
        increment(table, "k", by=6, limit=5, client=dynamodb)
    assert caught.value.value == 0
    assert increment(table, "k", by=5, limit=5, client=dynamodb) == 5
    with pytest.raises(IncrementError, match=r"'text' .* is not a number") as refused:
        increment(table, "k", counter="text", limit=5, client=dynamodb)
    assert not isinstance(refused.value, LimitExceededError)


def test_a_refusal_takes_one_request(endpoint_url: str, make_table: MakeTable) -> None:
    table = make_table(plain_client(endpoint_url))
    with FaultyProxy(endpoint_url) as proxy:
        client = make_client(proxy.endpoint_url)
        increment(table, "k", by=7, limit=7, client=client)
        before = proxy.counts["UpdateItem"]
        with pytest.raises(LimitExceededError) as caught:
            increment(table, "k", limit=7, client=client)
        assert caught.value.value == 7
        assert proxy.counts["UpdateItem"] == before + 1
        assert proxy.counts.total() == before + 3  # both descriptions of the table


def test_calls_share_one_connection(endpoint_url: str, make_table: MakeTable) -> None:
    table = make_table(plain_client(endpoint_url))
    client: Any = make_client(endpoint_url)
    made = set()
    for number in range(1, 6):
        assert increment(table, "k", client=client) == number
        increment(table, "once", token=unique("t"), client=client)
        pool = client._endpoint.http_session._manager.connection_from_url(endpoint_url)
        made.add(pool.num_connections)
    assert len(made) == 1


@pytest.mark.parametrize(
    ("per", "text", "kept_s", "after_s"),
    [
        ("minute", "2026-11-29T10:05", 3600, 0.5),
        ("hour", "2026-11-29T10", 86_400, 54 * 60 + 0.5),
        ("day", "2026-11-29", 7 * 86_400, (13 * 60 + 54) * 60 + 0.5),
    ],
)
def test_a_bucket_is_in_the_key_and_expires(
    dynamodb: "DynamoDBClient", table: str, per: Any, text: str, kept_s: int, after_s: float
) -> None:
    with_ttl(dynamodb, table)
    assert increment(table, "k", by=2, per=per, at=AT, limit=3, client=dynamodb) == 2
    expires = int(AT + after_s) + kept_s
    assert item(dynamodb, table, pk=f"k#{text}") == {
        "count": {"N": "2"},
        "expires": {"N": str(expires)},
    }
    with pytest.raises(LimitExceededError) as caught:
        increment(table, "k", by=2, per=per, at=AT, limit=3, client=dynamodb)
    assert caught.value.retry_after_s == pytest.approx(after_s)
    # At the edge the next bucket starts at zero.
    assert increment(table, "k", by=3, per=per, at=AT + after_s, limit=3, client=dynamodb) == 3


def test_a_bucket_is_the_end_of_the_range(
    dynamodb: "DynamoDBClient", make_table: MakeTable
) -> None:
    table = with_ttl(dynamodb, make_table(dynamodb, "S", "S"))
    assert increment(table, "k", per="day", at=AT, client=dynamodb) == 1
    assert increment(table, "k", "api", per="day", at=AT, client=dynamodb) == 1
    assert item(dynamodb, table, pk="k", rk="2026-11-29")["count"] == {"N": "1"}
    assert item(dynamodb, table, pk="k", rk="api#2026-11-29")["count"] == {"N": "1"}
    with pytest.raises(RowError, match=Reason.KEY_TOO_LARGE):
        increment(table, "k", "r" * 1020, per="day", at=AT, client=dynamodb)


def test_a_bucket_is_that_of_the_clock(dynamodb: "DynamoDBClient", table: str) -> None:
    with_ttl(dynamodb, table)
    days = {time.strftime("k#%Y-%m-%d", time.gmtime())}
    assert increment(table, "k", per="day", client=dynamodb) == 1
    days.add(time.strftime("k#%Y-%m-%d", time.gmtime()))
    assert sum(bool(item(dynamodb, table, pk=key)) for key in days) == 1


def test_a_bucket_needs_a_ttl_attribute_and_text(
    dynamodb: "DynamoDBClient", make_table: MakeTable
) -> None:
    table = make_table(dynamodb)
    with pytest.raises(ConfigError, match="no TTL attribute"):
        increment(table, "k", per="day", client=dynamodb)
    with_ttl(dynamodb, table)
    assert increment(table, "k", per="day", client=dynamodb) == 1  # seen without a restart
    numbers = with_ttl(dynamodb, make_table(dynamodb, "N"))
    with pytest.raises(RowError, match=Reason.KEY_NOT_A_NUMBER):
        increment(numbers, "1", per="day", client=dynamodb)


def test_the_ttl_attribute_is_no_counter(dynamodb: "DynamoDBClient", table: str) -> None:
    with_ttl(dynamodb, table)
    with pytest.raises(RowError, match="TTL attribute"):
        increment(table, "k", counter="expires", client=dynamodb)


def test_a_token_counts_once(dynamodb: "DynamoDBClient", table: str) -> None:
    run = unique("run")  # a token is remembered for the whole account

    def add(token: str, by: int = 2) -> None:
        increment(table, "k", by=by, limit=9, token=f"{run}-{token}", client=dynamodb)

    for token in ("first", "first", "second", "first", "second"):
        add(token)
    assert item(dynamodb, table, pk="k") == {"count": {"N": "4"}}
    with pytest.raises(IncrementError, match="used for another addition") as caught:
        add("first", by=3)
    assert caught.value.applied is False
    with pytest.raises(LimitExceededError) as exceeded:
        add("third", by=6)
    assert exceeded.value.value == 4
    put(dynamodb, table, "k", count={"S": "text"})
    with pytest.raises(IncrementError, match=r"'count' .* is not a number"):
        increment(table, "k", token=unique("t"), client=dynamodb)
    assert item(dynamodb, table, pk="k") == {"count": {"S": "text"}}


@pytest.mark.parametrize("fault", [DropResponse(), html(), server_error(applied=True)])
def test_a_lost_answer_of_a_token_can_be_asked_for_again(
    endpoint_url: str, make_table: MakeTable, fault: Fault
) -> None:
    table, token = make_table(plain_client(endpoint_url)), unique("t")
    with FaultyProxy(endpoint_url, [None, None, fault]) as proxy:
        client = make_client(proxy.endpoint_url)
        with pytest.raises(IncrementError, match="call again with the same token") as caught:
            increment(table, "k", token=token, client=client)
        assert caught.value.applied is None
        assert proxy.counts["TransactWriteItems"] == 1
        increment(table, "k", token=token, client=client)
    assert item(plain_client(endpoint_url), table, pk="k") == {"count": {"N": "1"}}


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"token": ""}, "0 characters"),
        ({"token": "t" * 37}, "37 characters"),
        ({"limit": 1.5}, "no integer"),
        ({"limit": 10**38}, "at most 37 digits"),
        ({"per": "week"}, "use minute, hour or day"),
    ],
)
def test_an_invalid_option_is_a_configuration_error(
    dynamodb: "DynamoDBClient", table: str, options: dict[str, Any], says: str
) -> None:
    with_ttl(dynamodb, table)
    with pytest.raises(ConfigError, match=says):
        increment(table, "k", client=dynamodb, **options)


def test_concurrent_calls_never_exceed_a_limit_together(
    dynamodb: "DynamoDBClient", table: str
) -> None:
    async def count() -> list[int | BaseException]:
        calls = [aincrement(table, "k", limit=8, client=dynamodb) for _ in range(12)]
        return await asyncio.gather(*calls, return_exceptions=True)

    answers = asyncio.run(count())
    assert sorted(value for value in answers if isinstance(value, int)) == list(range(1, 9))
    refusals = [value for value in answers if isinstance(value, LimitExceededError)]
    assert [error.value for error in refusals] == [8] * 4
