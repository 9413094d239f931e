"""Changes to the product that must turn the suite red: one small function each.

Each takes a `pytest.MonkeyPatch` and breaks one thing that the promise rests on.
"""

from tests.support import (
    mutations_counters,
    mutations_fence,
    mutations_logs,
    mutations_order,
    mutations_outcomes,
    mutations_parts,
    mutations_reading,
    mutations_topics,
)
from tests.support.mutation_registry import HARMLESS, MUTATIONS, NAMED, Mutation

__all__ = [
    "HARMLESS",
    "MUTATIONS",
    "NAMED",
    "Mutation",
    "mutations_counters",
    "mutations_fence",
    "mutations_logs",
    "mutations_order",
    "mutations_outcomes",
    "mutations_parts",
    "mutations_reading",
    "mutations_topics",
]
