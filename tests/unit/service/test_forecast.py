"""The report of a dry run: sums by counter, and what writing them would cost."""

import json

import pytest
from confluent_kafka import TIMESTAMP_CREATE_TIME, Message

from dynatomic.counting.file import loads
from dynatomic.events.decoder import Decoder
from dynatomic.events.row import KeySchema, Row
from dynatomic.events.schema import encode
from dynatomic.kafka.counters_reader import CountersReader
from dynatomic.kafka.event_reader import EventReader, RowReader
from dynatomic.service import forecast as module
from dynatomic.service.forecast import Forecast

FILE = """
[[counter]]
name = "daily"
when = "size"
table = "usage"
key = "{id}"
range = "day#{time|day}"
add = { requests = 1, bytes = "size" }
"""
MINUTE_MS = 60_000


def message(offset: int, value: bytes, at_ms: int, partition: int = 0) -> Message:
    stamp = (TIMESTAMP_CREATE_TIME, at_ms)
    return Message(topic="t", partition=partition, offset=offset, value=value, timestamp=stamp)


def reader() -> EventReader:
    return CountersReader(loads(FILE), {"usage": KeySchema("pk", "S", "rk", "S")}, max_bytes=1000)


def test_a_write_is_an_item_of_a_window_of_a_partition() -> None:
    forecast = Forecast(reader(), 1_000, exactly_once=True)
    event = json.dumps({"id": "a", "size": 3}).encode()
    forecast.read([message(n, event, MINUTE_MS + 100 * n) for n in range(20)])  # two windows
    forecast.read([message(0, event, MINUTE_MS, 1), message(1, b"{}", MINUTE_MS, 1)])
    forecast.read([message(2, b"rubbish", MINUTE_MS + 3_600_000, 1)])
    assert list(forecast.lines()) == [
        "23 events of 1h0m: 21 counted, 1 taken by no counter, 1 dead letters",
        "  daily/bytes                21 events  sum                63",
        "  daily/requests             21 events  sum                21",
        "with windows of 1,000 ms: 7.0 events per write, 1 items, 2.0 partitions per item",
        (
            "a million such events: 130,434 write units, 0.0815 US dollars on demand, for items "
            "below 1 kB; and 2 write units once, for new items and fences"
        ),
    ]


def test_rows_are_forecast_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_ITEM_PARTITIONS", 2)
    forecast = Forecast(RowReader(Decoder({"hits": KeySchema("pk")})), 1_000, exactly_once=False)
    rows = [encode(Row("hits", f"k{n}", incr=n)) for n in range(4)]
    batch = [message(n, row, MINUTE_MS) for n, row in enumerate([*rows, b"bad"])]
    assert forecast.read(batch).rejected.keys() == {4}
    lines = list(forecast.lines())
    assert lines[1].split() == ["count", "4", "events", "sum", "6"]
    assert "1.0 events per write, at least 2 items" in lines[2]


def test_nothing_is_forecast_from_nothing() -> None:
    assert list(Forecast(reader(), 1_000, exactly_once=False).lines()) == [
        "0 events of 0.0s: 0 counted"
    ]
