"""Templates of keys: text with ``{path}`` and ``{time|bucket}`` in it.

``{{`` and ``}}`` are the braces themselves. The parts of a key cannot be confused: the
character that ends a part is percent-encoded inside the part, so that ``a#b`` and ``c`` never
make the key that ``a`` and ``b#c`` make.
"""

from dataclasses import dataclass
from typing import Any

from dynatomic.counting.expression import Expression, parse
from dynatomic.counting.numbers import json_type
from dynatomic.counting.reasons import EventRejected, RejectReason
from dynatomic.counting.times import BUCKETS
from dynatomic.errors import ConfigError


@dataclass(frozen=True, slots=True)
class ValuePart:
    """A value of the event, as text."""

    expression: Expression
    escaped: str


@dataclass(frozen=True, slots=True)
class TimePart:
    """The bucket of the event's time. Its name has no character that could end it early."""

    bucket: str


@dataclass(frozen=True, slots=True)
class Template:
    """A parsed template: literal texts, values and buckets in their order."""

    text: str
    parts: tuple[str | ValuePart | TimePart, ...]

    @property
    def expressions(self) -> list[Expression]:
        """The expressions of its values."""
        return [part.expression for part in self.parts if isinstance(part, ValuePart)]

    @property
    def buckets(self) -> list[str]:
        """The buckets of time in it."""
        return [part.bucket for part in self.parts if isinstance(part, TimePart)]


def parse_template(text: str) -> Template:
    """Parse a template; raises ConfigError with the place of the problem."""
    pieces = list(_pieces(text))
    parts: list[str | ValuePart | TimePart] = []
    for index, (kind, piece) in enumerate(pieces):
        if kind == "text":
            parts.append(piece)
            continue
        after = pieces[index + 1] if index + 1 < len(pieces) else None
        if after is not None and after[0] == "value":
            raise ConfigError(
                f"{text!r} has nothing between {{{piece}}} and {{{after[1]}}}: put a character "
                "between them, or two values could make the key of two others"
            )
        end = after[1][0] if after else ""
        if end.isalnum():
            raise ConfigError(
                f"{text!r} has {end!r} after {{{piece}}}: end a value with a character that is no "
                "letter and no digit, because that character is percent-encoded inside the value"
            )
        parts.append(_part(piece, end))
    if not parts:
        raise ConfigError("the template is empty")
    return Template(text, tuple(_with_escapes(parts)))


def _with_escapes(
    parts: list[str | ValuePart | TimePart],
) -> list[str | ValuePart | TimePart]:
    # A value alone, or at the end with nothing before it to escape, is taken as it is.
    if not any(isinstance(part, ValuePart) and part.escaped for part in parts):
        return parts
    return [
        ValuePart(part.expression, part.escaped + "%") if isinstance(part, ValuePart) else part
        for part in parts
    ]


def _part(piece: str, end: str) -> ValuePart | TimePart:
    head, bar, tail = piece.rpartition("|")
    if bar and head.strip() == "time":
        bucket = tail.strip()
        if bucket not in BUCKETS:
            raise ConfigError(f"{bucket!r} is no bucket of time: {', '.join(BUCKETS)}")
        return TimePart(bucket)
    return ValuePart(parse(piece.strip()), end)


def _pieces(text: str) -> list[tuple[str, str]]:
    pieces: list[tuple[str, str]] = []
    literal = ""
    position = 0
    while position < len(text):
        character = text[position]
        if text[position : position + 2] in {"{{", "}}"}:
            literal += character
            position += 2
        elif character == "{":
            end = _closing_brace(text, position)
            if literal:
                pieces.append(("text", literal))
            pieces.append(("value", text[position + 1 : end]))
            literal, position = "", end + 1
        elif character == "}":
            raise ConfigError(f"{text!r} has a }} without its {{; a brace itself is }}}}")
        else:
            literal += character
            position += 1
    if literal:
        pieces.append(("text", literal))
    return pieces


def _closing_brace(text: str, start: int) -> int:
    depth, quoted = 0, ""
    for position in range(start, len(text)):
        character = text[position]
        if quoted:
            quoted = "" if character == quoted else quoted
        elif character in "\"'`":
            quoted = character
        elif character == "{":
            depth += 1
        elif character == "}":
            depth -= 1
            if depth == 0:
                return position
    raise ConfigError(f"{text!r} has a {{ without its }}; a brace itself is {{{{")


def key_text(value: Any) -> str:
    """Return a value as a part of a key.

    Raises EventRejected if it is neither text nor an integer.
    """
    if type(value) is str:
        return value
    if type(value) is int:
        return str(value)
    if value is None:
        raise EventRejected(RejectReason.FIELD_MISSING, "")
    raise EventRejected(RejectReason.FIELD_TYPE, f"{json_type(value)}, not text or an integer")


def escape_table(characters: str) -> dict[int, str]:
    """Return the table for `str.translate` that percent-encodes these characters."""
    return {ord(c): "".join(f"%{byte:02X}" for byte in c.encode()) for c in characters}
