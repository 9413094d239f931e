"""Every event that was read is accounted for, and lost answers bound what is counted twice."""

import json
import threading

import pytest

from tests.support.events import Event
from tests.support.faults import DropResponse, Fault, Request
from tests.support.proxy import FaultyProxy
from tests.support.stack import Stack
from tests.support.tables import Table
from tests.support.waiting import wait_until
from tests.support.watching import metrics, status_of, url_of

LOST = 5
EVENT_KEY = json.dumps({"S": "a"})


@pytest.mark.parametrize("guarantee", ["at-least-once", "exactly-once"])
def test_lost_answers_are_counted_and_bound_what_is_counted_twice(
    stack: Stack, table: Table, guarantee: str
) -> None:
    topic, name = stack.topic(1), table()
    lock, lost = threading.Lock(), [LOST]

    def choose(request: Request) -> Fault | None:
        with lock:
            is_write = request.operation in {"BatchExecuteStatement", "UpdateItem"}
            if not is_write or EVENT_KEY not in json.dumps(request.body) or lost[0] >= LOST:
                return None
            lost[0] += 1
            return DropResponse()

    with FaultyProxy(stack.endpoint_url, choose) as proxy:
        arguments = ("--http", "127.0.0.1:0", "--processing-guarantee", guarantee)
        child = stack.run(topic, [name], *arguments, endpoint_url=proxy.endpoint_url)
        url = url_of(child)
        log = stack.produce(topic, [Event(name, "a")])
        stack.wait_counted(log, name)  # the item exists now, so that a write adds
        with lock:
            lost[0] = 0
        log += stack.produce(topic, [Event(name, "a")] * 10)
        stack.produce_raw(topic, [{"value": b"bad"}] * 2, 0)
        wait_until(lambda: stack.committed(topic) == stack.ends(topic), "all is committed", 60)
        values = metrics(url)
        unknown = values["dynatomic_dynamodb_unknown_outcomes_total", name]
        (partition,) = status_of(url)["partitions"]
        child.signal(15)
        assert child.wait() == 0, child.logs()
    assert unknown == LOST
    counts = partition["event_counts"]
    assert (counts["read"], counts["dead_letters"], counts["abandoned"]) == (13, 2, 0)
    assert counts["counted"] + counts["suppressed"] == 11
    assert values["dynatomic_unaccounted_events", "0"] == 0
    total = stack.counters(name).total()
    if guarantee == "exactly-once":
        assert total == 11
    else:
        assert 11 < total <= 11 + 10 * unknown
