"""Bytewax: batches of the Kafka source are summed, folded into windows and written 25 a request.

It is tuned according to its documentation. ``flat_map_batch`` decodes and sums a whole batch in one
call, so only sums pass its operators, which cost microseconds for each item. It has no commit.
Recovery stores the offsets and the open window at the end of each epoch, and an epoch is a window.
"""

import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import bytewax.operators as op
from bytewax.connectors.kafka import KafkaSource
from bytewax.dataflow import Dataflow
from bytewax.operators.windowing import SystemClock, TumblingWindower, fold_window
from bytewax.outputs import DynamicSink, StatelessSinkPartition
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.run import cli_main

from bench.peers.program import Counter, Meter, Plan, Table

Sums = dict[Counter, int]


class CounterPartition(StatelessSinkPartition):  # type: ignore[misc] # it has no types
    """What a worker writes with."""

    def __init__(self, table: Table) -> None:
        """Write to this table."""
        self._table = table

    def write_batch(self, items: list[tuple[str, tuple[int, Sums]]]) -> None:
        """Add the sums of each window that is over."""
        for _key, (_window, sums) in items:
            self._table.add_batches(sums)


class CounterSink(DynamicSink):  # type: ignore[misc] # it has no types
    """Adds sums to a table."""

    def __init__(self, table: str) -> None:
        """Write to this table."""
        self._table = table

    def build(self, _step: str, _index: int, _count: int) -> CounterPartition:
        """Make the part of one worker."""
        return CounterPartition(Table(self._table))


def summing(plan: Plan, meter: Meter) -> Callable[[list[Any]], Iterable[tuple[str, Sums]]]:
    """Return what decodes and sums a batch of the source."""
    decode = plan.decoder()

    def sum_batch(messages: list[Any]) -> Iterable[tuple[str, Sums]]:
        meter.begin()
        sums: defaultdict[Counter, int] = defaultdict(int)
        for message in messages:
            counter, incr = decode(message.value)
            sums[counter] += incr
        return [("all", sums)]

    return sum_batch


def merge(into: Sums, sums: Sums) -> Sums:
    """Add sums to others in place."""
    for counter, number in sums.items():
        into[counter] = into.get(counter, 0) + number
    return into


def main() -> None:
    """Count the topic to the end that it has at the start."""
    plan, meter = Plan.read(), Meter()
    window = timedelta(milliseconds=plan.window_ms)
    flow = Dataflow("count")
    source = KafkaSource([plan.bootstrap_servers], [plan.topic], tail=False)
    messages = op.input("read", flow, source)
    sums = op.flat_map_batch("sum", messages, summing(plan, meter))
    windower = TumblingWindower(length=window, align_to=datetime(2020, 1, 1, tzinfo=UTC))
    windows = fold_window("window", sums, SystemClock(), windower, dict, merge, merge)
    op.output("write", windows.down, CounterSink(plan.table))
    with tempfile.TemporaryDirectory() as folder:
        init_db_dir(Path(folder), 1)
        cli_main(flow, epoch_interval=window, recovery_config=RecoveryConfig(folder))
        meter.end()


if __name__ == "__main__":
    main()
