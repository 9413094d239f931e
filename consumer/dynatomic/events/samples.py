"""Sample row events. The same seed gives the same events."""

import random
from collections.abc import Iterator
from itertools import accumulate
from typing import Literal

from dynatomic.events.row import Row

Distribution = Literal["uniform", "zipf"]


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

    ``zipf``: the key of rank k has a share proportional to 1/k**1.1.
    Increments are from 1 to ``max_incr``. Raises ValueError if there is no key to choose from.
    """
    if count < 0 or rows < 1 or max_incr < 1:
        raise ValueError("count must be at least 0, rows and max_incr at least 1")
    rng = random.Random(seed)  # noqa: S311 - samples, not secrets
    keys = [f"key-{index}" for index in range(rows)]
    shares = None
    if distribution == "zipf":
        shares = list(accumulate(rank**-ZIPF_EXPONENT for rank in range(1, rows + 1)))
    left = count
    while left:
        size = min(left, _CHUNK)
        left -= size
        for key in rng.choices(keys, cum_weights=shares, k=size):
            yield Row(table, key, incr=rng.randint(1, max_incr) if max_incr > 1 else 1)
