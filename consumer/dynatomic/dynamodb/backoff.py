"""How long to wait before a request to DynamoDB is sent again."""

import random

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.05, 5.0


def pause_s(
    attempts: int, first_s: float = FIRST_PAUSE_S, longest_s: float = LONGEST_PAUSE_S
) -> float:
    """Return the seconds to wait after ``attempts`` attempts: exponential, with equal jitter.

    The longest possible wait is ``first_s * 2**attempts``, and never above ``longest_s``. The
    jitter keeps at least half of it.
    """
    ceiling_s = min(longest_s, first_s * 2**attempts)
    return random.uniform(ceiling_s / 2, ceiling_s)  # noqa: S311 - jitter, no secret
