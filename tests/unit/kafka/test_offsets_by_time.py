"""Offsets by time: which answers of the brokers are offsets, errors, or neither."""

from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from dynatomic.kafka.client import Watermarks
from dynatomic.kafka.offsets_by_time import OffsetsByTime

TOPIC = "hits"
UNKNOWN_PARTITION = KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART)


class Brokers:
    """Answers with the offsets of each partition from a time on, negative if there is none."""

    def __init__(self, times_ms: dict[int, list[int]], *, have_times: bool = True) -> None:
        self._times_ms = times_ms
        self._have_times = have_times

    def offsets_for_times(self, wanted: list[Any], timeout: float) -> list[Any]:
        assert timeout == 5.0
        answers = []
        for place in wanted:
            times = self._times_ms.get(place.partition)
            later = [n for n, time_ms in enumerate(times or ()) if time_ms >= place.offset]
            answers.append(
                SimpleNamespace(
                    partition=place.partition,
                    offset=later[0] if later and self._have_times else -1,
                    error=UNKNOWN_PARTITION if times is None else None,
                )
            )
        return answers


def test_an_offset_is_that_of_the_first_event_at_or_after_the_time() -> None:
    by_time = OffsetsByTime(Brokers({0: [10, 20, 30], 1: [10], 2: []}), TOPIC, 5.0)
    assert by_time.first([0, 1, 2], 20) == {0: 1, 1: None, 2: None}


def test_the_error_of_a_partition_leaves_it_out_or_is_raised() -> None:
    brokers = Brokers({0: [10]})
    assert OffsetsByTime(brokers, TOPIC, 5.0).first([0, 7], 5) == {0: 0}
    with pytest.raises(KafkaException) as raised:
        OffsetsByTime(brokers, TOPIC, 5.0, strict=True).first([0, 7], 5)
    assert raised.value.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART


@pytest.mark.parametrize(("have_times", "unsupported"), [(True, set()), (False, {0, 1})])
def test_a_partition_with_events_but_none_since_1970_shows_brokers_without_times(
    *, have_times: bool, unsupported: set[int]
) -> None:
    brokers = Brokers({0: [10, 20], 1: [10], 2: []}, have_times=have_times)
    by_time = OffsetsByTime(brokers, TOPIC, 5.0)
    marks = {0: Watermarks(0, 2), 1: Watermarks(0, 1), 2: Watermarks(0, 0)}
    assert by_time.unsupported(marks, by_time.first(marks, 15)) == unsupported
