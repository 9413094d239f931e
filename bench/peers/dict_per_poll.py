"""The next thing a team writes: a dict for each poll, one boto3 UpdateItem a counter, commit.

A poll returns the events of a window, up to 100,000: `consume` waits that long. The more events it
returns, the fewer writes are needed.
"""

from collections import defaultdict
from typing import Final

from confluent_kafka import Consumer, KafkaException

from bench.peers.program import Counter, Meter, Plan, Table

MOST: Final = 100_000


def main() -> None:
    """Count the events of the plan."""
    plan, meter = Plan.read(), Meter()
    decode, table = plan.decoder(), Table(plan.table)
    consumer = Consumer(plan.consumer_config())
    consumer.subscribe([plan.topic])
    left = plan.events
    while left:
        # The first poll returns one event, so that the time starts with it and not with a full
        # batch.
        most = min(MOST, left) if meter.first else 1
        messages = consumer.consume(most, plan.window_ms / 1000)
        if not messages:
            continue
        meter.begin()
        sums: defaultdict[Counter, int] = defaultdict(int)
        for message in messages:
            if error := message.error():
                raise KafkaException(error)
            counter, incr = decode(message.value() or b"")
            sums[counter] += incr
        for counter, number in sums.items():
            table.add(counter, number)
        consumer.commit(asynchronous=False)
        left -= len(messages)
    meter.end()
    consumer.close()


if __name__ == "__main__":
    main()
