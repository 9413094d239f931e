"""Items are read again until a deadline."""

from collections.abc import Callable, Iterator
from threading import Event
from typing import TYPE_CHECKING, Any, Literal, cast

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from dynatomic.dynamodb.items import BATCH_GET, PATIENCE_S, ItemKey, read_items, scan_items
from dynatomic.errors import ConfigError, DynatomicError, UnavailableError
from dynatomic.events.row import KeySchema
from dynatomic.testing.dynamodb.client import FakeDynamoDB, Request
from dynatomic.testing.dynamodb.responses import client_error
from tests.support.clients import Clock

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient


def test_a_hundred_items_are_one_request_and_read_consistently() -> None:
    client, sent = table_of(BATCH_GET), list[Request]()
    client.faults.before = sent.append
    found = read(client, [f"k{n}" for n in range(BATCH_GET)])
    assert len(found) == BATCH_GET
    (request,) = sent
    assert request.params["RequestItems"]["hits"]["ConsistentRead"] is True


def test_what_a_request_leaves_out_is_asked_for_again() -> None:
    client, asked = table_of(10), []

    def after(request: Request, response: dict[str, Any]) -> dict[str, Any]:
        keys = request.params["RequestItems"]["hits"]["Keys"]
        asked.append(len(keys))
        some = [i for i in response["Responses"]["hits"] if {"pk": i["pk"]} in keys[:4]]
        left = {"hits": {"Keys": keys[4:], "ConsistentRead": True}} if keys[4:] else {}
        return response | {"Responses": {"hits": some}, "UnprocessedKeys": left}

    client.faults.after = after
    assert sorted(read(client, [f"k{n}" for n in range(10)])) == [f"k{n}" for n in range(10)]
    assert asked == [10, 6, 2]


def throttled(request: Request) -> ClientError:
    return client_error("ProvisionedThroughputExceededException", "slow down", request.operation)


def unreachable(_request: Request) -> EndpointConnectionError:
    return EndpointConnectionError(endpoint_url="http://nowhere")


@pytest.mark.parametrize("trouble", [throttled, unreachable])
def test_a_cancelled_read_does_not_wait_for_a_throttled_table(
    trouble: Callable[[Request], Exception],
) -> None:
    client, called_off = table_of(1), Event()
    client.faults.before = trouble
    called_off.set()
    with pytest.raises(UnavailableError, match="was cancelled"):
        read_items(
            cast("DynamoDBClient", client), "hits", KeySchema("pk"), ["k0"], sleep=called_off.wait
        )
    assert client.requests["BatchGetItem"] == 1


@pytest.mark.parametrize("trouble", [throttled, unreachable])
def test_a_problem_that_passes_is_waited_for(trouble: Callable[[Request], Exception]) -> None:
    client, left = table_of(1), [None, *[trouble] * 5]

    def before(request: Request) -> Exception | None:
        fault = left.pop() if left else None
        return fault(request) if fault else None

    client.faults.before = before
    assert list(read(client, ["k0"])) == ["k0"]


@pytest.mark.parametrize("trouble", [throttled, unreachable])
def test_a_problem_that_stays_is_raised_in_time(trouble: Callable[[Request], Exception]) -> None:
    client, clock = table_of(1), Clock()
    client.faults.before = trouble
    with pytest.raises(UnavailableError, match="does not answer"):
        read_items(
            cast("DynamoDBClient", client),
            "hits",
            KeySchema("pk"),
            ["k0"],
            sleep=clock.advance,
            clock=clock,
        )
    assert PATIENCE_S <= clock.now - 1_000 <= PATIENCE_S + 10


def test_a_table_that_gives_nothing_is_throttled() -> None:
    client, clock = table_of(1), Clock()
    client.faults.after = lambda request, response: (
        response
        | {
            "Responses": {},
            "UnprocessedKeys": request.params["RequestItems"],
        }
    )
    with pytest.raises(UnavailableError, match="hits returned no item for 60 s: it is throttled"):
        read_items(
            cast("DynamoDBClient", client),
            "hits",
            KeySchema("pk"),
            ["k0"],
            sleep=clock.advance,
            clock=clock,
        )


@pytest.mark.parametrize(
    "page",
    [
        {"ResponseMetadata": {"HTTPStatusCode": 200, "HTTPHeaders": {}}},
        {"Responses": {}, "UnprocessedKeys": {}, "ResponseMetadata": {"HTTPHeaders": {}}},
        {"Responses": {}, "ResponseMetadata": {"HTTPHeaders": {"x-amzn-requestid": "1"}}},
    ],
)
def test_a_page_that_dynamodb_did_not_write_is_not_taken_for_missing_items(
    page: dict[str, Any],
) -> None:
    client, pages = table_of(1), [page, page]
    client.faults.after = lambda _request, response: pages.pop() if pages else response
    assert list(read(client, ["k0"])) == ["k0"]
    assert client.requests["BatchGetItem"] == 3


@pytest.mark.parametrize(
    ("code", "message", "error", "told"),
    [
        (
            "AccessDeniedException",
            "User: x is not authorized to perform: dynamodb:BatchGetItem on resource: arn:y",
            ConfigError,
            "allow dynamodb:BatchGetItem on arn:y",
        ),
        (
            "ResourceNotFoundException",
            "no table",
            ConfigError,
            "table/hits is missing or not active",
        ),
        ("ValidationException", "no", DynatomicError, "refused dynamodb:BatchGetItem"),
    ],
)
def test_what_asking_again_cannot_help_is_told_at_once(
    code: str, message: str, error: type[DynatomicError], told: str
) -> None:
    client = table_of(1)
    client.faults.before = lambda request: client_error(code, message, request.operation)
    with pytest.raises(error, match=told):
        read(client, ["k0"])
    assert client.requests["BatchGetItem"] == 1


class Pages:
    """A client whose scan gives these pages, or raises them, one a request."""

    def __init__(self, *pages: dict[str, Any] | Exception) -> None:
        self.pages = list(pages)
        self.asked: list[dict[str, Any]] = []
        self.meta = table_of(0).meta

    def scan(self, **request: Any) -> dict[str, Any]:
        self.asked.append(request)
        page = self.pages.pop(0) if len(self.pages) > 1 else self.pages[0]
        if isinstance(page, Exception):
            raise page
        return {"ResponseMetadata": {"HTTPHeaders": {"x-amzn-requestid": "1"}}} | page


def scanned(client: Any, **more: Any) -> Iterator[ItemKey]:
    return (key for key, _ in scan_items(client, "hits", KeySchema("pk"), **more))


PAGE = {"Items": [{"pk": {"S": "a"}}], "LastEvaluatedKey": {"pk": {"S": "a"}}}


LAST = {"Items": [{"pk": {"S": "b"}}]}


def test_a_page_that_did_not_come_is_asked_for_again_and_none_is_skipped() -> None:
    trouble = client_error("ProvisionedThroughputExceededException", "slow down", "Scan")
    none_here = {"Items": [], "LastEvaluatedKey": {"pk": {"S": "c"}}}
    odd: dict[str, Any] = LAST | {"ResponseMetadata": {"HTTPHeaders": {}}}
    client = Pages(PAGE, trouble, none_here, {"Items": None}, odd, LAST)
    assert list(scanned(client, sleep=lambda _: None)) == ["a", "b"]
    starts = [request.get("ExclusiveStartKey") for request in client.asked]
    assert starts == [None, *[{"pk": {"S": "a"}}] * 2, *[{"pk": {"S": "c"}}] * 3]
    assert all(request["ConsistentRead"] is True for request in client.asked)


def test_a_scan_that_gets_no_page_is_told_in_time() -> None:
    clock = Clock()
    client = Pages(PAGE, client_error("ThrottlingException", "slow down", "Scan"))
    pages = scanned(client, sleep=clock.advance, clock=clock)
    assert next(pages) == "a"
    clock.advance(10 * PATIENCE_S)  # what is done with a page takes as long as it takes
    with pytest.raises(UnavailableError, match="does not answer"):
        next(pages)
    assert 11 * PATIENCE_S <= clock.now - 1_000 <= 11 * PATIENCE_S + 10


def test_a_denied_scan_names_its_action() -> None:
    denied = client_error("AccessDeniedException", "not authorized", "Scan")
    with pytest.raises(ConfigError, match="allow dynamodb:Scan on arn:aws"):
        list(scanned(Pages(denied)))


def table_of(items: int, hash_type: Literal["S", "N"] = "S") -> FakeDynamoDB:
    client = FakeDynamoDB()
    client.create_table(
        TableName="hits",
        AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": hash_type}],
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
    )
    for number in range(items):
        client.put_item(TableName="hits", Item={"pk": {"S": f"k{number}"}, "count": {"N": "1"}})
    return client


def read(client: FakeDynamoDB, wanted: list[ItemKey] | list[str]) -> dict[ItemKey, Any]:
    return dict(
        read_items(
            cast("DynamoDBClient", client), "hits", KeySchema("pk"), wanted, sleep=lambda _: None
        )
    )
