"""``dynatomic run``: puts the worker together, runs it until a signal or the end, and closes it."""

import gc
import logging
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from dynatomic.config.settings import Settings
from dynatomic.dead_letters.store import DeadLetters
from dynatomic.dynamodb.client import make_client
from dynatomic.dynamodb.counters import Counters
from dynatomic.dynamodb.meter import Meter
from dynatomic.dynamodb.statements import Step
from dynatomic.dynamodb.tables import describe
from dynatomic.dynamodb.writer import Writer
from dynatomic.errors import DynatomicError, UnavailableError
from dynatomic.events.decoder import Decoder
from dynatomic.events.schema import load_writer_schema
from dynatomic.kafka.client import (
    Watermarks,
    admin_config,
    consumer_config,
    new_admin,
    new_consumer,
    new_producer,
    producer_config,
    reason,
    reset_policy,
    topic_partitions,
    wait_for_kafka,
    watermarks,
)
from dynatomic.kafka.groups import check_guarantee
from dynatomic.kafka.replaceable import ReplaceableClient
from dynatomic.kafka.topic_identity import TopicIdCheck, topic_id_source
from dynatomic.kafka.topics import check_not_compacted, identity_of
from dynatomic.retry import until
from dynatomic.service.dry_run import DiscardedLetters, SumPrinter
from dynatomic.service.end_offsets import EndOffsetPoller, end_offset_source
from dynatomic.service.exit_conditions import DrainCondition, RestartDecision
from dynatomic.service.server import serving
from dynatomic.service.signals import Signals
from dynatomic.service.status import ServiceParts, Status
from dynatomic.telemetry.logs import LastProblem
from dynatomic.worker.loop import Worker
from dynatomic.worker.offsets import Offsets
from dynatomic.worker.refused import ReadAgain, read_again

if TYPE_CHECKING:
    from dynatomic.events.row import KeySchema

log = logging.getLogger(__name__)

START_S = 30.0
"""How long servers may take to answer when the consumer starts."""


def run(settings: Settings, endpoint_url: str | None, *, once: bool, dry_run: bool) -> int:
    """Consume until SIGTERM or SIGINT, or with ``once`` to the end offsets found now.

    Returns the exit code: 0, or 1 if the windows could not be finished within the bound. Raises
    ConfigError or UnavailableError when it cannot start, DynatomicError when it cannot go on.
    """
    with (
        Signals(settings.shutdown_timeout_ms / 1000) as signals,
        LastProblem() as trouble,
        serving(settings) as view,
    ):
        parts, writer = _assembled(settings, endpoint_url, dry_run=dry_run)
        worker, status = parts.worker, Status(parts, trouble)
        view.attach(status)
        # Windows hold millions of small tuples and no cycles: to look for cycles in them was the
        # largest cost found (CPU an event 2.5 us instead of 2.1, 4.5 instead of 2.8 where
        # increments vary).
        gc.freeze()
        gc.set_threshold(100_000, 50, 50)
        try:
            return _loop(worker, settings, signals, once=once, dry_run=dry_run, status=status)
        except KafkaException as error:
            raise DynatomicError(f"Kafka: {reason(error)}; start it again") from None
        finally:
            status.stopping = True
            worker.close()
            if writer is not None:
                writer.close()
            log.info("stopped", extra={"fields": _counts(worker)})


def _assembled(
    settings: Settings, endpoint_url: str | None, *, dry_run: bool
) -> tuple[ServiceParts, Writer | None]:
    """Make the parts, once both servers answer; of a dry run there is no writer."""
    settings.require_tables()
    schema = load_writer_schema(settings.writer_schema)
    config = consumer_config(settings, eof=True)
    new_consumer(dict(config)).close()  # a wrong property is told before any server is asked
    counters = _open_tables(settings, endpoint_url, probe=not dry_run)
    wait_for_kafka(settings, START_S)
    check_not_compacted(settings)
    identity = _identity(settings, ReplaceableClient(lambda: new_admin(admin_config(settings))))
    decoder = Decoder.of(settings, counters.keys, schema)
    meter = Meter(counters.execute)
    letters = DiscardedLetters() if dry_run else _dead_letters(settings, identity.topic_id)
    offsets = Offsets(
        settings.topic,
        settings.group_id,
        topic_id=identity.topic_id,
        reset=reset_policy(settings),
        commits=not dry_run,
    )
    first = Step.UPDATE if settings.write_mode == "batch" else Step.UPDATE_ITEM
    writer = (
        None if dry_run else Writer(meter, max_requests=settings.max_requests, first_step=first)
    )
    worker = Worker(
        # A dry run is what shows why there are too many dead letters.
        replace(settings, dead_letter_max_ratio=1.0) if dry_run else settings,
        new_consumer,
        config,
        decoder,
        writer or SumPrinter(),
        letters,
        _reader(settings, config),
        offsets,
        identity,
    )
    ends = EndOffsetPoller(
        worker.progress.brokers,
        end_offset_source(ReplaceableClient(lambda: new_consumer(dict(config))), settings.topic),
        tells_spares=settings.group_protocol == "classic",
    )
    return ServiceParts(settings, worker, decoder, letters, offsets, ends, counters, meter), writer


def _loop(  # noqa: PLR0913 - what the flags say
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
    drain = DrainCondition(worker, settings, ends) if once else None
    if dry_run:
        worker.assign(_group_offsets(worker.consumer, settings, ends))
    else:
        topic_partitions(worker.consumer, settings.dead_letters)
        worker.subscribe()
    signals.ready()
    log.info(
        "started",
        extra={"fields": {"topic": settings.topic, "group": settings.group_id, "dry_run": dry_run}},
    )
    give_up, lost = RestartDecision(worker.consumer, settings.topic), None
    while not signals.stop.is_set():
        worker.tick()
        if status is not None:
            status.after_tick()
        lost = give_up.error_for(worker.progress.client_stall)
        if lost is not None or (drain is not None and drain.done()):
            break
    if status is not None:
        status.stopping = True
    if lost is not None:
        log.error("ends for want of progress", extra={"fields": {"cause": str(lost)}})
        signals.bound()
    finished = worker.shut_down()
    if not finished:
        log.error(
            "windows not finished within the bound; their events will be read again",
            extra={"fields": {"shutdown_timeout_ms": settings.shutdown_timeout_ms}},
        )
    if lost is not None:
        raise lost
    return 0 if finished else 1


def _open_tables(settings: Settings, endpoint_url: str | None, *, probe: bool) -> Counters:
    """Describe the tables and, unless nothing will be written, check that they may be written."""
    client = make_client(endpoint_url, max_requests=settings.max_requests)
    deadline = time.monotonic() + START_S
    keys: dict[str, KeySchema] = {}
    for table in settings.tables:
        found = until(deadline, lambda: describe(client, table))  # noqa: B023 - called at once
        keys[table] = found
        if probe:
            counters = Counters(client, {table: found})
            until(deadline, lambda: counters.check_access(table, settings.write_mode))  # noqa: B023
    return Counters(client, keys)


def _counts(worker: Worker) -> dict[str, int]:
    counts = {"events": worker.events}
    return counts | (
        {"suppressed": worker.settlement.tally.suppressed} if worker.settings.exactly_once else {}
    )


def _identity(settings: Settings, admin: ReplaceableClient[AdminClient]) -> TopicIdCheck:
    found = identity_of(admin.get(), settings)
    check_guarantee(admin.get(), settings)
    return TopicIdCheck(settings.topic, found, topic_id_source(admin, settings.topic))


def _dead_letters(settings: Settings, topic_id: str | None) -> DeadLetters:
    producer = ReplaceableClient(lambda: new_producer(producer_config(settings)))
    return DeadLetters(producer, settings.dead_letters, settings.group_id, topic_id=topic_id)


def _reader(settings: Settings, config: Mapping[str, Any]) -> ReadAgain:
    def read(partition: int, offsets: Iterable[int]) -> dict[int, Any]:
        return read_again(lambda: new_consumer(dict(config)), settings.topic, partition, offsets)

    return read


def _group_offsets(
    consumer: Consumer, settings: Settings, ends: Mapping[int, Watermarks]
) -> list[TopicPartition]:
    """Return where the group stands, without joining it."""
    default = OFFSET_END if reset_policy(settings) == "latest" else OFFSET_BEGINNING
    places = [TopicPartition(settings.topic, number) for number in ends]

    def ask() -> list[TopicPartition]:
        try:
            return consumer.committed(places, timeout=5.0)
        except KafkaException as error:  # the group's coordinator may be moving
            raise UnavailableError(
                f"group {settings.group_id}: {reason(error)}; try again"
            ) from None

    found = until(time.monotonic() + START_S, ask)
    return [
        TopicPartition(p.topic, p.partition, p.offset if p.offset >= 0 else default) for p in found
    ]
