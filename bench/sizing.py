"""Events per write, write units and their price, from counters, rate and window: docs/sizing.md.

Arrivals are assumed to be a Poisson process. So a counter with the share ``p`` of the ``n`` events
of a window is written with the probability ``1 - exp(-n p)``.
"""

from collections.abc import Iterator, Sequence
from math import exp

PRICE = 0.625
"""US dollars for a million write request units, on demand, us-east-1 (AWS's list, 2026)."""

COUNTERS, RATES, WINDOWS = (1_000, 10_000, 100_000), (100, 1_000, 5_000, 100_000), (0.5, 1, 5, 60)


def shares(counters: int, exponent: float) -> list[float]:
    """Return the share of events of each counter: zipf, or with exponent 0 all the same."""
    weights = [1 / rank**exponent for rank in range(1, counters + 1)]
    total = sum(weights)
    return [weight / total for weight in weights]


def written(share: Sequence[float], events: float, partitions: int = 1) -> float:
    """Return how many counters the events of one window are expected to name.

    With ``partitions``, each partition has its own window with an equal part of the events of each
    counter, as for events without keys.
    """
    each = events / partitions
    return partitions * sum(1 - exp(-each * p) for p in share)


def events_per_write() -> Iterator[str]:
    """Yield the table of events per write."""
    heads = " | ".join(f"{window:g} s" for window in WINDOWS)
    yield f"| counters | events/s | {heads} |"
    yield "|---:|---:|" + "---:|" * len(WINDOWS)
    for counters in COUNTERS:
        share = shares(counters, 1.1)
        for rate in RATES:
            cells = [rate * window / written(share, rate * window) for window in WINDOWS]
            yield f"| {counters:,} | {rate:,} | {' | '.join(map(_short, cells))} |"


def prices() -> Iterator[str]:
    """Yield the table of what a million events cost."""
    yield "| events per write | write units for a million events | US dollars |"
    yield "|---:|---:|---:|"
    for events in (1, 2, 5, 10, 25, 100, 1_000):
        yield f"| {events:,} | {1_000_000 // events:,} | {PRICE / events:.4f} |"


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


if __name__ == "__main__":
    print("\n".join([*events_per_write(), "", *prices()]))
