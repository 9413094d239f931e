"""What a file of counters says, checked. Values only."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from dynatomic.counting.expression import Expression
from dynatomic.counting.formats.avro_schema import AvroSchema
from dynatomic.counting.formats.envelopes import Envelope
from dynatomic.counting.formats.framing import Framing
from dynatomic.counting.formats.schemas import SchemaKey
from dynatomic.counting.template import Template

Format = Literal["json", "avro"]


@dataclass(frozen=True, slots=True)
class EventDefinition:
    """How an event is read. ``time`` None means the record's Kafka timestamp.

    ``schemas`` are those of the files that it names. ``registry`` is a URL, and ``subject`` is what
    the paths are checked with at the start; None means the topic's name with ``-value``.
    """

    format: Format = "json"
    framing: Framing = "none"
    registry: str | None = None
    subject: str | None = None
    schemas: Mapping[SchemaKey, AvroSchema] = field(default_factory=dict)
    envelope: Envelope = "none"
    time: Expression | None = None
    time_unit: str | None = None
    utc_offset_ms: int = 0
    max_age_s: int | None = None
    max_ahead_s: int | None = None


@dataclass(frozen=True, slots=True)
class Amount:
    """What one attribute gets: a constant, or a field of the event times ``10**scale``."""

    attribute: str
    constant: int = 0
    field: Expression | None = None
    scale: int = 0
    negative: bool = False


@dataclass(frozen=True, slots=True)
class CounterDefinition:
    """One ``[[counter]]``: which events it takes, which item they add to, and how much."""

    name: str
    table: str
    key: Template
    range: Template | None
    amounts: tuple[Amount, ...]
    when: Expression | None = None
    expires_s: int | None = None

    @property
    def bucket(self) -> str | None:
        """The bucket of time of its items, if they have one."""
        buckets = [*self.key.buckets, *(self.range.buckets if self.range else ())]
        return buckets[0] if buckets else None


@dataclass(frozen=True, slots=True)
class Example:
    """One ``[[example]]``: a record, and the additions that it must give, or a reason."""

    event: bytes
    gives: tuple[dict[str, Any], ...]
    rejected: str | None = None
    key: str | None = None
    headers: tuple[tuple[str, str], ...] = ()
    timestamp_ms: int | None = None


@dataclass(frozen=True, slots=True)
class CountersFile:
    """A whole file. ``path`` is for messages only."""

    path: str
    event: EventDefinition
    counters: tuple[CounterDefinition, ...]
    examples: tuple[Example, ...]
    fingerprint: str
