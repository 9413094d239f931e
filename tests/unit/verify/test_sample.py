"""A random sample of the counters."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from dynatomic.events.row import CounterRef
from dynatomic.verify.sample import CounterSample
from tests.support.verify_world import TOPIC, UNFENCED, World, first_line


def big_world(counters: int) -> World:
    w = World(3)
    for turn in range(2):
        for number in range(counters):
            w.emit(f"k{number}", partition=(number + turn) % 3)
    for number in range(counters):
        w.item(f"k{number}", 2)
    w.commit(*[log.high for log in w.broker.logs[TOPIC]])
    return w


def test_a_sample_has_so_many_counters_with_all_their_events() -> None:
    w = big_world(500)
    verdict = w.verify(sample=CounterSample(20, seed=1))
    assert first_line(verdict) == "OK  20 counters, sum 40 = 40"
    assert w.dynamodb.requests["BatchGetItem"] == 1
    assert (
        first_line(w.verify(sample=CounterSample(1_000, 1)))
        == "OK  500 counters, sum 1,000 = 1,000"
    )


def test_a_sample_follows_from_its_seed_and_every_counter_may_be_in_it() -> None:
    def chosen(seed: int, keys: Sequence[int]) -> set[str]:
        held: dict[str, CounterRef] = {}
        sample = CounterSample(10, seed)
        for number in keys:
            ref = CounterRef("hits", f"k{number}", None, "count")
            if sample.takes(ref, lambda out: held.pop(out.key) and None):
                held[ref.key] = ref
        return set(held)

    assert chosen(1, range(100)) == chosen(1, [*reversed(range(100)), *range(100)])
    assert chosen(1, range(100)) != chosen(2, range(100))
    often = Counter(key for seed in range(300) for key in chosen(seed, range(100)))
    assert len(often) == 100
    assert max(often.values()) < 65  # 30 are expected


def test_a_sample_of_a_baseline_has_the_baselines_counters_too(tmp_path: Path) -> None:
    w, file = big_world(50), tmp_path / "base"
    w.verify(UNFENCED, snapshot=file)
    for number, log in enumerate(w.broker.logs[TOPIC]):
        w.broker.delete_before(TOPIC, number, log.high)
    for seed in range(5):
        verdict = w.verify(UNFENCED, baseline=file, sample=CounterSample(10, seed))
        assert first_line(verdict) == "OK  10 counters, sum 20 = 20"
