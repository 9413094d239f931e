"""``dynatomic demo``: counts events on this machine, and kills a consumer meanwhile.

With ``stay`` it continues afterwards, so that the other commands can be tried.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path
from threading import Event
from typing import Any, Literal

from confluent_kafka import Consumer, TopicPartition

from dynatomic.config.settings import Settings
from dynatomic.console import progress_bar
from dynatomic.errors import DynatomicError
from dynatomic.kafka.client import consumer_config, new_consumer, watermarks
from dynatomic.operations.demo_shell import on_terminal, shell_beside
from dynatomic.operations.demo_workloads import TABLE, Workload, api_workload, row_workload
from dynatomic.testing.embedded import Embedded

EVENTS, CONSUMERS, PARTITIONS = 100_000, 3, 6
WINDOW_MS = 500
PRODUCE_S = 8.0  # long enough for several windows
PATIENCE_S = 60.0
EXACTLY_ONCE = ("--processing-guarantee", "exactly-once")
# The embedded broker drops its oldest messages when it is full: at this rate after some hours.
STAY_EVENTS_S = 20
# The consumer ends when the demo has ended, which closes its stdin.
_CHILD = """
import os, sys, threading
threading.Thread(target=lambda: (os.read(0, 1), os._exit(1)), daemon=True).start()
from dynatomic.__main__ import main
sys.exit(main())
"""


@dataclass(frozen=True, slots=True)
class DemoResult:
    """What the consumers logged: requests, counters written, events kept out by a fence."""

    counters: int
    requests: int
    writes: int
    suppressed: int
    seconds: float

    def lines(self) -> Iterator[str]:
        """Yield the lines that the demo prints."""
        per_write = EVENTS / max(1, self.writes)
        yield f"  events            {EVENTS:>9,}"
        yield f"  counters          {self.counters:>9,}"
        yield f"  requests          {self.requests:>9,}"
        yield f"  events per write  {per_write:>9.1f}"
        yield f"  time              {self.seconds:>7.1f} s"
        yield f"  kept out          {self.suppressed:>9,}   events read twice, by the fences"


def demo(*, stay: bool = False, events: Literal["rows", "json"] = "rows") -> int:
    """Run the demo, ending with ``dynatomic verify``; return the exit code of that.

    ``events`` are row events, or requests to an API in JSON, which a counters file declares.
    With ``stay`` the consumers continue until Ctrl-C, with `STAY_EVENTS_S` events a second.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dynatomic-demo-")))
        is_json = events == "json"
        workload = api_workload(EVENTS, 1, folder) if is_json else row_workload(EVENTS, 1)
        for line in workload.introduction:
            _say(line)
        settings = Settings(group_id="demo", tables=(TABLE,))
        topics = {settings.topic: PARTITIONS, settings.dead_letters: 1}
        embedded = stack.enter_context(Embedded(topics, {TABLE: workload.keys}))
        settings = Settings(
            bootstrap_servers=embedded.bootstrap_servers, group_id="demo", tables=(TABLE,)
        )
        _say(f"broker {embedded.bootstrap_servers}, table {embedded.endpoint_url}")
        started = time.monotonic()
        consumers = [
            stack.enter_context(
                _consumer(folder / f"consumer-{i}.log", embedded.environment(), workload)
            )
            for i in range(CONSUMERS)
        ]
        _say(f"{CONSUMERS} consumers in one group, exactly-once, windows of {WINDOW_MS} ms")
        _say(f"what one of them does: {consumers[-1].page()}")
        _produce(settings, workload, consumers)
        _drain(settings, consumers)
        seconds = time.monotonic() - started
        if not stay:
            _stop(consumers[1:])
        written = [line for consumer in consumers for line in consumer.lines("window written")]
        fenced = [line for consumer in consumers for line in consumer.lines("fence refused")]
        result = DemoResult(
            counters=workload.counters,
            requests=sum(line["requests"] for line in written),
            writes=sum(line["counters"] for line in written),
            suppressed=sum(line["events"] for line in fenced),
            seconds=seconds,
        )
        for line in result.lines():
            _say(line)
        code = _verify(embedded.environment(), workload)
        if stay:
            _stay(settings, workload, embedded.environment(), consumers[1:])
            _stop(consumers[1:])
        return code


def _stop(consumers: list["_Child"]) -> None:
    for consumer in consumers:
        consumer.stop()


def _stay(
    settings: Settings,
    workload: Workload,
    environment: Mapping[str, str],
    consumers: list["_Child"],
) -> None:
    """Emit `STAY_EVENTS_S` events a second, for the other commands to show.

    On a terminal it runs a shell that has the settings, and ends with it. Elsewhere it prints the
    settings and continues until Ctrl-C.
    """
    variables = {k: v for k, v in environment.items() if k.startswith(("AWS_", "DYNATOMIC_"))} | {
        "DYNATOMIC_GROUP_ID": settings.group_id,
        workload.variable: workload.arguments[1],
        "DYNATOMIC_PROCESSING_GUARANTEE": EXACTLY_ONCE[1],
    }
    indexes = count()

    def emit(ended: Event) -> None:
        with workload.sender(settings) as send:
            while not ended.wait(1.0):
                for index in islice(indexes, STAY_EVENTS_S):
                    send(index)
                for consumer in consumers:
                    consumer.check()

    if on_terminal():
        _say(f"a shell with the settings of the demo, which emits {STAY_EVENTS_S} events a second;")
        _say("try: dynatomic lag, dynatomic top, dynatomic verify; exit ends the demo")
        shell_beside(variables, emit)
        return
    _say(f"continues with {STAY_EVENTS_S} events a second until Ctrl-C; in another terminal:")
    _say(f"export {' '.join(f'{name}={value}' for name, value in sorted(variables.items()))}")
    try:
        emit(Event())
    except KeyboardInterrupt:
        _say("")


def _verify(environment: Mapping[str, str], workload: Workload) -> int:
    command = ["verify", "--group-id", "demo", *workload.arguments, *EXACTLY_ONCE]
    _say(f"$ dynatomic {' '.join(command)}")
    done = subprocess.run(  # noqa: S603 - a fixed command
        [sys.executable, "-m", "dynatomic", *command],
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        check=False,
    )
    return done.returncode


@dataclass(frozen=True, slots=True)
class _Child:
    process: subprocess.Popen[bytes]
    log: Path

    def lines(self, event: str) -> list[dict[str, Any]]:
        """Return the log lines of one event; the last line may be cut off by the kill."""
        events = []
        for text in self.log.read_text().splitlines():
            try:
                line = json.loads(text)
            except ValueError:  # the child is still writing this line, or was killed in it
                continue
            if line["event"] == event:
                events.append(line)
        return events

    def page(self) -> str:
        """Return the URL of its status page when it serves one."""
        deadline = time.monotonic() + PATIENCE_S
        while not (events := self.lines("serving")):
            self.check()
            if time.monotonic() > deadline:
                raise DynatomicError(f"a consumer served no page within {PATIENCE_S:.0f} s")
            time.sleep(0.05)
        url: str = events[0]["url"]
        return url

    def check(self) -> None:
        """Raise DynatomicError if it has ended."""
        if (code := self.process.poll()) is not None:
            tail = " | ".join(self.log.read_text().splitlines()[-3:])
            raise DynatomicError(f"a consumer ended with {code}: {tail}")

    def stop(self) -> None:
        """Stop it with SIGTERM, and wait for it."""
        self.process.terminate()
        if (code := self.process.wait(PATIENCE_S)) != 0:
            raise DynatomicError(f"a consumer did not stop with exit code 0 but with {code}")


@contextmanager
def _consumer(log: Path, environment: Mapping[str, str], workload: Workload) -> Iterator[_Child]:
    command = [
        *(sys.executable, "-c", _CHILD, "run"),
        *("--group-id", "demo", *workload.arguments, "--window-ms", str(WINDOW_MS)),
        *EXACTLY_ONCE,
        # Kafka notices a dead member after 2 s then; its default is 45 s.
        *("-X", "session.timeout.ms=2000", "-X", "heartbeat.interval.ms=500"),
        *("--log-level", "debug"),
    ]
    with log.open("wb") as out:
        process = subprocess.Popen(  # noqa: S603 - a fixed command
            command,
            env=dict(environment),
            stdin=subprocess.PIPE,
            stdout=out,
            stderr=out,
            start_new_session=True,  # Ctrl-C goes to the demo only, which stops the consumers
        )
    try:
        yield _Child(process, log)
    finally:
        process.kill()
        process.communicate()


def _produce(settings: Settings, workload: Workload, consumers: list[_Child]) -> None:
    """Emit the events in `PRODUCE_S` seconds, and kill the first consumer after half of them."""
    chunk = 1000
    started = time.monotonic()
    with (
        progress_bar("events", EVENTS) as advance,
        workload.sender(settings) as send,
    ):
        for start in range(0, EVENTS, chunk):
            if start == EVENTS // 2:
                _kill(consumers[0])
            for index in range(start, start + chunk):
                send(index)
            advance(chunk)
            ahead = (start + chunk) / EVENTS * PRODUCE_S - (time.monotonic() - started)
            time.sleep(max(0.0, ahead))


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
    """Wait until the group has committed the end offsets of the topic."""
    reader: Consumer = new_consumer(consumer_config(settings))
    deadline = time.monotonic() + PATIENCE_S
    try:
        ends = watermarks(reader, settings.topic)
        if any(marks.low for marks in ends.values()):
            raise DynatomicError("the embedded broker has dropped events; run the demo again")
        topic_partitions = [TopicPartition(settings.topic, partition) for partition in ends]
        while True:
            committed = reader.committed(topic_partitions, timeout=PATIENCE_S)
            if all(tp.offset >= ends[tp.partition].high for tp in committed):
                return
            for consumer in consumers[1:]:
                consumer.check()
            if time.monotonic() > deadline:
                raise DynatomicError(f"not drained within {PATIENCE_S:.0f} s")
            time.sleep(0.1)
    finally:
        reader.close()


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
