"""``dynatomic verify``: recounts the topic, compares it with the tables, and prints the verdict."""

import gc
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from confluent_kafka import Consumer
from confluent_kafka.admin import AdminClient

from dynatomic.config.settings import Settings
from dynatomic.counting.from_settings import load_counters
from dynatomic.dead_letters.topic import reader_config
from dynatomic.dynamodb.client import make_client
from dynatomic.dynamodb.items import read_items, scan_items
from dynatomic.dynamodb.tables import describe_with_ttl
from dynatomic.errors import ConfigError, DynatomicError, UnavailableError
from dynatomic.events.payload import PayloadReader
from dynatomic.events.schema import load_writer_schema
from dynatomic.kafka.client import (
    admin_config,
    consumer_config,
    kafka_errors,
    new_admin,
    new_consumer,
    watermarks,
)
from dynatomic.kafka.event_reader import event_reader
from dynatomic.kafka.reachability import START_S, wait_for_kafka
from dynatomic.kafka.topics import check_not_compacted, required_topic_id, topic_id
from dynatomic.verify.baseline import Baseline, Snapshot
from dynatomic.verify.comparison import Comparison
from dynatomic.verify.group_state import GroupState
from dynatomic.verify.letters import GroupLetters
from dynatomic.verify.recount import Recount
from dynatomic.verify.report import VerifyReport
from dynatomic.verify.sample import CounterSample


@dataclass(frozen=True, slots=True)
class VerifyOptions:
    """The options of the command."""

    baseline: Path | None = None
    snapshot: Path | None = None
    sample: int | None = None
    seed: int = 0
    limit: int = 20
    strict: bool = False
    output: Literal["text", "json"] = "text"
    force: bool = False


def verify(settings: Settings, endpoint_url: str | None, options: VerifyOptions) -> int:
    """Recount, compare and print; return 0, or 1 if a counter differs.

    With ``strict`` it returns 1 too if dead letters wait for a replay, or if they cannot be read.

    Raises ConfigError if the topic or the baseline does not have the events to recount, and
    UnavailableError if a server does not answer or an at-least-once group is not idle.
    """
    if options.snapshot and options.snapshot.is_file() and not options.force:
        raise DynatomicError(
            f"--snapshot {options.snapshot}: the file exists; name another one, or replace it with "
            "--force"
        )
    with ExitStack() as stack:
        snapshot = stack.enter_context(Snapshot(options.snapshot)) if options.snapshot else None
        verdict = _compare(settings, endpoint_url, options, snapshot, stack)
        if snapshot is not None and verdict.ok:
            snapshot.complete()
    if options.sample is not None:
        size = f"{options.sample:,}"
        verdict.notes.append(f"a sample of at most {size} counters, --seed {options.seed}")
    if options.snapshot:
        done = (
            "written"
            if verdict.ok
            else "not written, because counters differ; leave out --baseline to write it anyway"
        )
        verdict.notes.append(f"snapshot {options.snapshot}: {done}")
    lines = [verdict.json()] if options.output == "json" else verdict.text(options.limit)
    sys.stdout.writelines(f"{line}\n" for line in lines)
    waits = verdict.waiting is None or not verdict.waiting.is_empty
    return 1 if not verdict.ok or (options.strict and waits) else 0


def _compare(
    settings: Settings,
    endpoint_url: str | None,
    options: VerifyOptions,
    snapshot: Snapshot | None,
    stack: ExitStack,
) -> VerifyReport:
    settings, definition = load_counters(settings)
    tables = settings.require_tables()
    schema = load_writer_schema(settings.writer_schema)
    baseline = Baseline.open(options.baseline) if options.baseline else None
    client = make_client(endpoint_url, max_requests=settings.max_requests)
    keys = {table: describe_with_ttl(client, table) for table in tables}
    wait_for_kafka(settings, START_S)
    consumer = new_consumer(consumer_config(settings, eof=True))
    stack.callback(consumer.close)
    check_not_compacted(settings)
    admin = new_admin(admin_config(settings))
    identity = required_topic_id(admin, settings)
    if baseline:
        baseline.check(settings.topic, identity)
    reader = event_reader(settings, keys, definition)
    letters = GroupLetters(
        lambda: new_consumer(reader_config(settings)),
        settings,
        identity,
        None if definition else PayloadReader({}, writer_schema=schema),
        reader,
    )
    ttl_names = {table: schema.ttl_name for table, schema in keys.items() if schema.ttl_name}
    sample = CounterSample(options.sample, options.seed) if options.sample is not None else None
    gc.set_threshold(100_000, 50, 50)  # millions of counters without reference cycles
    comparison = Comparison(
        settings,
        consumer,
        GroupState(consumer, admin, settings, identity),
        lambda table, wanted, sleep: read_items(client, table, keys[table], wanted, sleep=sleep),
        lambda table: scan_items(client, table, keys[table]),
        Recount(reader, sample, ttl_names=ttl_names),
        identity,
        baseline,
        snapshot,
        letters,
    )
    try:
        with kafka_errors():
            verdict = comparison.run()
    except ConfigError:
        _check_same(admin, settings.topic, identity)  # the error may come from reading two topics
        raise
    _check_same(admin, settings.topic, identity)
    with kafka_errors():
        verdict.notes += _open_transactions(settings, consumer)
    if letters.problem:
        verdict.notes.append(
            f"dead letters were determined from the settings alone: {letters.problem}"
        )
    return verdict


def _open_transactions(settings: Settings, consumer: Consumer) -> Iterator[str]:
    """Yield a note for each partition of which an open transaction holds events back.

    No consumer can read these events, so they are in no sum.
    """
    config = consumer_config(settings) | {"isolation.level": "read_uncommitted"}
    with closing(new_consumer(config)) as uncommitted:
        # Requested first, so that a difference cannot come from later events.
        high = watermarks(uncommitted, settings.topic)
    for partition, stable in watermarks(consumer, settings.topic).items():
        held = high[partition].high - stable.high if partition in high else 0
        if held > 0:
            yield f"partition {partition}: an open transaction holds back {held} offsets"


def _check_same(admin: AdminClient, topic: str, identity: str | None) -> None:
    if topic_id(admin, topic) != identity:
        raise UnavailableError(
            f"topic {topic!r} was deleted and made again while it was read; verify again"
        )
