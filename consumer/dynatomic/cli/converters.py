"""Converters from the text of a flag or a variable to a value.

Each raises `ValueError` with the text and what it must be; cyclopts adds the name of the flag.
"""

from collections.abc import Callable, Iterable, Sequence

from cyclopts import Token

from dynatomic.config.checks import shown


def whole(text: str) -> int:
    """Return the whole number; raise `ValueError` for any other text."""
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"{shown(text)} is not a whole number") from None


def decimal(text: str) -> float:
    """Return the number; raise `ValueError` for any other text."""
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{shown(text)} is not a number") from None


def split(text: str) -> list[str]:
    """Return the parts between the commas, stripped, without empty ones."""
    return [part.strip() for part in text.split(",") if part.strip()]


def pairs(texts: Iterable[str]) -> dict[str, str]:
    """Return the properties of ``name=value`` texts, each name once."""
    properties: dict[str, str] = {}
    for position, text in enumerate(texts, start=1):
        name, equals, value = text.partition("=")
        if not equals or not name:
            # The text is not shown, because it may be a part of a password that contains a comma.
            raise ValueError(f"property {position} is not of the form name=value")
        if name in properties:
            raise ValueError(f"property {shown(name)} is given twice; remove one")
        properties[name] = value
    return properties


def whole_number_from(low: int) -> Callable[[object, Sequence[Token]], int]:
    """Return a converter for whole numbers that are not less than ``low``."""

    def convert(_type: object, tokens: Sequence[Token]) -> int:
        value = whole(tokens[0].value)
        if value < low:
            raise ValueError(f"{value} is less than {low}")
        return value

    return convert


def file_name(_type: object, tokens: Sequence[Token]) -> str:
    """Convert the name of a file, or ``-`` for stdin, which cyclopts would take for an option."""
    name = tokens[0].value
    if name.startswith("-") and name != "-":
        raise ValueError(f"unknown option {name} (a file of that name is ./{name})")
    return name


def seconds(_type: object, tokens: Sequence[Token]) -> float:
    """Convert a number of seconds that is not negative."""
    value = float(tokens[0].value)
    if not value >= 0:  # nan is not
        raise ValueError(f"{tokens[0].value!r} is not a number of seconds")
    return value
