"""Windows of hostile sizes are written in bounded memory: the operating system sets the limit."""

import os
import subprocess
import sys

import pytest

from tests.support.children import PYTHONPATH, REPOSITORY

LIMIT_MB = 320
"""Address space of the child: about 170 MB of it are the interpreter, boto3 and its threads."""
SECONDS = 120

SCRIPT = """
import itertools, queue, resource, sys
resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[1]) << 20,) * 2)
from dynatomic.dynamodb.counters import Counters
from dynatomic.dynamodb.writer import Writer
from dynatomic.events.decoded import UnitIncrement
from dynatomic.events.row import CounterRef, KeySchema
from dynatomic.events.window import Window
from dynatomic.testing.dynamodb.client import FakeDynamoDB

windows, items, counters, length = map(int, sys.argv[2:])
client = FakeDynamoDB()
client.create_table(
    TableName="tab",
    AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
    KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
)
writer = Writer(Counters(client, {"tab": KeySchema("pk")}).execute, max_requests=2)
done = queue.Queue()
names = itertools.count()
counted = 0
for number in range(windows):
    window = Window()
    units = [
        UnitIncrement(CounterRef("tab", f"{number}-{item}", None, f"{next(names):0{length}d}"), 1)
        for item in range(items)
        for _ in range(counters)
    ]
    window.add(range(number * len(units), (number + 1) * len(units)), units)
    writer.submit(window, done.put, "fence_0123abcd_7")
    found = done.get(timeout=60)
    assert not found.rejected and not found.held_back, found.rejected
    for item in client.items("tab"):
        counted += sum("N" in value for value in item.values()) - 1
        client.delete_item(TableName="tab", Key={"pk": item["pk"]})
writer.close()
print(counted)
"""


@pytest.mark.parametrize(
    ("windows", "items", "counters", "length"),
    [
        pytest.param(1, 1, 20_000, 8, id="20,000 counters of one item"),
        pytest.param(60, 20, 40, 255, id="names that never repeat"),
        pytest.param(40, 250, 9, 60, id="statements that never repeat"),
    ],
)
def test_a_window_is_written_within_a_hard_limit(
    windows: int, items: int, counters: int, length: int
) -> None:
    arguments = map(str, (LIMIT_MB, windows, items, counters, length))
    child = subprocess.run(
        [sys.executable, "-c", SCRIPT, *arguments],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": PYTHONPATH},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert child.returncode == 0, child.stderr[-2000:]
    assert int(child.stdout) == windows * items * counters
