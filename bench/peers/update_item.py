"""The loop that most teams write: poll, decode, one boto3 UpdateItem an event, commit.

The offset of each event is stored after its write and committed in the background, as librdkafka
recommends for at-least-once. A commit for each event would only make it slower.
"""

from confluent_kafka import Consumer, KafkaException

from bench.peers.program import Meter, Plan, Table


def main() -> None:
    """Count the events of the plan."""
    plan, meter = Plan.read(), Meter()
    decode, table = plan.decoder(), Table(plan.table)
    background = {"enable.auto.commit": True, "enable.auto.offset.store": False}
    consumer = Consumer(plan.consumer_config() | background)
    consumer.subscribe([plan.topic])
    left = plan.events
    while left:
        message = consumer.poll(1.0)
        if message is None:
            continue
        if error := message.error():
            raise KafkaException(error)
        meter.begin()
        table.add(*decode(message.value() or b""))
        consumer.store_offsets(message)
        left -= 1
    consumer.commit(asynchronous=False)  # the stored offsets
    meter.end()
    consumer.close()


if __name__ == "__main__":
    main()
