"""Recounting the events of a counters file: letters that name counters, and items that expire."""

import json
from typing import Any

import pytest
from confluent_kafka import TIMESTAMP_CREATE_TIME, Message

from dynatomic.counting.file import loads
from dynatomic.events.row import CounterRef, KeySchema
from dynatomic.kafka.counters_reader import CountersReader
from dynatomic.verify.baseline import BaselineItem
from dynatomic.verify.recount import Recount, Span, ahead
from tests.support.declared import FILE

KEYS = {"usage": KeySchema("pk", "S", "rk", "S", ttl_name="expires_at"), "totals": KeySchema("pk")}
DAY = "day#1970-01-01"
EVENT = {"tenant": "c-7", "size": 10, "route": "/x"}


def reader() -> CountersReader:
    return CountersReader(loads(FILE), KEYS, max_bytes=1000)


def message(offset: int, event: Any = EVENT) -> Message:
    value = None if event is None else json.dumps(event).encode()
    stamp = (TIMESTAMP_CREATE_TIME, 1_000)
    return Message(topic="t", partition=0, offset=offset, value=value, timestamp=stamp)


def test_all_that_an_event_adds_is_recounted() -> None:
    recount = Recount(reader())
    events = [EVENT, EVENT, {"kind": "internal"}, {"size": "x"}, None, EVENT]
    run = [message(offset, event) for offset, event in enumerate(events)]
    recount.scan([(0, run)], {0: Span(0, 5, 6)})
    day, route = ("c-7", DAY), ("c-7", "route#/x")
    assert recount.sums[0] == {
        ("usage", "requests"): {day: 2, route: 2},
        ("usage", "bytes"): {day: 20},
        ("totals", "requests"): {"0": 2},
    }
    assert recount.sums[ahead(0)]["usage", "bytes"] == {day: 0}
    assert (recount.events, recount.rejected, recount.unmatched, recount.uncommitted) == (
        6,
        1,
        2,
        1,
    )


def test_counters_that_the_table_refused_are_left_out_of_an_event() -> None:
    found = reader().without_counters(message(3), {"daily/bytes", "route/requests"})
    (first, second) = reader().read([found]).increments
    assert first == (CounterRef("usage", "c-7", DAY, "requests"), 1)
    assert second == (CounterRef("totals", "0", None, "requests"), 1)
    names = {"daily/bytes", "daily/requests", "route/requests", "all/requests"}
    assert reader().without_counters(message(3), names) is None


@pytest.mark.parametrize(("days", "is_expired"), [(2, False), (4, True)])
def test_an_item_expires_by_its_events_or_by_the_baseline(days: int, *, is_expired: bool) -> None:
    recount = Recount(reader(), ttl_names={"usage": "expires_at"}, unix_time=days * 86_400)
    recount.scan([(0, [message(0)])], {0: Span(0, 1, 1)})
    old = ("c-8", DAY)
    recount.add_baseline_item(BaselineItem("usage", old, {}, {"expires_at": 3 * 86_400}, {}))
    assert recount.is_expired("usage", ("c-7", DAY)) is is_expired
    assert recount.is_expired("usage", old) is is_expired
    assert not recount.is_expired("usage", ("c-7", "route#/x"))
    assert not recount.is_expired("totals", "0")
