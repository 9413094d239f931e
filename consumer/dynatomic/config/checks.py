"""The checks of settings. A check returns the problem of a value, or None."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

Check = Callable[[Any], str | None]
"""Takes a value; returns a text with the value and its problem, or None for a valid value."""

INT64 = 2**63
HOUR_MS = 3_600_000
MAX_PORT = 65_535
_MAX_SHOWN = 80  # characters of a wrong value in a message
_SERVER = re.compile(
    r"((PLAINTEXT|SSL|SASL_PLAINTEXT|SASL_SSL)://)?(\[[0-9a-fA-F:.%]+\]|[^\s:/\[\]]+)(:\d{1,5})?",
    re.IGNORECASE,
)
_URL = re.compile(r"(?!(PLAINTEXT|SSL|SASL_PLAINTEXT|SASL_SSL)://)\w+://", re.IGNORECASE)
_LISTEN = re.compile(r"([A-Za-z0-9_.-]+|\[[0-9a-fA-F:.%]+\]):(?P<port>\d{1,5})")
_TOPIC = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9._-]{1,249}")
TABLE_NAME = re.compile(r"[A-Za-z0-9_.-]{3,255}")
GROUP = re.compile(r"[^\s\x00-\x1f\x7f]([^\x00-\x1f\x7f]{0,253}[^\s\x00-\x1f\x7f])?")
COUNTER_NAME = re.compile(r"(?!fence_[0-9a-f]{8}_[0-9]+$)[A-Za-z0-9_.-]{1,255}")
_PROPERTY = re.compile(r"[A-Za-z0-9_]+([.-][A-Za-z0-9_]+)*")


def shown(value: object) -> str:
    """Return a wrong value as text for a message, shortened."""
    text = repr(value)
    return text if len(text) <= _MAX_SHOWN else text[:_MAX_SHOWN] + "..."


def between(low: int, high: int) -> Check:
    """Accept whole numbers from ``low`` to ``high``, both included."""

    def check(value: object) -> str | None:
        # In Python a bool is an int, but a setting of True is a mistake.
        whole = isinstance(value, int) and not isinstance(value, bool)
        if whole and low <= value <= high:  # type: ignore[operator]
            return None
        return f"{shown(value)} is not a whole number from {low} to {high}"

    return check


def ratio(value: object) -> str | None:
    """Accept a number from 0 to 1, both included."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if is_number and 0 <= value <= 1:  # type: ignore[operator]
        return None
    return f"{shown(value)} is not a number from 0 to 1"


def matching(pattern: re.Pattern[str], rule: str) -> Check:
    """Accept text that matches a pattern; ``rule`` describes it in the message."""

    def check(value: object) -> str | None:
        if isinstance(value, str) and pattern.fullmatch(value) and _is_unicode(value):
            return None
        return f"{shown(value)} {rule}"

    return check


def _is_unicode(text: str) -> bool:
    # Bytes of the environment that are not UTF-8 arrive as lone surrogates.
    return not any("\ud800" <= character <= "\udfff" for character in text)


def one_of(literal: object) -> Check:
    """Accept the values of a Literal."""
    choices = get_args(literal)

    def check(value: object) -> str | None:
        known = isinstance(value, str) and value in choices
        return None if known else f"{shown(value)} is not one of {', '.join(choices)}"

    return check


def or_none(check: Check) -> Check:
    """Accept None, and what another check accepts."""
    return lambda value: None if value is None else check(value)


int64 = between(-INT64, INT64 - 1)
topic = matching(
    _TOPIC, "is not a topic name: use 1 to 249 letters, digits, '.', '_' or '-', not '.' or '..'"
)
attribute = matching(
    COUNTER_NAME,
    "is not a counter: use 1 to 255 letters, digits, '_', '.' or '-', not the name of a fence",
)
table = matching(TABLE_NAME, "is not a table name: use 3 to 255 letters, digits, '_', '.' or '-'")


def servers(value: object) -> str | None:
    """Accept a list of brokers."""
    parts = value.split(",") if isinstance(value, str) else [""]
    for part in parts:
        if match := _URL.match(part.strip()):
            return (
                f"{shown(part.strip())} is not a broker: Kafka has no {match[0]}; give host:port "
                "without it"
            )
    if all(_SERVER.fullmatch(part.strip()) for part in parts):
        return None
    return f"{shown(value)} is not a list of brokers: give host:port, separated by commas"


def http(value: object) -> str | None:
    """Accept an address to listen on, or ``off``."""
    match = _LISTEN.fullmatch(value) if isinstance(value, str) else None
    if value == "off" or (match and int(match["port"]) <= MAX_PORT):
        return None
    return f"{shown(value)} is not an address: give HOST:PORT, such as 127.0.0.1:9108, or off"


def tables(value: object) -> str | None:
    """Accept a tuple of table names."""
    if not isinstance(value, tuple):
        return f"{shown(value)} is not a list of table names"
    for name in value:
        if isinstance(name, str) and name.startswith("arn:"):
            return f"{shown(name)} is an ARN: give the name of the table"
        if problem := table(name):
            return problem
    return None


def attributes(value: object) -> str | None:
    """Accept a tuple of attribute names."""
    if not isinstance(value, tuple):
        return f"{shown(value)} is not a list of counters"
    return next((problem for name in value if (problem := attribute(name))), None)


def path(value: object) -> str | None:
    """Accept the path of a file."""
    return None if isinstance(value, Path) else f"{shown(value)} is not the path of a file"


def properties(value: object) -> str | None:
    """Accept a dict of librdkafka properties."""
    if not isinstance(value, dict):
        return f"{shown(value)} is not a table of properties and their values"
    for name, text in value.items():
        if not (isinstance(name, str) and _PROPERTY.fullmatch(name)):
            return f"{shown(name)} is not the name of a property"
        if not (isinstance(text, str) and _is_unicode(text)):
            # The value may be a password, so it is not shown.
            return f"the value of {shown(name)} is not text"
    return None
