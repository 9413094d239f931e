"""Finds, at the start, a batch that killed the consumers before this one.

If the next event of a partition is older than `SUSPECT_AFTER_S`, nothing was counted for that long:
the consumers were stopped, or killed again and again at the same batch. Only then is it read in a
process of its own first (`kafka.bounded_read`).
"""

import logging
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from typing import Any

from confluent_kafka import KafkaException

from dynatomic.config.settings import Settings
from dynatomic.errors import UnavailableError
from dynatomic.kafka.bounded_read import fatal_batches
from dynatomic.kafka.client import consumer_config, new_consumer, watermarks
from dynatomic.kafka.groups import committed_offsets
from dynatomic.kafka.guarded import GuardedConsumer
from dynatomic.kafka.offsets_by_time import OffsetsByTime

log = logging.getLogger(__name__)

SUSPECT_AFTER_S = 120.0
TIMEOUT_S = 5.0
CAREFUL_WINDOW_MS = 200
"""Short windows commit often, so the next start begins closer to the batch."""

MakeConsumer = Callable[[dict[str, Any]], Any]


def guard(settings: Settings) -> tuple[Settings, MakeConsumer]:
    """Return the settings and the consumer for this start.

    Where nothing is suspicious, or Kafka does not answer now, these are the settings and
    `new_consumer`.
    """
    with closing(new_consumer(consumer_config(settings, eof=True))) as consumer:
        try:
            starts = suspects(settings, consumer)
        except UnavailableError:  # such as a leader that changes
            starts = {}
    batches = fatal_batches(settings, starts) if starts else {}
    if not batches:
        return settings, new_consumer
    for partition, batch in sorted(batches.items()):
        fields = {"topic": settings.topic, "partition": partition, "offset": batch.offset}
        log.error("fatal batch", extra={"fields": fields})
    near = {partition: batch for partition, batch in batches.items() if batch.events is not None}
    if len(near) < len(batches):
        settings = replace(settings, window_ms=min(settings.window_ms, CAREFUL_WINDOW_MS))
    return settings, lambda config: GuardedConsumer(new_consumer(config), settings.topic, near)


def suspects(
    settings: Settings, consumer: Any, now: Callable[[], float] = time.time
) -> dict[int, int]:
    """Return the offset of the next event of each partition whose next event is old.

    Nothing is suspicious if the brokers cannot find offsets by time.
    """
    marks = watermarks(consumer, settings.topic)
    committed = committed_offsets(consumer, settings, marks)
    starts = {
        partition: max(low, committed[partition].offset if partition in committed else low)
        for partition, (low, high) in marks.items()
    }
    starts = {
        partition: start for partition, start in starts.items() if start < marks[partition].high
    }
    by_time = OffsetsByTime(consumer, settings.topic, TIMEOUT_S)
    try:
        recent = by_time.first(starts, int((now() - SUSPECT_AFTER_S) * 1000))
        old = {
            p: start for p, start in starts.items() if p in recent and _is_after(recent[p], start)
        }
        unsupported = by_time.unsupported({p: marks[p] for p in old}, recent)
    except KafkaException:
        return {}
    return {p: start for p, start in old.items() if p not in unsupported}


def _is_after(offset: int | None, start: int) -> bool:
    return offset is None or offset > start
