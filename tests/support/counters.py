"""Write windows to a table and read the counters back."""

import itertools
import queue
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from dynatomic.dynamodb.answers import (
    Answer,
)
from dynatomic.dynamodb.client import make_client
from dynatomic.dynamodb.counters import Counters
from dynatomic.dynamodb.statements import Change, Step, key_attributes
from dynatomic.dynamodb.tables import describe
from dynatomic.dynamodb.write import WindowWrite
from dynatomic.dynamodb.writer import Writer
from dynatomic.events.decoded import UnitIncrement
from dynatomic.events.row import CounterRef
from dynatomic.events.window import Window
from tests.support.faults import (
    DropRequest,
    DropResponse,
    Error,
    Fault,
    Raw,
    WrongChecksum,
    html,
    server_error,
    throttle,
)
from tests.support.proxy import FaultyProxy
from tests.support.tables import make_client as plain_client
from tests.support.windows import window_of

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

SECONDS = 30


def refs(table: str, keys: Iterable[str], name: str = "count") -> list[CounterRef]:
    return [CounterRef(table, key, None, name) for key in keys]


def add(
    client: "DynamoDBClient",
    *windows: Mapping[CounterRef, int] | Window,
    first: Step = Step.UPDATE,
    fence: str | None = None,
) -> list[WindowWrite]:
    """Write windows at the same time and return how they ended; pauses are over at once."""
    full = [window if isinstance(window, Window) else window_of(window) for window in windows]
    tables = {ref.table for window in full for ref in window.sums}
    counters = Counters(client, {table: describe(client, table) for table in tables})
    settled: queue.Queue[WindowWrite | BaseException] = queue.Queue()
    jumps = itertools.count(0.0, 1000.0)

    def execute(step: Step, batch: Sequence[Change]) -> list[Answer]:
        try:
            return counters.execute(step, batch)
        except BaseException as error:
            settled.put(error)  # so that a defect fails the test at once
            raise

    writer = Writer(execute, max_requests=4, first_step=first, clock=jumps.__next__)
    try:
        writes = [writer.submit(window, settled.put, fence) for window in full]
        done: list[WindowWrite | BaseException] = []
        while len(done) < len(writes):
            found = settled.get(timeout=SECONDS)
            if isinstance(found, WindowWrite) and found.held_back:
                writer.write_held_back(found)
            else:
                done.append(found)
    finally:
        writer.close()
    assert {id(found) for found in done} == {id(write) for write in writes}, done
    assert writer.failure is None
    assert settled.empty()
    return writes


def put(client: "DynamoDBClient", table: str, key: str, **attributes: Any) -> None:
    client.put_item(TableName=table, Item={"pk": {"S": key}, **attributes})


def stored(client: "DynamoDBClient", counters: Iterable[CounterRef]) -> dict[CounterRef, Any]:
    """Return the attribute of each counter as the table has it, or None."""
    wanted = list(counters)
    schemas = {table: describe(client, table) for table in {ref.table for ref in wanted}}

    @cache
    def item(table: str, key: str, range_: str | None) -> Any:
        attributes = key_attributes(schemas[table], key, range_)
        answer = client.get_item(TableName=table, Key=attributes, ConsistentRead=True)
        return answer.get("Item", {})

    return {ref: item(ref.table, ref.key, ref.range).get(ref.name) for ref in wanted}


def numbers(client: "DynamoDBClient", counters: Iterable[CounterRef]) -> dict[CounterRef, int]:
    return {ref: int(found["N"]) for ref, found in stored(client, counters).items()}


FENCE = "fence_0123abcd_7"


def window(table: str, *events: tuple[int, str, str, int]) -> Window:
    """Make a window of (offset, key, counter, increment)."""
    made = Window()
    unit_increments = [
        UnitIncrement(CounterRef(table, key, None, name), incr) for _, key, name, incr in events
    ]
    made.add([offset for offset, *_ in events], unit_increments)
    return made


LATIN = Raw(body="<html>Přihlášení</html>".encode("iso-8859-2"), content_type="text/html")


# What answers instead of DynamoDB, and what its client makes of it.
STRANGE_BODIES = [b"[]", b"null", b"5", b'"text"', b"{}", b'{"Responses": 5}', b'{"__type": 5}']

NOT_APPLIED: dict[str, Fault] = {
    "request lost": DropRequest(),
    "throttled": throttle(),
    "internal error": server_error(),
    "error page": Raw(502, b"<html>Bad Gateway</html>", "text/html"),
    "page with status 200": html(),
    "empty body": Raw(),
}

STRANGE: dict[str, Fault] = {
    "request limit": Error("RequestLimitExceeded"),
    "unavailable": Error("ServiceUnavailable", status=503),
    "page in another encoding": LATIN,
    "too few answers": Raw(body=b'{"Responses": [{}]}'),
    "a null for each": Raw(body=b'{"Responses": [' + b",".join([b"null"] * 25) + b"]}"),
    "a number for each": Raw(body=b'{"Responses": [' + b",".join([b"5"] * 25) + b"]}"),
    **{f"body {body.decode()}": Raw(body=body) for body in STRANGE_BODIES},
    **{f"500 {body.decode()}": Raw(500, body) for body in STRANGE_BODIES},
}

APPLIED: dict[str, Fault] = {
    "response lost": DropResponse(),
    "internal error all the same": server_error(applied=True),
    "empty body all the same": Raw(applied=True),
    "page all the same": Raw(body=b"<html></html>", applied=True),
    "wrong checksum": WrongChecksum(),
}

FAULTS = NOT_APPLIED | STRANGE | APPLIED


def window_through_faults(
    endpoint_url: str, table: str, faults: Iterable[Fault | None]
) -> tuple[dict[str, int], FaultyProxy]:
    """Add 1 to 25 to counters that are there, through faults; return their values."""
    direct = plain_client(endpoint_url)
    counters = refs(table, (f"k{i}" for i in range(25)))
    for ref in counters:
        put(direct, table, ref.key, count={"N": "0"})
    script = [None, *faults]  # the first request is DescribeTable
    with FaultyProxy(endpoint_url, script) as proxy:
        client = make_client(proxy.endpoint_url)
        (write,) = add(client, {ref: i + 1 for i, ref in enumerate(counters)})
    assert write.rejected == {}
    return {ref.key: n for ref, n in numbers(direct, counters).items()}, proxy
