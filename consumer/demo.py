"""``dynatomic demo``: the whole thing on this machine, with a consumer killed on the way."""

import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from confluent_kafka import Consumer, TopicPartition

from consumer.embedded import Embedded, call_dynamodb
from consumer.emit import Emitter
from consumer.errors import DynatomicError
from consumer.kafka import consumer_config, new_consumer, watermarks
from consumer.produce import samples
from consumer.progress import progress_bar
from consumer.row import KeySchema
from consumer.settings import Settings

EVENTS, COUNTERS, CONSUMERS, PARTITIONS = 100_000, 1_000, 3, 6
TABLE = "demo-usage"
WINDOW_MS = 500
PRODUCE_S = 8.0  # long enough for several windows
PATIENCE_S = 60.0
_READ_BATCH = 100  # keys that one BatchGetItem takes


@dataclass(frozen=True, slots=True)
class Result:
    """What the demo found. ``requests`` and ``writes`` are those that the consumers logged."""

    requests: int
    writes: int
    seconds: float
    equal: int
    higher: int
    lower: int
    surplus: int

    def lines(self) -> Iterator[str]:
        """Yield the table that the demo prints."""
        per_write = EVENTS / max(1, self.writes)
        yield f"  events            {EVENTS:>9,}"
        yield f"  counters          {COUNTERS:>9,}"
        yield f"  requests          {self.requests:>9,}"
        yield f"  events per write  {per_write:>9.1f}"
        yield f"  time              {self.seconds:>7.1f} s"
        yield f"  equal             {self.equal:>9,}"
        yield f"  higher            {self.higher:>9,}{self._why()}"
        yield f"  lower             {self.lower:>9,}"

    def _why(self) -> str:
        if not self.higher:
            return "   the killed consumer had written nothing that it had not committed"
        return (
            f"   {self.surplus:,} events counted twice: the killed consumer had written them,"
            " but not committed"
        )


def demo() -> int:
    """Play the demo; return 0 if no counter is too low, else 1."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dynatomic-demo-")))
        settings = Settings(group_id="demo", tables=(TABLE,))
        topics = {settings.topic: PARTITIONS, settings.dead_letters: 1}
        embedded = stack.enter_context(Embedded(topics, {TABLE: KeySchema("pk")}))
        settings = Settings(
            bootstrap_servers=embedded.bootstrap_servers, group_id="demo", tables=(TABLE,)
        )
        _say(f"broker {embedded.bootstrap_servers}, table {embedded.endpoint_url}")
        began = time.monotonic()
        consumers = [
            stack.enter_context(_consumer(folder / f"consumer-{i}.log", embedded.environment()))
            for i in range(CONSUMERS)
        ]
        _say(f"{CONSUMERS} consumers in one group, windows of {WINDOW_MS} ms")
        expected = _produce(settings, consumers)
        _drain(settings, consumers)
        seconds = time.monotonic() - began
        for each in consumers[1:]:
            each.stop()
        written = [line for each in consumers for line in each.lines("window written")]
        result = _compare(
            expected,
            _read(embedded.endpoint_url, expected),
            requests=sum(line["requests"] for line in written),
            writes=sum(line["counters"] for line in written),
            seconds=seconds,
        )
    for line in result.lines():
        _say(line)
    if result.lower:
        _say("a counter is too low: at-least-once is broken, please report this")
    return 1 if result.lower else 0


@dataclass(frozen=True, slots=True)
class _Child:
    process: subprocess.Popen[bytes]
    log: Path

    def lines(self, event: str) -> list[dict[str, Any]]:
        """Return the log lines of one event; the last line may be cut off by the kill."""
        found = []
        for text in self.log.read_text().splitlines():
            try:
                line = json.loads(text)
            except ValueError:
                continue
            if line["event"] == event:
                found.append(line)
        return found

    def check(self) -> None:
        """Raise DynatomicError if it has ended."""
        if (code := self.process.poll()) is not None:
            tail = " | ".join(self.log.read_text().splitlines()[-3:])
            raise DynatomicError(f"a consumer ended with {code}: {tail}")

    def stop(self) -> None:
        """End it in order."""
        self.process.terminate()
        if (code := self.process.wait(PATIENCE_S)) != 0:
            raise DynatomicError(f"a consumer did not stop in order but with {code}")


@contextmanager
def _consumer(log: Path, environment: Mapping[str, str]) -> Iterator[_Child]:
    command = [
        *(sys.executable, "-m", "consumer", "run"),
        *("--group-id", "demo", "--table", TABLE, "--window-ms", str(WINDOW_MS)),
        # A dead member is noticed within 2 s here; Kafka's default is 45 s.
        *("-X", "session.timeout.ms=2000", "-X", "heartbeat.interval.ms=500"),
        *("--log-level", "debug"),
    ]
    with log.open("wb") as out:
        process = subprocess.Popen(  # noqa: S603 - a fixed command
            command, env=dict(environment), stdin=subprocess.DEVNULL, stdout=out, stderr=out
        )
    try:
        yield _Child(process, log)
    finally:
        process.kill()
        process.wait()


def _produce(settings: Settings, consumers: list[_Child]) -> Counter[str]:
    """Emit the events in `PRODUCE_S` seconds, and kill the first consumer when half are out."""
    rows = list(samples(table=TABLE, count=EVENTS, rows=COUNTERS, seed=1))
    chunk = 1000
    began = time.monotonic()
    with (
        progress_bar("events", EVENTS) as advance,
        Emitter(settings.bootstrap_servers, topic=settings.topic) as emit,
    ):
        for start in range(0, EVENTS, chunk):
            if start == EVENTS // 2:
                _kill(consumers[0])
            for row in rows[start : start + chunk]:
                emit(row)
            advance(chunk)
            ahead = (start + chunk) / EVENTS * PRODUCE_S - (time.monotonic() - began)
            time.sleep(max(0.0, ahead))
    expected: Counter[str] = Counter()
    for row in rows:
        expected[row.key] += row.incr
    return expected


def _kill(child: _Child) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not child.lines("window written"):
        child.check()
        if time.monotonic() > deadline:
            raise DynatomicError(f"a consumer wrote nothing within {PATIENCE_S:.0f} s")
        time.sleep(0.05)
    child.process.kill()
    child.process.wait()
    _say("half-way: consumer 1 killed with SIGKILL, the others take over")


def _drain(settings: Settings, consumers: list[_Child]) -> None:
    """Wait until the group has committed all that is in the topic."""
    reader: Consumer = new_consumer(consumer_config(settings))
    deadline = time.monotonic() + PATIENCE_S
    try:
        ends = watermarks(reader, settings.topic)
        if any(marks.low for marks in ends.values()):
            raise DynatomicError("the embedded broker has dropped events; run the demo again")
        places = [TopicPartition(settings.topic, number) for number in ends]
        while True:
            found = reader.committed(places, timeout=PATIENCE_S)
            if all(place.offset >= ends[place.partition].high for place in found):
                return
            for each in consumers[1:]:
                each.check()
            if time.monotonic() > deadline:
                raise DynatomicError(f"not drained within {PATIENCE_S:.0f} s")
            time.sleep(0.1)
    finally:
        reader.close()


def _read(endpoint_url: str, keys: Iterable[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    names = list(keys)
    for start in range(0, len(names), _READ_BATCH):
        wanted = [{"pk": {"S": key}} for key in names[start : start + _READ_BATCH]]
        request = {"RequestItems": {TABLE: {"Keys": wanted, "ConsistentRead": True}}}
        answer = cast("dict[str, Any]", call_dynamodb(endpoint_url, "BatchGetItem", request))
        for item in answer["Responses"][TABLE]:
            found[item["pk"]["S"]] = int(item["count"]["N"])
    return found


def _compare(
    expected: Mapping[str, int],
    found: Mapping[str, int],
    *,
    requests: int,
    writes: int,
    seconds: float,
) -> Result:
    differences = [found.get(key, 0) - total for key, total in expected.items()]
    return Result(
        requests=requests,
        writes=writes,
        seconds=seconds,
        equal=sum(d == 0 for d in differences),
        higher=sum(d > 0 for d in differences),
        lower=sum(d < 0 for d in differences),
        surplus=sum(d for d in differences if d > 0),
    )


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
