"""``dynatomic run``: builds the worker, runs it until a signal or the end, and closes it."""

import gc
import logging
import sys
from dataclasses import dataclass, replace
from typing import Any

from dynatomic.config.settings import Settings
from dynatomic.counting.definition import CountersFile
from dynatomic.counting.from_settings import load_counters
from dynatomic.dynamodb.client import make_client
from dynatomic.dynamodb.meter import Meter
from dynatomic.dynamodb.statements import Step
from dynatomic.dynamodb.writer import Writer
from dynatomic.errors import DynatomicError, GroupRefusedError
from dynatomic.events.schema import load_writer_schema
from dynatomic.kafka.admission import explain_refusal
from dynatomic.kafka.client import (
    admin_config,
    consumer_config,
    kafka_errors,
    new_admin,
    new_consumer,
    reset_policy,
    topic_partitions,
    watermarks,
)
from dynatomic.kafka.event_reader import event_reader
from dynatomic.kafka.group_process import describe_group_apart
from dynatomic.kafka.reachability import wait_for_kafka
from dynatomic.kafka.replaceable import ReplaceableClient
from dynatomic.kafka.topics import check_not_compacted
from dynatomic.service.counters_change import check_no_other_counters, lettered, member_config
from dynatomic.service.dry_run import DiscardedLetters, SumPrinter, group_offsets
from dynatomic.service.end_offsets import EndOffsetPoller, end_offset_source
from dynatomic.service.exit_conditions import DrainCondition, RestartDecision
from dynatomic.service.fatal_batches import guard
from dynatomic.service.first_start import StartOffset, check_first_start, with_start
from dynatomic.service.forecast import Forecast
from dynatomic.service.membership import MembershipCheck
from dynatomic.service.parts import letter_store, message_reader, open_tables, topic_id_check
from dynatomic.service.schema_check import SCHEMA_WAIT_S, check_at_start
from dynatomic.service.server import serving
from dynatomic.service.signals import Signals
from dynatomic.service.status import Status
from dynatomic.service.without_letters import WithoutLettersReader
from dynatomic.telemetry.logs import LastProblem
from dynatomic.worker.loop import Worker
from dynatomic.worker.offsets import Offsets
from dynatomic.worker.snapshot import SnapshotSource

log = logging.getLogger(__name__)

READ_UNCOMMITTED = {"isolation.level": "read_uncommitted"}

START_S = 30.0
"""How long Kafka and DynamoDB may take to answer when the consumer starts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Parts:
    """The objects of a running consumer. A dry run has no writer."""

    worker: Worker
    writer: Writer | None
    end_offsets: EndOffsetPoller
    snapshots: SnapshotSource
    forecast: Forecast | None = None


def run(  # noqa: PLR0913 -- the flags of the command
    settings: Settings,
    endpoint_url: str | None,
    *,
    once: bool,
    dry_run: bool,
    start: StartOffset | None = None,
    accept_counters: bool = False,
) -> int:
    """Consume until SIGTERM or SIGINT, or with ``once`` up to the end offsets at the start.

    Returns the exit code: 0, or 1 if the windows could not be finished within the bound. Raises
    ConfigError or UnavailableError if it cannot start, DynatomicError if it cannot continue.
    ``start`` is where a group without committed offsets starts, also if these may have expired.
    With ``accept_counters`` the group may have counted by another counters file until now.
    """
    settings, definition = load_counters(with_start(settings, start))
    client = _check(settings, endpoint_url)
    with (
        Signals(settings.shutdown_timeout_ms / 1000) as signals,
        LastProblem() as last_problem,
        serving(settings) as pages,
    ):
        parts = _build(
            settings,
            client,
            definition,
            dry_run=dry_run,
            check_start=not dry_run and start is None,
            accept_counters=dry_run or accept_counters,
        )
        worker = parts.worker
        status = Status(
            settings,
            parts.snapshots.take,
            lambda: parts.end_offsets.poll(worker.partitions),
            last_problem=last_problem,
        )
        pages.attach(status)
        # Windows hold millions of small tuples without reference cycles. The search for cycles was
        # the largest single cost: 2.5 us of CPU for each event instead of 2.1, and 4.5 instead of
        # 2.8 where increments vary.
        gc.freeze()
        gc.set_threshold(100_000, 50, 50)
        try:
            with kafka_errors(action="start it again"):
                return _loop(worker, settings, signals, once=once, dry_run=dry_run, status=status)
        except GroupRefusedError as refusal:
            raise explain_refusal(new_admin(admin_config(settings)), settings, refusal) from None
        finally:
            status.stopping = True
            worker.close()
            if parts.writer is not None:
                parts.writer.close()
            log.info("stopped", extra={"fields": _totals(settings, parts.snapshots)})
            if parts.forecast is not None:
                sys.stderr.writelines(f"{line}\n" for line in parts.forecast.lines())


def _check(settings: Settings, endpoint_url: str | None) -> Any:
    """Return the client. Raise ConfigError for what is found without a server.

    It is called before anything listens.
    """
    settings.require_tables()
    load_writer_schema(settings.writer_schema)
    new_consumer(consumer_config(settings, eof=True)).close()
    return make_client(endpoint_url, max_requests=settings.max_requests)


def _build(  # noqa: PLR0913 - what the parts are made of
    settings: Settings,
    client: Any,
    definition: CountersFile | None,
    *,
    dry_run: bool,
    check_start: bool,
    accept_counters: bool,
) -> _Parts:
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
    return _Parts(
        worker=worker,
        writer=writer,
        end_offsets=end_offsets,
        snapshots=snapshots,
        forecast=forecast,
    )


def _loop(  # noqa: PLR0913 - the flags of the command
    worker: Worker,
    settings: Settings,
    signals: Signals,
    *,
    once: bool,
    dry_run: bool,
    status: Status | None = None,
) -> int:
    topic_partitions(worker.consumer, settings.topic)
    ends = watermarks(worker.consumer, settings.topic) if once or dry_run else {}
    if once and all(marks.low == marks.high for marks in ends.values()):
        signals.ready()
        log.info("topic is empty", extra={"fields": {"topic": settings.topic}})
        return 0
    drain = DrainCondition(worker, settings, ends) if once else None
    if once:
        worker.drain_to = {partition: marks.high for partition, marks in ends.items()}
    if dry_run:
        worker.assign(group_offsets(worker.consumer, settings, ends))
    else:
        topic_partitions(worker.consumer, settings.dead_letters)
        worker.subscribe()
    signals.ready()
    log.info(
        "started",
        extra={"fields": {"topic": settings.topic, "group": settings.group_id, "dry_run": dry_run}},
    )
    error = _turn(worker, settings, signals, drain, status)
    if error is not None:
        signals.bound()
    if drain is not None:
        worker.abandon(drain.blocked)
    finished = worker.shut_down()
    if not finished:
        log.error(
            "windows not finished within the bound; their events will be read again",
            extra={"fields": {"shutdown_timeout_ms": settings.shutdown_timeout_ms}},
        )
    if error is not None:
        raise error
    return 0 if finished else 1


def _turn(
    worker: Worker,
    settings: Settings,
    signals: Signals,
    drain: DrainCondition | None,
    status: Status | None,
) -> DynatomicError | None:
    """Turn the loop until it has to end; return the error to end with, None if there is none."""
    restart, error = RestartDecision(worker.consumer, settings.topic), None
    membership = MembershipCheck(worker, settings, lambda: describe_group_apart(settings))
    while not signals.stop.is_set():
        worker.tick()
        if status is not None:
            status.after_tick()
        error = restart.error_for(worker.progress.client_stall)
        if error is not None:
            log.error("exits without progress", extra={"fields": {"cause": str(error)}})
        elif drain is not None and drain.done():
            error = drain.error
        else:
            error = membership.poll()
            if error is None:
                continue
        break
    if status is not None:
        status.stopping = True
    return error


def _totals(settings: Settings, snapshots: SnapshotSource) -> dict[str, int]:
    snapshot = snapshots.take()
    totals = {"events": snapshot.events}
    return totals | ({"suppressed": snapshot.suppressed_events} if settings.exactly_once else {})
