"""A counters file against the keys of its tables."""

import re

import pytest

from dynatomic.counting.check_keys import check_keys
from dynatomic.counting.file import loads
from dynatomic.errors import ConfigError
from dynatomic.events.row import KeySchema

PLAIN = KeySchema("pk", index_names=frozenset({"rank"}))
RANGED = KeySchema("pk", "S", "rk", "S", ttl_name="expires_at")
NUMBERS = KeySchema("pk", "N", "rk", "N")


def counter(name: str, **keys: str) -> str:
    given = {"table": "'tab'", "key": "'{id}'", "add": "{ n = 1 }"} | keys
    lines = [f"{key} = {value}" for key, value in given.items()]
    return "\n".join(["[[counter]]", f"name = '{name}'", *lines, ""])


DAY = "'{time|day}'"


@pytest.mark.parametrize(
    ("keys", "text", "problem"),
    [
        (RANGED, counter("a"), "range is missing: table tab has the range key 'rk'"),
        (PLAIN, counter("a", range="'x'"), "range: table tab has no range key"),
        (PLAIN, counter("a", add="{ pk = 1 }"), "pk is a key attribute of table tab"),
        (RANGED, counter("a", range="'x'", add="{ rk = 1 }"), "rk is a key attribute of table"),
        (PLAIN, counter("a", add="{ rank = 1 }"), "rank is a key attribute of an index of tab"),
        (RANGED, counter("a", range="'x'", add="{ expires_at = 1 }"), "expires_at is the TTL"),
        (
            PLAIN,
            counter("a", key="'{id}#{time|day}'", expires="'1d'"),
            "expires: table tab has no TTL",
        ),
        (
            NUMBERS,
            counter("a", range="'{n}'", key="'c-{id}'"),
            "key: the key of tab is a number: the template",
        ),
        (NUMBERS, counter("a", range="'7'"), "range: the key of tab is a number: the template"),
        (
            RANGED,
            counter("b", range=DAY, expires="'1d'") + counter("a", range=DAY),
            "expires: counter 'b' adds to the same items",
        ),
    ],
)
def test_a_counter_that_its_table_cannot_have_is_refused(
    keys: KeySchema, text: str, problem: str
) -> None:
    with pytest.raises(ConfigError, match=f"counter 'a': {re.escape(problem)}"):
        check_keys(loads(text), {"tab": keys})


@pytest.mark.parametrize(
    ("keys", "text"),
    [
        (PLAIN, counter("a")),
        (RANGED, counter("a", range=DAY, expires="'1d'") + counter("b", range="'x'")),
        (NUMBERS, counter("a", range="'{n}'")),
    ],
)
def test_a_counter_that_fits_its_table_passes(keys: KeySchema, text: str) -> None:
    check_keys(loads(text), {"tab": keys})
