"""Builds the parts of a consumer, after Kafka and DynamoDB have answered."""

from dataclasses import dataclass, replace
from typing import Any

from dynatomic.config.settings import Settings
from dynatomic.counting.definition import CountersFile
from dynatomic.dynamodb.meter import Meter
from dynatomic.dynamodb.statements import Step
from dynatomic.dynamodb.writer import Writer
from dynatomic.kafka.client import (
    admin_config,
    new_admin,
    new_consumer,
    reset_policy,
)
from dynatomic.kafka.event_reader import event_reader
from dynatomic.kafka.reachability import wait_for_kafka
from dynatomic.kafka.replaceable import ReplaceableClient
from dynatomic.kafka.topics import check_not_compacted
from dynatomic.service.counters_change import check_no_other_counters, lettered, member_config
from dynatomic.service.dry_run import START_S, DiscardedLetters, SumPrinter
from dynatomic.service.end_offsets import EndOffsetPoller, end_offset_source
from dynatomic.service.fatal_batches import guard
from dynatomic.service.first_start import check_first_start
from dynatomic.service.forecast import Forecast
from dynatomic.service.parts import letter_store, message_reader, open_tables, topic_id_check
from dynatomic.service.schema_check import SCHEMA_WAIT_S, check_at_start
from dynatomic.service.without_letters import WithoutLettersReader
from dynatomic.worker.loop import Worker
from dynatomic.worker.offsets import Offsets
from dynatomic.worker.snapshot import SnapshotSource

READ_UNCOMMITTED = {"isolation.level": "read_uncommitted"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """The objects of a running consumer. A dry run has no writer."""

    worker: Worker
    writer: Writer | None
    end_offsets: EndOffsetPoller
    snapshots: SnapshotSource
    forecast: Forecast | None = None


def build(  # noqa: PLR0913 - what the parts are made of
    settings: Settings,
    client: Any,
    definition: CountersFile | None,
    *,
    dry_run: bool,
    check_start: bool,
    accept_counters: bool,
) -> Parts:
    """Build the parts, after Kafka and DynamoDB have answered."""
    fingerprint = definition.fingerprint if definition else None
    config = member_config(settings, fingerprint)
    counters = open_tables(settings, client, probe=not dry_run, timeout_s=START_S)
    check_at_start(definition, settings.topic)
    reader = event_reader(settings, counters.keys, definition, schema_wait_s=SCHEMA_WAIT_S)
    forecast = None
    if dry_run:
        forecast = Forecast(reader, settings.window_ms, exactly_once=settings.exactly_once)
    wait_for_kafka(settings, START_S)
    check_not_compacted(settings)
    if check_start:
        check_first_start(settings)
    settings, make_consumer = guard(settings)
    identity = topic_id_check(
        settings, fingerprint, ReplaceableClient(lambda: new_admin(admin_config(settings)))
    )
    if not accept_counters:
        check_no_other_counters(settings, identity.topic_id, fingerprint)
    has_new_counters = accept_counters and not dry_run
    if has_new_counters and settings.exactly_once:
        has_letter = lettered(settings, identity.topic_id, reader)
        reader = WithoutLettersReader(reader, has_letter)
    meter = Meter(counters.execute)
    letters = DiscardedLetters() if dry_run else letter_store(settings, identity.topic_id)
    offsets = Offsets(
        settings.topic,
        settings.group_id,
        topic_id=identity.topic_id,
        fingerprint=fingerprint,
        tables=settings.tables if settings.exactly_once else (),
        reset=reset_policy(settings),
        commits=not dry_run,
    )
    first = Step.UPDATE if settings.write_mode == "batch" else Step.UPDATE_ITEM
    writer = (
        None if dry_run else Writer(meter, max_requests=settings.max_requests, first_step=first)
    )
    worker = Worker(
        # A dry run shows why there are too many dead letters, so it does not end at them.
        replace(settings, dead_letter_max_ratio=1.0) if dry_run else settings,
        make_consumer=make_consumer,
        config=config,
        reader=forecast or reader,
        writer=writer or SumPrinter(),
        letters=letters,
        read_again=message_reader(settings, config),
        offsets=offsets,
        topic_id_check=identity,
        has_new_counters=has_new_counters,
    )
    end_offsets = EndOffsetPoller(
        worker.progress.brokers,
        end_offset_source(ReplaceableClient(lambda: new_consumer(dict(config))), settings.topic),
        end_offset_source(
            ReplaceableClient(lambda: new_consumer({**config, **READ_UNCOMMITTED})), settings.topic
        ),
    )
    snapshots = SnapshotSource(
        worker=worker,
        reader=forecast or reader,
        letters=letters,
        offsets=offsets,
        counters=counters,
        meter=meter,
        stalled_after_s=settings.progress_timeout_ms / 1000,
    )
    return Parts(
        worker=worker,
        writer=writer,
        end_offsets=end_offsets,
        snapshots=snapshots,
        forecast=forecast,
    )
