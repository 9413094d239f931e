"""Sample events: how they spread over the counters."""

import collections
import json
from typing import Any

import pytest

from dynatomic.events.row import Row
from dynatomic.events.samples import samples


@pytest.mark.parametrize("distribution", ["uniform", "zipf"])
def test_samples_follow_from_the_seed(distribution: Any) -> None:
    def made(seed: int) -> list[Row]:
        return list(
            samples(
                table="tab", count=2500, rows=9, distribution=distribution, seed=seed, max_incr=5
            )
        )

    assert made(1) == made(1)
    assert made(1) != made(2)
    assert len(made(1)) == 2500
    assert {row.incr for row in made(1)} == {1, 2, 3, 4, 5}


def test_uniform_samples_are_spread_evenly() -> None:
    counts = collections.Counter(row.key for row in samples(table="tab", count=20_000, rows=10))
    assert len(counts) == 10
    assert max(counts.values()) < 1.2 * min(counts.values())


def test_zipf_samples_fall_with_the_rank() -> None:
    counts = collections.Counter(
        row.key for row in samples(table="tab", count=50_000, rows=100, distribution="zipf")
    )
    # The shares are 1 : 2**-1.1 : 10**-1.1.
    assert counts["key-0"] / counts["key-1"] == pytest.approx(2**1.1, rel=0.1)
    assert counts["key-0"] / counts["key-9"] == pytest.approx(10**1.1, rel=0.15)


@pytest.mark.parametrize("wrong", [{"count": -1}, {"rows": 0}, {"max_incr": 0}])
def test_samples_of_nothing_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="at least"):
        next(samples(**{"table": "tab", "count": 1, **wrong}))  # type: ignore[arg-type]


def test_a_sample_is_what_a_file_may_hold() -> None:
    row = next(samples(table="tab", count=1))
    assert Row.from_json(json.dumps(row._asdict())) == row
