"""``dynatomic run``: runs the worker until a signal or the end, and closes it."""

import gc
import logging
import sys
from typing import Any

from dynatomic.config.settings import Settings
from dynatomic.counting.from_settings import load_counters
from dynatomic.dynamodb.client import make_client
from dynatomic.errors import DynatomicError, GroupRefusedError
from dynatomic.events.schema import load_writer_schema
from dynatomic.kafka.admission import explain_refusal
from dynatomic.kafka.client import (
    admin_config,
    consumer_config,
    kafka_errors,
    new_admin,
    new_consumer,
    topic_partitions,
    watermarks,
)
from dynatomic.kafka.group_process import describe_group_apart
from dynatomic.service.build import build
from dynatomic.service.dry_run import group_offsets
from dynatomic.service.exit_conditions import DrainCondition, RestartDecision
from dynatomic.service.first_start import StartOffset, with_start
from dynatomic.service.membership import MembershipCheck
from dynatomic.service.server import serving
from dynatomic.service.signals import Signals
from dynatomic.service.status import Status
from dynatomic.telemetry.logs import LastProblem
from dynatomic.worker.loop import Worker
from dynatomic.worker.snapshot import SnapshotSource

log = logging.getLogger(__name__)


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
        parts = build(
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
