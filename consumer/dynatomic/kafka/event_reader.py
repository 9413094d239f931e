"""Reads consumed messages of any format: what each adds to which counter.

The worker, `verify` and `dlq` read events only this way, so they always agree on an event.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Protocol

from dynatomic.config.settings import Settings
from dynatomic.counting.definition import CountersFile
from dynatomic.events.decoded import Decoded, Increment
from dynatomic.events.decoder import Decoder
from dynatomic.events.row import CounterRef, KeySchema, Row
from dynatomic.events.schema import encode, load_writer_schema
from dynatomic.kafka.messages import value_of


class EventReader(Protocol):
    """Reads what messages add. A pure function of the messages and the settings.

    ``decodes`` counts the payloads that no memo had. ``reads_only_payloads`` says that messages
    with equal payloads always add the same.
    """

    @property
    def decodes(self) -> int:
        """How many payloads were decoded."""

    @property
    def reads_only_payloads(self) -> bool:
        """Whether nothing but the payload of a message matters."""

    def read(self, messages: Sequence[Any], /) -> Decoded:
        """Return what each message adds, in order."""

    def refused_counters(
        self, message: Any, refs: Collection[CounterRef], /
    ) -> tuple[str, ...] | None:
        """Return the names of the message's counters in ``refs``; None if all of them are.

        ``refs`` are counters that a table refused.
        """

    def lost_event(self, increments: Sequence[Increment], /) -> tuple[bytes, bool]:
        """Return a payload for an event that the topic no longer has.

        The second value is whether a reader can read that payload again. ``increments`` are what
        the event adds and the table refused.
        """

    def without_counters(self, message: Any, names: Collection[str], /) -> Any | None:
        """Return the message with only those counters that are not in ``names``.

        None if no other counter takes it.
        """


def read_all(reader: EventReader, messages: Sequence[Any]) -> Decoded:
    """Return what each message adds. Raises UnavailableError if one cannot be judged now."""
    decoded = reader.read(messages)
    if decoded.unavailable:
        raise next(iter(decoded.unavailable.values()))
    return decoded


class RowReader:
    """Reads row events: each adds to one counter, which its payload names."""

    reads_only_payloads = True

    def __init__(self, decoder: Decoder) -> None:
        self._decoder = decoder

    @property
    def decodes(self) -> int:
        """How many payloads Avro decoded."""
        return self._decoder.decodes

    def read(self, messages: Sequence[Any]) -> Decoded:
        """Return what each message adds, in order."""
        return self._decoder.decode(list(map(value_of, messages)))

    def refused_counters(
        self, message: Any, refs: Collection[CounterRef]
    ) -> tuple[str, ...] | None:
        """Return None: a row has one counter."""

    def lost_event(self, increments: Sequence[Increment]) -> tuple[bytes, bool]:
        """Return the row that adds the same."""
        ((ref, incr),) = increments
        return encode(Row(ref.table, ref.key, range=ref.range, counter=ref.name, incr=incr)), True

    def without_counters(self, message: Any, names: Collection[str]) -> Any | None:
        """Return None: a row has one counter."""


class WrappingReader:
    """Reads with another reader. A subclass changes what `read` returns."""

    def __init__(self, reader: EventReader) -> None:
        self._reader = reader

    @property
    def decodes(self) -> int:
        """How many payloads were decoded."""
        return self._reader.decodes

    @property
    def reads_only_payloads(self) -> bool:
        """Whether nothing but the payload of a message matters."""
        return self._reader.reads_only_payloads

    def refused_counters(
        self, message: Any, refs: Collection[CounterRef]
    ) -> tuple[str, ...] | None:
        """Return the names of the message's counters in ``refs``; None if all of them are."""
        return self._reader.refused_counters(message, refs)

    def lost_event(self, increments: Sequence[Increment]) -> tuple[bytes, bool]:
        """Return a payload for an event that the topic no longer has."""
        return self._reader.lost_event(increments)

    def without_counters(self, message: Any, names: Collection[str]) -> Any | None:
        """Return the message with only those counters that are not in ``names``."""
        return self._reader.without_counters(message, names)


def event_reader(
    settings: Settings,
    keys: Mapping[str, KeySchema],
    definition: CountersFile | None,
    *,
    schema_wait_s: float = 30.0,
) -> EventReader:
    """Return the reader of the events of these settings: of a counters file, or of rows.

    ``schema_wait_s`` is how long a read waits for a schema registry.

    Raises ConfigError if a table cannot have a counter of the file, or the writer's schema is
    wrong.
    """
    if definition is None:
        schema = load_writer_schema(settings.writer_schema)
        return RowReader(Decoder.of(settings, keys, schema))
    # Not for rows.
    from dynatomic.kafka.counters_reader import CountersReader  # noqa: PLC0415
    from dynatomic.registry.open import open_schemas  # noqa: PLC0415

    return CountersReader(
        definition,
        keys,
        schemas=open_schemas(definition, wait_s=schema_wait_s),
        max_bytes=settings.max_payload_bytes,
        min_incr=settings.min_incr,
        max_incr=settings.max_incr,
    )
