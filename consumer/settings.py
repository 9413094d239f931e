"""Every setting, once: its name, type, default, meaning, and the values that it takes.

The flag, the environment name and the key in the TOML file all follow from the name, and so do
the help pages and the table in the README. `Settings` needs no command line: a test or a service
writes ``Settings(tables=("hits",))``. Whatever its origin, a value that cannot work raises
`ConfigError` with the setting's name, the value, and what it must be.
"""

import re
from collections.abc import Callable
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_type_hints

from consumer.errors import ConfigError

GroupProtocol = Literal["classic", "consumer"]
WriteMode = Literal["batch", "single"]
LogLevel = Literal["debug", "info", "warning", "error"]

# A check returns what is wrong with a value, the value included, or None.
Check = Callable[[Any], str | None]

_INT64 = 2**63
_HOUR_MS = 3_600_000
_MOST_SHOWN = 80  # characters of a wrong value in a message
_SERVER = re.compile(r"([A-Z_]+://)?(\[[0-9a-fA-F:.%]+\]|[^\s:/\[\]]+)(:\d{1,5})?", re.IGNORECASE)
_TOPIC = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9._-]{1,249}")
TABLE_NAME = re.compile(r"[A-Za-z0-9_.-]{3,255}")
_GROUP = re.compile(r"[^\s\x00-\x1f\x7f]([^\x00-\x1f\x7f]{0,253}[^\s\x00-\x1f\x7f])?")
COUNTER_NAME = re.compile(r"(?!fence_[0-9a-f]{8}_[0-9]+$)[A-Za-z0-9_.-]{1,255}")
_PROPERTY = re.compile(r"[A-Za-z0-9_]+([.-][A-Za-z0-9_]+)*")


def shown(value: object) -> str:
    """Return a wrong value as a message shows it."""
    text = repr(value)
    return text if len(text) <= _MOST_SHOWN else text[:_MOST_SHOWN] + "..."


def _between(low: int, high: int) -> Check:
    def check(value: object) -> str | None:
        # A bool is an int to Python, and nobody means one by it.
        whole = isinstance(value, int) and not isinstance(value, bool)
        if whole and low <= value <= high:  # type: ignore[operator]
            return None
        return f"{shown(value)} is not a whole number from {low} to {high}"

    return check


def _matching(pattern: re.Pattern[str], rule: str) -> Check:
    def check(value: object) -> str | None:
        if isinstance(value, str) and pattern.fullmatch(value) and _is_unicode(value):
            return None
        return f"{shown(value)} {rule}"

    return check


def _is_unicode(text: str) -> bool:
    # Bytes of the environment that are not UTF-8 arrive as lone surrogates.
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _one_of(literal: object) -> Check:
    choices = get_args(literal)

    def check(value: object) -> str | None:
        known = isinstance(value, str) and value in choices
        return None if known else f"{shown(value)} is not one of {', '.join(choices)}"

    return check


def _or_none(check: Check) -> Check:
    return lambda value: None if value is None else check(value)


_int64 = _between(-_INT64, _INT64 - 1)
_topic = _matching(
    _TOPIC, "is not a topic name: use 1 to 249 letters, digits, '.', '_' or '-', not '.' or '..'"
)
_attribute = _matching(
    COUNTER_NAME,
    "is not a counter: use 1 to 255 letters, digits, '_', '.' or '-', not a fence's name",
)
_table = _matching(TABLE_NAME, "is not a table name: use 3 to 255 letters, digits, '_', '.' or '-'")


def _servers(value: object) -> str | None:
    parts = value.split(",") if isinstance(value, str) else [""]
    if all(_SERVER.fullmatch(part.strip()) for part in parts):
        return None
    return f"{shown(value)} is not a list of brokers: give host:port, separated by commas"


def _tables(value: object) -> str | None:
    if not isinstance(value, tuple):
        return f"{shown(value)} is not a list of table names"
    for name in value:
        if isinstance(name, str) and name.startswith("arn:"):
            return f"{shown(name)} is an ARN: give the table's plain name"
        if problem := _table(name):
            return problem
    return None


def _path(value: object) -> str | None:
    return None if isinstance(value, Path) else f"{shown(value)} is not the path of a file"


def _properties(value: object) -> str | None:
    if not isinstance(value, dict):
        return f"{shown(value)} is not a table of properties and their values"
    for name, text in value.items():
        if not (isinstance(name, str) and _PROPERTY.fullmatch(name)):
            return f"{shown(name)} is not a property's name"
        if not (isinstance(text, str) and _is_unicode(text)):
            # The value may be a password, so it is not shown.
            return f"the value of {shown(name)} is not text"
    return None


@dataclass(frozen=True, slots=True)
class _About:
    help: str
    check: Check
    flag: str = ""  # where it is not the name with dashes
    short: str = ""
    metavar: str = ""
    unset: str = "none"  # what an empty default means


@dataclass(frozen=True, slots=True)
class Settings:
    """What the consumer and its commands can be told, checked.

    Raises `ConfigError` that names the setting, its value and what to do.
    """

    bootstrap_servers: Annotated[
        str,
        _About("Kafka brokers, separated by commas.", _servers, short="-b", metavar="HOST:PORT"),
    ] = "localhost:9092"
    topic: Annotated[str, _About("Topic of the row events.", _topic, short="-t")] = "row-events"
    group_id: Annotated[
        str,
        _About(
            "Consumer group.",
            _matching(_GROUP, "is not a group: use 1 to 255 printable characters"),
            short="-g",
        ),
    ] = "dynatomic"
    tables: Annotated[
        tuple[str, ...],
        _About(
            "Tables that events may name; repeatable. All others are dead letters.",
            _tables,
            flag="--table",
            metavar="NAME",
        ),
    ] = ()
    dead_letter_topic: Annotated[
        str | None,
        _About("Topic for events that cannot be counted.", _or_none(_topic), unset="<topic>.dlq"),
    ] = None
    counter: Annotated[
        str,
        _About(
            "Attribute to add to, where an event names no other.",
            _attribute,
            metavar="NAME",
        ),
    ] = "count"
    window_ms: Annotated[
        int, _About("Milliseconds of events to sum before a write.", _between(10, _HOUR_MS))
    ] = 1_000
    window_max_events: Annotated[
        int,
        _About(
            "Most events held; each partition's windows get an equal share.",
            _between(1, 100_000_000),
        ),
    ] = 2_000_000
    window_max_counters: Annotated[
        int,
        _About(
            "Most counters held; each partition's windows get an equal share.",
            _between(1, 10_000_000),
        ),
    ] = 200_000
    group_protocol: Annotated[
        GroupProtocol,
        _About("Kafka's group protocol; 'consumer' needs brokers >= 4.0.", _one_of(GroupProtocol)),
    ] = "classic"
    write_mode: Annotated[
        WriteMode,
        _About(
            "'batch': 25 counters a request; 'single': one, for endpoints without PartiQL.",
            _one_of(WriteMode),
        ),
    ] = "batch"
    max_requests: Annotated[int, _About("Requests to DynamoDB at once.", _between(1, 256))] = 8
    min_incr: Annotated[
        int,
        _About("Smallest increment of an event; 0 forbids negatives.", _int64),
    ] = -_INT64
    max_incr: Annotated[int, _About("Largest increment of an event.", _int64)] = _INT64 - 1
    writer_schema: Annotated[
        Path | None,
        _About("Avro schema that events were written with.", _or_none(_path), unset="built in"),
    ] = None
    shutdown_timeout_ms: Annotated[
        int,
        _About("Milliseconds to finish open windows after SIGTERM.", _between(100, _HOUR_MS)),
    ] = 25_000
    log_level: Annotated[
        LogLevel, _About("Least level of the log lines on stderr.", _one_of(LogLevel))
    ] = "info"
    librdkafka: Annotated[
        dict[str, str],
        _About(
            "Property for the Kafka client; repeatable. Origins merge, name by name.",
            _properties,
            flag="-X",
            metavar="NAME=VALUE",
        ),
    ] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        if isinstance(self.tables, list | tuple):
            object.__setattr__(self, "tables", tuple(dict.fromkeys(self.tables)))
        if isinstance(self.librdkafka, dict):
            object.__setattr__(self, "librdkafka", dict(self.librdkafka))
        for setting in SETTINGS:
            setting.validate(getattr(self, setting.name))
        if self.min_incr > self.max_incr:
            raise ConfigError(
                f"min_incr: {self.min_incr} is more than max_incr, which is {self.max_incr}; "
                "lower the one or raise the other"
            )
        if problem := _topic(self.dead_letters):
            raise ConfigError(f"dead_letter_topic: {problem}; name another one")
        if self.dead_letters == self.topic:
            raise ConfigError(
                f"dead_letter_topic: {self.topic!r} is the topic itself; name another one"
            )

    @property
    def dead_letters(self) -> str:
        """The topic for dead letters: `dead_letter_topic`, or the topic's name with ``.dlq``."""
        return self.dead_letter_topic or f"{self.topic}.dlq"

    def require_tables(self) -> tuple[str, ...]:
        """Return `tables`; raise `ConfigError` if none is listed: then nothing may be written."""
        if not self.tables:
            raise ConfigError(
                "tables: none is listed, so no event may be counted; "
                "list them with --table NAME, DYNATOMIC_TABLES, or tables = [...] in the file"
            )
        return self.tables


@dataclass(frozen=True, slots=True)
class Setting:
    """What is known of one setting; `SETTINGS` has them all."""

    name: str
    type: Any
    default: Any
    help: str
    flags: tuple[str, ...]
    env: str
    metavar: str
    shown_default: str
    check: Check

    def validate(self, value: object, origin: str = "") -> None:
        """Raise `ConfigError` if the value, which came from ``origin``, cannot work."""
        if problem := self.check(value):
            raise ConfigError(f"{self.name}: {problem}" + (f" (from {origin})" if origin else ""))


def _settings() -> tuple[Setting, ...]:
    hints = get_type_hints(Settings, include_extras=True)
    found = []
    for item in fields(Settings):
        kind, about = get_args(hints[item.name])
        default = item.default if item.default_factory is MISSING else item.default_factory()
        flag = about.flag or "--" + item.name.replace("_", "-")
        found.append(
            Setting(
                name=item.name,
                type=kind,
                default=default,
                help=about.help,
                flags=(flag, about.short) if about.short else (flag,),
                env=f"DYNATOMIC_{item.name.upper()}",
                metavar=about.metavar,
                shown_default=about.unset if default in (None, (), {}) else str(default),
                check=about.check,
            )
        )
    return tuple(found)


SETTINGS = _settings()


def markdown_table() -> str:
    """Return the table of all settings for the documentation."""
    rows = ["| setting, flag | environment | default | meaning |", "|---|---|---|---|"]
    for setting in SETTINGS:
        flags = ", ".join(f"`{flag}`" for flag in setting.flags)
        rows.append(
            f"| `{setting.name}` {flags} | `{setting.env}` "
            f"| `{setting.shown_default}` | {setting.help} |"
        )
    return "\n".join(rows) + "\n"
