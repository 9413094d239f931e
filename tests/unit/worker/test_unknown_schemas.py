"""A schema registry that does not answer delays its events, and is never a verdict on them."""

import time
from collections.abc import Callable
from typing import Any

import pytest

from dynatomic.worker.causes import NO_ERRORS, Cause, cause_of
from dynatomic.worker.partition import Partition
from tests.support.avro_events import COUNTERS, ORDER, datum
from tests.support.clients import LETTERS, headers_of
from tests.support.declared import DeclaredWorld, declared
from tests.support.registry_server import fake_registry

KNOWN, NEW, MISSING = (b"\0\0\0\0" + bytes([number]) for number in (7, 8, 9))
TEXT = COUNTERS.replace('table = "orders"\n', 'table = "usage"\n')
REVENUE = ("usage", "c", "2025-11-24", "orders")


def event(frame: bytes) -> bytes:
    return frame + datum()


def until(d: DeclaredWorld, condition: Callable[[], bool]) -> None:
    """Take turns in real time: the registry is asked by threads."""
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        d.world.advance(0.5)
        d.world.turn()
        time.sleep(0.01)


@pytest.mark.parametrize("guarantee", ["at-least-once", "exactly-once"])
def test_events_wait_for_their_schema_in_order_and_without_letters(guarantee: Any) -> None:
    with fake_registry() as registry:
        text = f'[event]\nformat = "avro"\nregistry = "{registry.url}"\n{TEXT}'
        with declared(partitions=2, text=text) as d:
            registry.add(7, ORDER)
            registry.answers["/schemas/ids/8"] = 503, b""
            member = d.worker(processing_guarantee=guarantee)
            d.emit(event(KNOWN), event(NEW), event(KNOWN), event(MISSING))
            d.emit(event(KNOWN), event(KNOWN), partition=1)
            until(d, lambda: d.values().get(REVENUE) == 3)
            # The other partition is done; this one stands before the second event.
            until(d, lambda: (d.world.committed(0), d.world.committed(1)) == (1, 2))
            d.world.turn(3)
            d.world.advance(40)
            d.world.turn()
            (stall,) = member.worker.progress.stalls(d.world.clock())
            assert (stall.cause, stall.partition) == (Cause.SCHEMA_UNAVAILABLE, 0)
            assert stall.detail.endswith("schema id 8 is not known: HTTP 503")
            d.emit(event(KNOWN))
            assert not d.world.broker.messages(LETTERS)
            registry.add(8, ORDER)
            until(d, lambda: d.values()[REVENUE] == 6)
            until(d, lambda: d.world.committed(0) == 5)
            assert not member.worker.progress.stalls(d.world.clock())
            (letter,) = d.world.broker.messages(LETTERS)
            assert headers_of(letter)["dynatomic.reason"] == "schema-unknown"
            assert d.outcomes() == {"read": 7, "counted": 6, "dead_letters": 1}


def test_a_partition_waits_until_an_event_beyond_the_undecided_one_is_read() -> None:
    partition = Partition(0, start_confirmed=True)
    partition.record_read(4, 5)
    partition.wait_to_reread(5, 1.0, "no registry")
    assert partition.reread() == 5
    # The broker may send nothing for a while, which is no progress.
    assert partition.is_waiting
    assert cause_of(partition, NO_ERRORS) == (Cause.SCHEMA_UNAVAILABLE, "no registry")
    partition.record_read(5, 6)
    assert not partition.is_waiting


def test_events_that_wait_are_read_again_by_the_next_owner() -> None:
    with fake_registry() as registry:
        text = f'[event]\nformat = "avro"\nregistry = "{registry.url}"\n{TEXT}'
        with declared(text=text) as d:
            registry.add(7, ORDER)
            registry.answers["/schemas/ids/8"] = 503, b""
            first = d.worker()
            d.emit(event(KNOWN), event(NEW), event(KNOWN))
            until(d, lambda: d.values().get(REVENUE) == 1)
            first.worker.shut_down()
            first.alive = False
            assert d.world.committed() == 1
            registry.add(8, ORDER)
            d.worker()
            until(d, lambda: d.values()[REVENUE] == 3)
