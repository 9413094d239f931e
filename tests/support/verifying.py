"""``dynatomic verify`` as a child process, and ways to make its counters wrong."""

from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from tests.support.children import Child
from tests.support.events import Log
from tests.support.stack import Stack

EXACTLY_ONCE = ("--processing-guarantee", "exactly-once")


WORDS = ["table", "item", "counter", "in", "topic", "in", "table", "difference", "partitions"]


def verify(
    stack: Stack, topic: str, tables: list[str], *arguments: str, code: int = 0, group: str = ""
) -> Child:
    """Run the command to its end and check its exit code."""
    command = ["verify", "-t", topic, "-g", group or topic, *arguments]
    for table in tables:
        command += ["--table", table]
    child = stack.spawn(*command, env=stack.env())
    assert child.wait(60) == code, child.logs()
    assert "Traceback" not in child.stderr
    return child


def ok(log: Log) -> str:
    return f"OK  {len(log):,} counters, sum {log.total():,} = {log.total():,}"


def add(stack: Stack, table: str, key: str, number: int, counter: str = "count") -> None:
    """Change a counter behind the consumer's back."""
    stack.client.update_item(
        TableName=table,
        Key={"pk": {"S": key}},
        UpdateExpression="ADD #c :n",
        ExpressionAttributeNames={"#c": counter},
        ExpressionAttributeValues={":n": {"N": str(number)}},
    )


def delete_before(stack: Stack, topic: str, offsets: dict[int, int]) -> None:
    """Remove the beginning of partitions, as retention does."""
    admin = AdminClient({"bootstrap.servers": stack.bootstrap_servers, "log_level": 0})
    places = [TopicPartition(topic, number, offset) for number, offset in offsets.items()]
    for deleted in admin.delete_records(places).values():
        deleted.result(30)
