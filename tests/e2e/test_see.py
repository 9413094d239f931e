"""What a running consumer says of itself: to probes, to Prometheus, to a browser, in its log."""

import json
import os
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from dynatomic.testing.mock_broker import MockBroker
from tests.support.browser import Browser
from tests.support.children import Spawn
from tests.support.events import Event, avro
from tests.support.faults import Error, Fault, Request, access_denied, throttle
from tests.support.needed import needs
from tests.support.proxy import FaultyProxy
from tests.support.stack import Stack
from tests.support.tables import MakeTable, Table, make_client
from tests.support.waiting import wait_until
from tests.support.watching import get, health, metrics, url_of

if TYPE_CHECKING:
    from dynatomic.testing.embedded import Embedded

SERVE = ("--http", "127.0.0.1:0", "--progress-timeout-ms", "2000")


class Troubled:
    """A table behind a proxy that breaks it on demand."""

    def __init__(self, stack: Stack) -> None:
        self.fault: Callable[[], Fault] | None = None
        self.proxy = FaultyProxy(stack.endpoint_url)

    def choose(self, request: Request) -> Fault | None:
        writes = request.operation in {"BatchExecuteStatement", "UpdateItem"}
        return self.fault() if self.fault and writes else None


@pytest.fixture
def troubled(stack: Stack) -> Iterator[Troubled]:
    made = Troubled(stack)
    with made.proxy:
        yield made


def test_promise_10_livez_is_red_with_the_cause_while_a_table_is_in_trouble(
    stack: Stack, table: Table, troubled: Troubled
) -> None:
    topic, name = stack.topic(2), table()
    child = stack.run(topic, [name], *SERVE, endpoint_url=troubled.proxy.endpoint_url)
    url = url_of(child)
    troubled.proxy.script(troubled.choose)
    log = stack.produce(topic, [Event(name, f"k{n % 10}") for n in range(100)])
    stack.wait_counted(log, name)
    assert get(f"{url}readyz")[0] == 200
    assert health(url) == (200, [])
    for fault, cause in ((throttle, "table-throttled"), (access_denied, "table-refused")):
        troubled.fault = fault
        log.update(stack.produce(topic, [Event(name, "k1")], 0))
        wait_until(lambda c=cause: health(url) == (503, [c]), cause)  # type: ignore[misc]
        found = metrics(url)
        assert found["dynatomic_stuck", cause] == 1
        assert found["dynatomic_lag_events", "0"] == 1
        assert found["dynatomic_lag_seconds", "0"] >= 2
        troubled.fault = None
        wait_until(lambda: health(url) == (200, []), "green again")
    stack.wait_counted(log, name)
    wait_until(lambda: stack.committed(topic) == stack.ends(topic), "all is committed")
    found = metrics(url)
    assert found["dynatomic_events_total",] == 102
    assert found["dynatomic_dynamodb_requests_total", "throttled", name] >= 1
    assert found["dynatomic_dynamodb_requests_total", "refused", name] >= 1
    assert found["dynatomic_dynamodb_throttles_total", name] >= 1
    assert found["dynatomic_assigned_partitions",] == 2
    assert found["dynatomic_commits_total", "ok"] >= 1
    assert found["process_resident_memory_bytes",] > 1e6
    if stack.name == "embedded":  # DynamoDB Local reports no units for batches
        assert found["dynatomic_dynamodb_write_units_total", name] >= 20
    child.signal(15)
    assert child.wait() == 0, child.logs()
    with pytest.raises(OSError, match=r"."):
        get(f"{url}livez")


@pytest.fixture
def mock(embedded: "Embedded", spawn: Spawn) -> Iterator[tuple[MockBroker, Stack]]:
    broker, url = MockBroker(), embedded.endpoint_url
    yield (
        broker,
        Stack(
            *("own", broker.bootstrap_servers, url, make_client(url), broker.create_topic, spawn),
            2000,
        ),
    )
    for child in spawn.children:
        child.kill()
    broker.close()


def test_promise_10_livez_is_red_while_the_brokers_are_down(
    mock: tuple[MockBroker, Stack], make_table: MakeTable
) -> None:
    broker, stack = mock
    topic, name = stack.topic(1), make_table(stack.client)
    child = stack.run(topic, [name], *SERVE)
    url = url_of(child)
    stack.wait_counted(stack.produce(topic, [Event(name, "a")]), name)
    assert health(url) == (200, [])
    broker.set_broker_down()
    wait_until(lambda: health(url) == (503, ["broker-down"]), "red", 40)
    broker.set_broker_up()
    wait_until(lambda: health(url) == (200, []), "green again", 40)
    stack.wait_counted(stack.produce(topic, [Event(name, "b")]), name)


@pytest.mark.parametrize(
    ("stack", "protocol"), [("embedded", "classic"), ("real", "consumer")], indirect=["stack"]
)
def test_a_spare_member_is_ready_and_live(stack: Stack, table: Table, protocol: str) -> None:
    topic, name = stack.topic(1), table()
    children = [stack.run(topic, [name], *SERVE, "--group-protocol", protocol) for _ in range(2)]
    urls = [url_of(child) for child in children]
    wait_until(lambda: all(get(f"{url}readyz")[0] == 200 for url in urls), "both are ready")
    owned = [metrics(url)["dynatomic_assigned_partitions",] for url in urls]
    assert sum(owned) == 1
    # A commit may be refused while the other one joins; it is sent again.
    wait_until(lambda: [health(url) for url in urls] == [(200, []), (200, [])], "both are live")


@pytest.fixture
def page() -> None:
    for program in ("chromium", "chromedriver"):
        needs(program)


@pytest.mark.usefixtures("page")
def test_the_page_shows_a_running_consumer(
    embedded: "Embedded", spawn: Spawn, make_table: MakeTable
) -> None:
    url = embedded.endpoint_url
    stack = Stack(
        *("embedded", embedded.bootstrap_servers, url, make_client(url)),
        *(embedded.broker.create_topic, spawn, 2000),
    )
    topic, name = stack.topic(3), make_table(stack.client)
    troubled = Troubled(stack)
    with troubled.proxy as proxy, Browser((1180, 900)) as browser:
        child = stack.run(topic, [name], *SERVE, endpoint_url=proxy.endpoint_url)
        proxy.script(troubled.choose)
        log = stack.produce(topic, [Event(name, f"k{n % 10}") for n in range(500)])
        stack.produce_raw(topic, [{"value": b"bad"}], 0)
        stack.wait_counted(log, name)
        browser.open(url_of(child))
        browser.wait("document.querySelectorAll('polyline').length === 2")
        text = browser.text()
        for shown in ("counting", "at-least-once", "501", "undecodable", topic, "version"):
            assert shown in text, text
        assert browser.run("return document.querySelectorAll('#partitions tbody tr').length") == 3
        assert browser.run(WIDE) is False, "it scrolls to the side"
        light = browser.run(COLOUR)
        browser.dark()
        assert browser.run(COLOUR) != light
        browser.resize((390, 844))
        assert browser.run("return innerWidth") == 390
        assert browser.run(WIDE) is False, "it scrolls to the side on a phone"
        troubled.fault = throttle
        stack.produce(topic, [Event(name, "k")], 0)
        browser.wait("document.body.innerText.includes('table-throttled')")
        assert "no progress" in browser.text()
        troubled.fault = None
        browser.wait("document.getElementById('stalls').hidden")
        assert browser.complaints() == []
        child.signal(15)
        assert child.wait() == 0, child.logs()
        browser.wait("document.getElementById('state').textContent === 'no answer'")


WIDE = "return document.documentElement.scrollWidth > innerWidth"
COLOUR = "return getComputedStyle(document.body).backgroundColor"


SECRETS = {
    "password": "pass-5eCr3t-sasl",
    "key": "aws-5eCr3t-access-key",
    "token": "aws-5eCr3t-session-token",
    "item": "item-5eCr3t-key",
    "range": "range-5eCr3t",
    "payload": "payload-5eCr3t-bytes",
    "header": "header-5eCr3t",
    "table": "table-5eCr3t-of-an-event",
}
MARK = "5eCr3t"


def echoing(request: Request) -> Fault:
    """Refuse as AWS refuses a bad signature: with the request, token and all, in the message."""
    said = f"canonical request: {request.headers} {json.dumps(request.body)}"
    return Error("InvalidSignatureException", message=said)


@pytest.mark.parametrize("stack", ["embedded"], indirect=True)
def test_no_secret_key_or_payload_is_told_whatever_happens(stack: Stack, table: Table) -> None:
    topic, name = stack.topic(1), table("S", "S")
    there: Any = {"S": SECRETS["item"]}, {"S": SECRETS["range"]}, {"S": "no number"}
    item = dict(zip(("pk", "rk", "count"), there, strict=True))
    stack.client.put_item(TableName=name, Item=item)
    env = stack.env() | {
        "AWS_SECRET_ACCESS_KEY": SECRETS["key"],
        "AWS_SESSION_TOKEN": SECRETS["token"],
    }
    faults: list[Callable[[Request], Fault]] = [
        echoing,
        lambda r: Error("UnrecognizedClientException", message=str(r.headers)),
        lambda r: Error("ValidationException", message=json.dumps(r.body)),
        lambda r: Error("ThrottlingException", message=json.dumps(r.body)),
    ]
    lock = threading.Lock()

    def choose(request: Request) -> Fault | None:
        with lock:
            writing = request.operation == "BatchExecuteStatement" and MARK in str(request.body)
            return faults.pop(0)(request) if writing and faults else None

    with FaultyProxy(stack.endpoint_url, choose) as proxy:
        command = ["run", "-t", topic, "-g", topic, "--table", name, *SERVE, "--window-ms", "150"]
        command += ["-X", f"sasl.password={SECRETS['password']}", "-X", "sasl.username=somebody"]
        command += ["-X", "debug=conf,security,broker", "--log-level", "debug"]
        child = stack.spawn(*command, "--endpoint-url", proxy.endpoint_url, env=env)
        url = url_of(child)
        secret = Event(name, SECRETS["item"], SECRETS["range"])
        others = [secret._replace(key=f"{SECRETS['item']}-{n}") for n in range(30)]
        stack.produce(topic, [secret, *others])
        headers = [(SECRETS["header"], SECRETS["header"].encode())]
        bad = [
            SECRETS["payload"].encode(),
            avro(Event(SECRETS["table"], SECRETS["item"])),
            avro(Event(name, SECRETS["item"])),  # the range is missing
            avro(Event(name, SECRETS["item"], SECRETS["range"], "pk")),
            avro(secret) + SECRETS["payload"].encode(),
            b"\x00\x00\x00\x00\x01" + avro(secret),
        ]
        stack.produce_raw(topic, [{"value": raw, "headers": headers} for raw in bad])
        wait_until(lambda: len(stack.letters(topic)) == len(bad) + 1, "all bad rows are stored", 60)
        wait_until(lambda: stack.committed(topic) == stack.ends(topic), "all is committed", 60)
        assert not faults, "not every failure was met"
        seen = {path: get(f"{url}{path}")[1] for path in ("", "metrics", "status", "livez")}
        child.signal(15)
        assert child.wait() == 0, child.logs()
    # A broker that does not let it in, and a configuration that cannot be.
    broken = [
        ("-X", "security.protocol=SASL_PLAINTEXT", "-X", "sasl.mechanism=PLAIN"),
        ("-X", "no.such.property=1"),
    ]
    ended = [stack.spawn("config", "check", *ARGUMENTS, *more, env=env) for more in ((), *broken)]
    for each in ended:
        each.wait()
    seen |= {each.name: each.stdout + each.stderr for each in (child, *ended)}
    assert "sasl.password = [redacted]" in seen[child.name], "the client logged nothing"
    assert {where: _told(text) for where, text in seen.items() if _told(text)} == {}


ARGUMENTS = ("--table", "usage", "-X", f"sasl.password={SECRETS['password']}")


def _told(text: str) -> list[str]:
    """Return where a secret is shown, as plain text or encoded."""
    as_bytes = {name: os.fsencode(secret).hex() for name, secret in SECRETS.items()}
    return [
        f"{name}: {line[:300]}"
        for name, secret in SECRETS.items()
        for line in text.splitlines()
        if secret in line or as_bytes[name] in line
    ]
