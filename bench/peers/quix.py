"""Quix Streams with a batching sink: sums each batch and writes it 25 counters a request.

It is tuned according to its documentation. A batch ends at the commit interval, so this interval is
the window. The consumer polls messages one by one in Python. No setting of Kafka changes this cost.
"""

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

from quixstreams import Application
from quixstreams.models.serializers.avro import AvroDeserializer
from quixstreams.sinks import BatchingSink, SinkBatch

from bench.peers.program import Counter, Meter, Plan, Table, counter_of


class CounterSink(BatchingSink):  # type: ignore[misc] # it has no types
    """Adds the sums of each batch, that is of a partition and a window, to the table."""

    def __init__(self, table: Table, meter: Meter) -> None:
        """Write to this table."""
        super().__init__()
        self._table = table
        self._meter = meter

    def add(self, **record: Any) -> None:
        """Take the first record into its batch; the others go there without this detour."""
        self._meter.begin()
        self.add = super().add  # type: ignore[method-assign]
        self.add(**record)

    def write(self, batch: SinkBatch) -> None:
        """Sum a batch and write it; the offsets are committed when this has returned."""
        sums: defaultdict[Counter, int] = defaultdict(int)
        for item in batch:
            sums[counter_of(item.value)] += item.value["incr"]
        self._table.add_batches(sums)


def main() -> None:
    """Count the events of the plan."""
    plan, meter = Plan.read(), Meter()
    app = Application(
        plan.bootstrap_servers,
        consumer_group=plan.group,
        auto_offset_reset="earliest",
        commit_interval=plan.window_ms / 1000,
        auto_create_topics=False,
        use_changelog_topics=False,  # it has no state
        loglevel="WARNING",
    )
    schema = json.loads(Path(plan.schema).read_text())
    topic = app.topic(
        plan.topic, key_deserializer="bytes", value_deserializer=AvroDeserializer(schema)
    )
    app.dataframe(topic).sink(CounterSink(Table(plan.table), meter))
    app.run(count=plan.events, collect=False)
    meter.end()


if __name__ == "__main__":
    main()
