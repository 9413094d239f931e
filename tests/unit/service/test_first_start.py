"""Whether a group without committed offsets is new, or its offsets may have expired."""

from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from dynatomic.config.settings import Settings
from dynatomic.kafka.client import reset_policy
from dynatomic.service.first_start import (
    DEFAULT_RETENTION_MINUTES,
    expired_offsets,
    retention_minutes,
    with_start,
)
from tests.support.lag_world import NOW, World

DAY_S = 86_400


def problem(w: World, retention: int = 10_080) -> str:
    return expired_offsets(w.settings, w.consumer, lambda: retention, lambda: NOW)


def test_an_old_topic_and_no_committed_offset_may_have_expired() -> None:
    w = World(2)
    w.emit(1, 0, age_s=3 * DAY_S)
    w.emit(1, 1, age_s=8 * DAY_S)
    assert problem(w).startswith("group dynatomic has no committed offset of topic row-events")
    assert "8d0h old" in problem(w)
    assert "7d0h after" in problem(w)
    assert "--start earliest`" in problem(w)
    assert "--start latest`" in problem(w)


def test_no_offset_can_have_expired_on_a_younger_topic() -> None:
    w = World(2)
    assert not problem(w), "the topic is empty"
    w.emit(1, age_s=6 * DAY_S)
    assert not problem(w)
    assert problem(w, retention=60)


def test_a_group_with_any_committed_offset_has_not_lost_them() -> None:
    w = World(2)
    w.emit(1, 0, age_s=8 * DAY_S)
    w.commit(0, 1)
    assert not problem(w)


def test_start_is_the_reset_policy() -> None:
    assert reset_policy(with_start(Settings(), "latest")) == "latest"
    assert reset_policy(with_start(Settings(), "earliest")) == "earliest"
    assert with_start(Settings(), None) == Settings()


class Admin:
    def __init__(self, result: object) -> None:
        self.result = result

    def list_topics(self, timeout: float) -> Any:
        assert timeout > 0
        return SimpleNamespace(brokers={3: "a broker"})

    def describe_configs(self, resources: list[Any], request_timeout: float) -> dict[Any, Any]:
        assert request_timeout > 0
        return {resources[0]: SimpleNamespace(result=self._result)}

    def _result(self) -> object:
        if isinstance(self.result, Exception):
            raise self.result
        return self.result


@pytest.mark.parametrize(
    ("result", "minutes"),
    [
        ({"offsets.retention.minutes": SimpleNamespace(value="60")}, 60),
        ({}, DEFAULT_RETENTION_MINUTES),
        (
            KafkaException(KafkaError(KafkaError.CLUSTER_AUTHORIZATION_FAILED)),
            DEFAULT_RETENTION_MINUTES,
        ),
    ],
)
def test_the_retention_of_offsets_is_that_of_the_brokers(result: object, minutes: int) -> None:
    assert retention_minutes(Admin(result)) == minutes
