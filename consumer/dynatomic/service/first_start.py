"""Distinguishes the first start of a group from a start after its committed offsets expired.

Brokers delete the committed offsets of a group that had no member for ``offsets.retention.minutes``
(KIP-211), by default 7 days. Such a group starts at the beginning of the topic, and with
at-least-once counts all of it again. If the topic has no older event, no offset can have expired.
"""

import logging
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import replace
from shlex import quote
from typing import Any, Literal

from dynatomic.config.settings import Settings
from dynatomic.console import duration
from dynatomic.errors import ConfigError
from dynatomic.kafka.client import (
    admin_config,
    consumer_config,
    new_admin,
    new_consumer,
    reset_policy,
    watermarks,
)
from dynatomic.kafka.groups import committed_offsets
from dynatomic.kafka.topics import broker_config
from dynatomic.operations.positions import SMALL_FETCHES, Timestamps

log = logging.getLogger(__name__)

StartOffset = Literal["earliest", "latest"]

RETENTION_NAME = "offsets.retention.minutes"
DEFAULT_RETENTION_MINUTES = 10_080  # Kafka's default, where the brokers' setting cannot be read
MIN_RETENTION_S = 60  # the least that Kafka accepts; a younger topic needs no request


def with_start(settings: Settings, start: StartOffset | None) -> Settings:
    """Return the settings with ``auto.offset.reset`` set to ``start``, if that is given."""
    if start is None:
        return settings
    return replace(settings, librdkafka=settings.librdkafka | {"auto.offset.reset": start})


def check_first_start(settings: Settings) -> None:
    """Raise ConfigError if the committed offsets of the group may have expired.

    With exactly-once the fences keep what was counted from counting again, so it only logs.
    """
    if reset_policy(settings) != "earliest":
        return  # nothing would be counted again
    config = consumer_config(settings, eof=True) | SMALL_FETCHES
    with closing(new_consumer(config)) as consumer:
        admin = new_admin(admin_config(settings))
        problem = expired_offsets(settings, consumer, lambda: retention_minutes(admin))
    if not problem:
        return
    if not settings.exactly_once:
        raise ConfigError(problem)
    log.warning("committed offsets may have expired", extra={"fields": {"cause": problem}})


def expired_offsets(
    settings: Settings,
    consumer: Any,
    retention: Callable[[], int],
    now: Callable[[], float] = time.time,
) -> str:
    """Return why the committed offsets may have expired; empty if they cannot have.

    ``consumer`` has the id of the group and the configuration that `Timestamps` needs;
    ``retention`` returns ``offsets.retention.minutes``.
    """
    marks = watermarks(consumer, settings.topic)
    starts = {partition: low for partition, (low, high) in marks.items() if low < high}
    if not starts or committed_offsets(consumer, settings, marks):
        return ""
    oldest = _oldest_age_s(settings, consumer, starts, now())
    if oldest is None or oldest <= MIN_RETENTION_S:
        return ""
    minutes = retention()
    if oldest <= minutes * 60:
        return ""
    command = f"dynatomic run -g {quote(settings.group_id)} -t {settings.topic}"
    return (
        f"group {settings.group_id} has no committed offset of topic {settings.topic}, whose "
        f"oldest event is {duration(oldest)} old: the group is new, or its offsets expired, which "
        f"they do {duration(minutes * 60)} after its last member left ({RETENTION_NAME}); to count "
        f"the whole topic: `{command} --start earliest`; to count new events only: `{command} "
        "--start latest`"
    )


def _oldest_age_s(
    settings: Settings, consumer: Any, starts: Mapping[int, int], now: float
) -> float | None:
    timestamps = Timestamps(consumer, settings).first(starts).values()
    return max((now - created for created in timestamps), default=None)


def retention_minutes(admin: Any) -> int:
    """Return ``offsets.retention.minutes`` of a broker, Kafka's default if it cannot be read."""
    minutes = broker_config(admin, RETENTION_NAME)
    return DEFAULT_RETENTION_MINUTES if minutes is None else int(minutes)
