"""``python -m bench.increments``: what one addition costs, beside other ways, as a Markdown table.

All ways add to the same DynamoDB Local, one call at a time, one way after the other. The CPU time
is that of this process in the best round. ``--zae PYTHON`` measures zae-limiter in that interpreter
too.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from typing import Any, Final
from uuid import uuid4

from dynatomic import LimitExceededError, Row, increment, increment_many
from dynatomic.dynamodb.client import make_client
from tests.support.dynamodb_local import DynamoDBLocal
from tests.support.tables import make_client as plain_client

CALLS, ROUNDS = 500, 8
TABLE: Final = "increments"

_ZAE = """
import json, sys, time, warnings
warnings.simplefilter("ignore")
from zae_limiter import Limit, SyncRateLimiter, SyncRepository
url, calls = sys.argv[1], int(sys.argv[2])
repo = SyncRepository(name=f"zae-{time.time_ns()}", region="us-east-1", endpoint_url=url,
                      _skip_deprecation_warning=True)
repo.create_table()
repo._namespace_id = repo._register_namespace("default")
repo._namespace_name = "default"
repo._reinitialize_config_cache(repo._namespace_id)
limiter, limits = SyncRateLimiter(repository=repo), [Limit.per_minute("rpm", 10_000_000)]
def call():
    with limiter.acquire(entity_id="c", resource="r", limits=limits, consume={"rpm": 1}):
        pass
for _ in range(20):
    call()
rounds = []
for _ in range(int(sys.argv[3])):
    waits, before = [], time.process_time()
    for _ in range(calls):
        start = time.perf_counter(); call(); waits.append(time.perf_counter() - start)
    rounds.append([(time.process_time() - before) / calls, waits])
print(json.dumps(rounds))
"""


@dataclass(slots=True)
class Way:
    """A way to add, how many additions one call makes, and what was measured of it."""

    name: str
    call: Callable[[], object]
    additions: int = 1
    cpu_s: float = float("inf")
    waits_s: list[float] = field(default_factory=list)

    def measure(self, calls: int) -> None:
        """Call it in a row; keep the least CPU time of a call and all latencies."""
        before = time.process_time()
        for _ in range(calls):
            start = time.perf_counter()
            self.call()
            self.waits_s.append(time.perf_counter() - start)
        self.cpu_s = min(self.cpu_s, (time.process_time() - before) / calls)

    def line(self) -> str:
        """Return its row of the table."""
        waits = sorted(self.waits_s)
        p50, p99 = (waits[int(len(waits) * share)] * 1000 for share in (0.5, 0.99))
        return f"| {self.name} | {self.cpu_s * 1e6:,.0f} us | {p50:.2f} ms | {p99:.2f} ms |"


def ways(url: str) -> list[Way]:
    """Return the ways of this process, ready to be measured."""
    client, plain = make_client(url), plain_client(url)
    numbers = count()
    request: Any = {
        "TableName": TABLE,
        "Key": {"pk": {"S": "boto3"}},
        "UpdateExpression": "ADD #c :n",
        "ExpressionAttributeNames": {"#c": "count"},
        "ExpressionAttributeValues": {":n": {"N": "1"}},
        "ReturnValues": "UPDATED_NEW",
    }
    rows = [Row(TABLE, f"many-{number}") for number in range(25)]
    once = partial(increment, TABLE, client=client)
    return [
        Way("`increment`", partial(once, "plain")),
        Way("`increment(limit=)`, below the limit", partial(once, "limit", limit=10**9)),
        Way("`increment(limit=)`, refused", partial(refused, partial(once, "full", limit=0))),
        Way("`increment(token=)`", lambda: once(f"once-{next(numbers)}", token=uuid4().hex)),
        Way("`increment_many`, 25 rows", partial(increment_many, rows, client=client), 25),
        Way("boto3 `update_item`", partial(plain.update_item, **request)),
    ]


def refused(add: Callable[[], int]) -> None:
    """Add above a limit."""
    with suppress(LimitExceededError):
        add()


def zae(python: str, url: str) -> Way:
    """Measure zae-limiter in an interpreter that has it."""
    command = [python, "-c", _ZAE, url, str(CALLS), str(ROUNDS)]
    rounds = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    waits = [wait for _, part in rounds for wait in part]
    return Way("zae-limiter `acquire`", lambda: None, 1, min(cpu for cpu, _ in rounds), waits)


def main() -> int:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--zae", metavar="PYTHON", help="an interpreter that has zae-limiter")
    arguments = parser.parse_args()
    os.environ |= {"AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local"}
    os.environ |= {"AWS_REGION": "us-east-1", "AWS_DEFAULT_REGION": "us-east-1"}
    with DynamoDBLocal() as server:
        plain_client(server.endpoint_url).create_table(
            TableName=TABLE,
            BillingMode="PAY_PER_REQUEST",
            KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
        )
        measured = ways(server.endpoint_url)
        for way in measured:
            way.measure(CALLS)  # during the first calls, the server compiles its code
            way.cpu_s, way.waits_s = float("inf"), []
        for _ in range(ROUNDS):
            for way in measured:
                way.measure(CALLS)
        if arguments.zae:
            measured.append(zae(arguments.zae, server.endpoint_url))
    print("| one call | CPU time | p50 | p99 |\n|---|---:|---:|---:|")
    print("\n".join(way.line() for way in measured))
    return 0


if __name__ == "__main__":
    sys.exit(main())
