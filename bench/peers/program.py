"""What the Python peers share: the plan, the times, the decoding and the writing.

Peers use nothing of `dynatomic`. A peer is written as a team would write it that knows its
libraries. It reads with fastavro, writes with boto3 and stops at the first error. The table has a
hash key ``pk`` and no range key, and its items exist.
"""

import io
import json
import resource
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import boto3
from botocore.config import Config
from fastavro import schemaless_reader
from fastavro.schema import load_schema

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.type_defs import BatchStatementRequestTypeDef

BATCH: Final = 25
"""The most statements that BatchExecuteStatement takes."""

CONCURRENCY: Final = 4
"""Requests in flight: what a table with latency needs; the sink of the benchmark has none."""

Counter = tuple[str, str]
"""What is counted: the key of an item and its attribute."""

Moment = tuple[float, float]


def counter_of(row: Any) -> Counter:
    """Return the counter that an event names."""
    return row["key"], row["counter"] or "count"


@dataclass(frozen=True, slots=True)
class Plan:
    """What a peer counts, and until when: the last argument, as JSON."""

    bootstrap_servers: str
    topic: str
    group: str
    events: int
    partitions: int
    window_ms: int
    table: str
    schema: str

    @classmethod
    def read(cls) -> "Plan":
        """Take it from the command line."""
        return cls(**json.loads(sys.argv[-1]))

    def consumer_config(self) -> dict[str, Any]:
        """Return the least that a consumer of a group needs, and it commits by itself nothing."""
        return {
            "bootstrap.servers": self.bootstrap_servers,
            "group.id": self.group,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
        }

    def decoder(self) -> Callable[[bytes], tuple[Counter, int]]:
        """Return what makes a counter and an increment of a payload."""
        schema = load_schema(self.schema)

        def decode(payload: bytes) -> tuple[Counter, int]:
            row: Any = schemaless_reader(io.BytesIO(payload), schema, None)
            return counter_of(row), row["incr"]

        return decode


class Meter:
    """The first and the last moment of a run: the machine's clock and this process's CPU time."""

    def __init__(self) -> None:
        """Begin without a moment."""
        self.first: Moment | None = None

    def begin(self) -> None:
        """Say that an event is there; only the first time counts."""
        if self.first is None:
            self.first = _now()

    def end(self) -> None:
        """Say that all is written and committed, and print the line that the harness reads."""
        print(json.dumps({"first": self.first, "last": _now(), "peak_bytes": _peak_bytes()}))


def _now() -> Moment:
    return time.monotonic(), time.process_time()


def _peak_bytes() -> int:
    """Return the largest resident memory. On Linux ru_maxrss begins with the parent's."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(n for n in status.read_text().splitlines() if n.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


class Table:
    """A table whose counters are added to."""

    def __init__(self, name: str) -> None:
        """Connect, with the address and the credentials of the environment."""
        self._name = name
        self._client = boto3.client("dynamodb", config=Config(max_pool_connections=CONCURRENCY))
        self._pool = ThreadPoolExecutor(CONCURRENCY)

    def add(self, counter: Counter, number: int) -> None:
        """Add to one counter, one request."""
        key, name = counter
        self._client.update_item(
            TableName=self._name,
            Key={"pk": {"S": key}},
            UpdateExpression="ADD #c :n",
            ExpressionAttributeNames={"#c": name},
            ExpressionAttributeValues={":n": {"N": str(number)}},
        )

    def add_batches(self, sums: Mapping[Counter, int]) -> None:
        """Add to many counters, 25 a request. Raises `RuntimeError` if one was refused."""
        for refused in self._pool.map(self._execute, _chunks(sums)):
            if refused:
                raise RuntimeError(f"{len(refused)} statements were refused: {refused[0]}")

    def _execute(self, sums: list[tuple[Counter, int]]) -> list[Any]:
        statements: list[BatchStatementRequestTypeDef] = [
            {
                "Statement": f'UPDATE "{self._name}" SET "{name}"="{name}"+? WHERE "pk"=?',  # noqa: S608 - the names are ours
                "Parameters": [{"N": str(number)}, {"S": key}],
            }
            for (key, name), number in sums
        ]
        answer = self._client.batch_execute_statement(Statements=statements)
        return [each["Error"] for each in answer["Responses"] if "Error" in each]


def _chunks(sums: Mapping[Counter, int]) -> Iterator[list[tuple[Counter, int]]]:
    left = iter(sums.items())
    while chunk := list(islice(left, BATCH)):
        yield chunk
