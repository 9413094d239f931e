"""Asks a worker whether it is live, and lets it stand still."""

from typing import Any, NamedTuple

import pytest
from confluent_kafka import KafkaError, KafkaException

from dynatomic.service.status import Status
from tests.support.harness import World
from tests.support.member import Member

AFTER_S = 60.0


def status_of(member: Member) -> Status:
    assert member.status is not None
    return member.status


class OwnedLag(NamedTuple):
    events: int | None
    seconds: float | None


def lags_of(member: Member) -> dict[int, OwnedLag]:
    """Return how far each partition is behind."""
    return {
        partition.id: OwnedLag(partition.lag_offsets, partition.lag_seconds)
        for partition in status_of(member).take_snapshot().partitions
    }


def live(w: World, member: Member, seconds: float = AFTER_S + 10) -> list[str]:
    """Let time pass as the loop sees it, and return the causes that /livez gives then."""
    for _ in range(int(seconds)):
        w.advance(1)
        w.turn()
        status_of(member).after_tick()
    return [each.cause.word for each in status_of(member).stalls()]


def silence(_most: int = 0, _timeout: float = 0.0) -> list[Any]:
    return []


def no_answer(*_args: object, **_named: object) -> None:
    raise KafkaException(KafkaError(KafkaError._TIMED_OUT))


def never_fetched(_w: World, member: Member, patch: pytest.MonkeyPatch) -> None:
    inner = member.consumer.consume
    # It is assigned, and then hears nothing: no message, and no end of the partition.
    patch.setattr(member.consumer, "consume", lambda most, timeout: inner(most, timeout) and [])


def fetch_stopped(w: World, member: Member, patch: pytest.MonkeyPatch) -> None:
    w.emit("a")
    w.window()
    patch.setattr(member.consumer, "consume", silence)
    w.emit("b")
