"""``dynatomic produce``: sends row events from a file, or sample events."""

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from dynatomic.config.settings import Settings
from dynatomic.errors import DeliveryError, RowError
from dynatomic.events.row import Row, check_table_name
from dynatomic.events.samples import _CHUNK, Distribution, samples
from dynatomic.kafka.client import admin_config, new_admin, topic_partitions
from dynatomic.kafka.emitter import Emitter

_logger = logging.getLogger(__name__)

INTERRUPTED_S = 5.0
"""How long the rows that were sent before an interrupt may take to be confirmed."""

Progress = Callable[[int], None]


def produce_samples(  # noqa: PLR0913 - one a flag
    settings: Settings,
    *,
    table: str,
    count: int,
    rows: int = 1000,
    distribution: Distribution = "uniform",
    seed: int = 0,
    progress: Progress | None = None,
) -> int:
    """Send `samples` to the topic; return their number when all are stored.

    Raises ConfigError for a wrong table name or a missing topic, UnavailableError if no broker
    answers, and DeliveryError as `Emitter` does.
    """
    check_table_name(table)
    made = samples(table=table, count=count, rows=rows, distribution=distribution, seed=seed)
    with _emitter(settings) as emit, _reporting_interrupt(settings, emit):
        _send(emit, made, progress)
    return emit.confirmed


def produce_file(
    settings: Settings, lines: Iterable[str], *, progress: Progress | None = None
) -> int:
    """Send the row of each line, a JSON object with a row's fields; return how many are stored.

    Blank lines are skipped. Raises RowError with the line number for a line that is not a row; the
    rows before it are stored then. Raises the other errors of `produce_samples` too.
    """
    with _emitter(settings) as emit, _reporting_interrupt(settings, emit):
        _send(emit, _rows(emit, lines), progress)
    return emit.confirmed


def _emitter(settings: Settings) -> Emitter:
    # A missing topic or broker is noticed now, not when the first rows have timed out.
    topic_partitions(new_admin(admin_config(settings)), settings.topic)
    return Emitter(
        settings.bootstrap_servers,
        topic=settings.topic,
        properties=settings.librdkafka,
        kafka_auth=settings.kafka_auth,
        tls_verification=settings.tls_verification,
    )


@contextmanager
def _reporting_interrupt(settings: Settings, emit: Emitter) -> Iterator[None]:
    """After an interrupt, log how many rows are stored, and let it pass."""
    try:
        yield
    except KeyboardInterrupt:
        try:
            emit.flush(INTERRUPTED_S)
        except DeliveryError as error:
            _logger.error("events not delivered", extra={"fields": {"cause": str(error)}})  # noqa: TRY400 - one line
        stored = emit.confirmed
        _logger.warning(
            "interrupted",
            extra={
                "fields": {"events": stored, "topic": settings.topic},
                "sentence": f"interrupted: {stored:,} events are stored in topic {settings.topic}",
            },
        )
        raise


def _send(emit: Emitter, rows: Iterable[Row], progress: Progress | None) -> None:
    sent = 0
    for row in rows:
        emit(row)
        sent += 1
        if progress and not sent % _CHUNK:
            progress(_CHUNK)
    if progress:
        progress(sent % _CHUNK)


def _rows(emit: Emitter, lines: Iterable[str]) -> Iterator[Row]:
    for line_number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            yield Row.from_json(line)
        except RowError as error:
            emit.flush()
            raise RowError(
                error.reason,
                f"line {line_number}: {error.detail}; "
                f"the {emit.confirmed} rows before it were sent",
            ) from None
