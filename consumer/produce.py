"""Row events from a file, or made up: what ``dynatomic produce`` sends."""

import random
from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate
from typing import Literal

from consumer.emit import Emitter
from consumer.errors import RowError
from consumer.kafka import admin_config, new_admin, topic_partitions
from consumer.row import Row, check_table_name
from consumer.settings import Settings

Distribution = Literal["uniform", "zipf"]
Progress = Callable[[int], None]

ZIPF_EXPONENT = 1.1
_CHUNK = 1000


def samples(  # noqa: PLR0913 - one a flag
    *,
    table: str,
    count: int,
    rows: int = 1000,
    distribution: Distribution = "uniform",
    seed: int = 0,
    max_incr: int = 1,
) -> Iterator[Row]:
    """Make ``count`` rows over ``rows`` keys (``key-0`` and so on), the same for the same seed.

    ``zipf``: the key of rank k has a share proportional to 1/k**1.1, as popular things do.
    Increments are from 1 to ``max_incr``. Raises ValueError if there is no key to choose from.
    """
    if count < 0 or rows < 1 or max_incr < 1:
        raise ValueError("count must be at least 0, rows and max_incr at least 1")
    rng = random.Random(seed)  # noqa: S311 - samples, not secrets
    keys = [f"key-{number}" for number in range(rows)]
    shares = None
    if distribution == "zipf":
        shares = list(accumulate(rank**-ZIPF_EXPONENT for rank in range(1, rows + 1)))
    left = count
    while left:
        size = min(left, _CHUNK)
        left -= size
        for key in rng.choices(keys, cum_weights=shares, k=size):
            yield Row(table, key, incr=rng.randint(1, max_incr) if max_incr > 1 else 1)


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
    """Send `samples` to the topic; return their number once all are stored.

    Raises ConfigError for a wrong table name or a missing topic, UnavailableError if no broker
    answers, and DeliveryError as `Emitter` does.
    """
    check_table_name(table)
    made = samples(table=table, count=count, rows=rows, distribution=distribution, seed=seed)
    with _emitter(settings) as emit:
        _send(emit, made, progress)
    return emit.confirmed


def produce_file(
    settings: Settings, lines: Iterable[str], *, progress: Progress | None = None
) -> int:
    """Send the row of each line, a JSON object with a row's fields; return how many are stored.

    Blank lines are skipped. Raises RowError with the line's number for one that is no row; the
    rows before it are stored by then. Raises the other errors of `produce_samples` too.
    """
    with _emitter(settings) as emit:
        _send(emit, _rows(emit, lines), progress)
    return emit.confirmed


def _emitter(settings: Settings) -> Emitter:
    # A missing topic or broker is told at once, not when the first rows have timed out.
    topic_partitions(new_admin(admin_config(settings)), settings.topic)
    return Emitter(
        settings.bootstrap_servers,
        topic=settings.topic,
        properties=settings.librdkafka,
        kafka_auth=settings.kafka_auth,
        tls_verification=settings.tls_verification,
    )


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
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            yield Row.from_json(line)
        except RowError as error:
            emit.flush()
            raise RowError(
                error.reason,
                f"line {number}: {error.detail}; the {emit.confirmed} rows before it were sent",
            ) from None
