"""Values of a TOML document, checked one by one. Every problem is a ConfigError."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from difflib import get_close_matches
from typing import Any

from dynatomic.counting.expression import Expression, parse
from dynatomic.counting.template import Template, parse_template
from dynatomic.counting.times import duration_s
from dynatomic.errors import ConfigError

Raw = Mapping[str, Any]


@contextmanager
def at(location: str) -> Iterator[None]:
    """Put the place of a problem before its message."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError(f"{location}: {error}") from None


def check_names(raw: Raw, names: tuple[str, ...]) -> None:
    """Refuse names that do not exist, with a suggestion."""
    for name in raw:
        if name not in names:
            close = get_close_matches(name, names, 1)
            hint = f"; did you mean {close[0]!r}?" if close else f": {', '.join(names)}"
            raise ConfigError(f"there is no {name!r}{hint}")


def table(raw: Raw, name: str) -> Raw:
    """Return a table, empty if it is not there."""
    value = raw.get(name, {})
    if not isinstance(value, dict):
        raise ConfigError(f"{name} must be a table")
    return value


def tables(raw: Raw, name: str) -> list[Raw]:
    """Return an array of tables."""
    value = raw.get(name, [])
    if not isinstance(value, list) or any(not isinstance(entry, dict) for entry in value):
        raise ConfigError(f"{name} must be an array of tables: write [[{name}]] before each")
    return value


def text(raw: Raw, name: str) -> str | None:
    """Return a text, or None."""
    value = raw.get(name)
    if value is not None and not isinstance(value, str):
        raise ConfigError(f"{name} must be text in quotes")
    return value


def choice(raw: Raw, name: str, choices: tuple[str, ...], default: str | None) -> str | None:
    """Return one of some texts, or the default."""
    value = text(raw, name)
    if value is not None and value not in choices:
        raise ConfigError(f"{name} is {value!r}; it can be {', '.join(choices)}")
    return default if value is None else value


def expression(raw: Raw, name: str) -> Expression | None:
    """Return a parsed expression, or None."""
    value = text(raw, name)
    if value is None:
        return None
    with at(name):
        return parse(value)


def template(raw: Raw, name: str) -> Template | None:
    """Return a parsed template, or None."""
    value = text(raw, name)
    if value is None:
        return None
    with at(name):
        return parse_template(value)


def duration(raw: Raw, name: str) -> int | None:
    """Return the seconds of a duration, or None."""
    if name not in raw:
        return None
    with at(name):
        return duration_s(raw[name])
