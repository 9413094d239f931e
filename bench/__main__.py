"""``python -m bench``: fills two topics on a real Kafka, runs all in turn, prints two tables."""

import argparse
import json
import sys
import time
import uuid
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

from bench import measure, report
from bench.sink import Sink
from consumer.errors import DynatomicError
from consumer.kafka import admin_config, new_admin
from consumer.settings import Settings
from consumer.topics import create_topics
from tests.servers import KafkaServer


def main() -> int:
    """Measure, print and store; return the exit code."""
    options = _options()
    events, runs = (100_000, 1) if options.quick else (options.events, options.runs)
    machine = report.machine()
    try:
        with ExitStack() as stack:
            servers = options.bootstrap_servers
            if servers is None:
                _say("starting Kafka")
                servers = stack.enter_context(KafkaServer()).bootstrap_servers
            sink = stack.enter_context(Sink())
            topics = [_topic(stack, servers, workload, events) for workload in measure.WORKLOADS]
            measured = list(measure.rounds(servers, sink, topics, runs, _say))
            writes = [
                measure.write(sink, kind, counters, number)
                for number in range(1, runs + 1)
                for kind, counters in (
                    ("write", max(100, events // 20)),
                    ("update-item", max(10, events // 1000)),
                )
            ]
    except DynatomicError as error:
        _say(f"error: {error}")
        return error.exit_code
    rows, write_rows = report.summary(measured), report.write_summary(writes)
    print(report.tables(rows, write_rows), end="")
    _store(
        {
            "machine": machine,
            "events": events,
            "rows": rows,
            "writes": write_rows,
            "runs": [asdict(run) for run in (*measured, *writes)],
        },
        options.results,
    )
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--events", type=_positive, default=2_000_000, help="events a topic")
    parser.add_argument("--runs", type=_positive, default=3, help="how often each is run, in turn")
    parser.add_argument("--quick", action="store_true", help="100,000 events, once: does it work?")
    parser.add_argument("--bootstrap-servers", help="a Kafka of your own; default: one is started")
    parser.add_argument(
        "--results",
        type=Path,
        default=Path(__file__).with_name("results"),
        help="the folder for the JSON (%(default)s)",
    )
    return parser.parse_args()


def _topic(
    stack: ExitStack, servers: str, workload: measure.Workload, events: int
) -> measure.Topic:
    """Make and fill a topic that is deleted when the stack unwinds."""
    started = time.monotonic()
    settings = Settings(bootstrap_servers=servers, topic=f"bench-{uuid.uuid4().hex[:12]}")
    create_topics(settings, partitions=measure.PARTITIONS)
    stack.callback(_delete, settings)
    topic = measure.fill(servers, settings.topic, workload, events)
    took = time.monotonic() - started
    _say(f"{events:,} events stored, {workload.name} ({took:.0f} s)")
    return topic


def _delete(settings: Settings) -> None:
    admin = new_admin(admin_config(settings))
    for deleted in admin.delete_topics([settings.topic, settings.dead_letters]).values():
        deleted.result(30)


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def _store(results: dict[str, object], folder: Path) -> None:
    """Keep the results in a folder that git does not look into."""
    if not folder.exists():
        folder.mkdir(parents=True)
        (folder / ".gitignore").write_text("*\n")
    path = folder / f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}.json"
    path.write_text(json.dumps(results, indent=1) + "\n")
    _say(f"stored in {path}")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
