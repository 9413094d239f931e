"""What records add to which counters: a pure function of the records and the file."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from types import MappingProxyType
from typing import Any, NamedTuple

from dynatomic.counting.compiler import dict_loads
from dynatomic.counting.definition import CountersFile
from dynatomic.counting.formats.envelopes import SKIPPED
from dynatomic.counting.formats.framing import RecordHeaders
from dynatomic.counting.formats.schemas import FileSchemas, SchemaSource, SchemaUnavailableError
from dynatomic.counting.items import CounterUnit, Moments
from dynatomic.counting.program import Program, ProgramOutput
from dynatomic.counting.readers import is_plain_json, reader_of, uses_headers
from dynatomic.counting.reasons import EventRejected
from dynatomic.counting.records import MISFITS, JsonReader, Record, kafka_object, struct_loads


class CounterAddition(NamedTuple):
    """What one counter of the file adds to one item.

    ``amounts`` are pairs of attribute and increment. ``expires_s`` is the Unix time in seconds
    for the table's TTL attribute, or None.
    """

    counter: str
    table: str
    key: str
    range: str | None
    amounts: tuple[tuple[str, int], ...]
    expires_s: int | None


class Counted(NamedTuple):
    """What records add, in their order: ``units[i]`` is added ``multipliers[i]`` times.

    ``counts`` has the number of units of each record. It is 0 for one that no counter takes, for a
    tombstone (a null payload), and for a rejected record. ``rejected`` has the reason for each
    record of which a counter that takes it cannot be computed. ``multipliers`` is None
    if all are 1. ``unavailable`` has the records whose schema cannot be known now: they are
    neither counted nor rejected, and must be read again.
    """

    units: list[CounterUnit]
    multipliers: list[int] | None
    rejected: dict[int, EventRejected]
    counts: list[int]
    unavailable: Mapping[int, SchemaUnavailableError] = MappingProxyType({})


_Run = Callable[..., None]


def _no_kafka_object(_: int) -> Any:
    raise ValueError("this file uses _kafka: kafka_of is missing")


def _no_headers(_: int) -> RecordHeaders:
    raise ValueError("this file uses headers: headers_of is missing")


class Counting:
    """The counters of a file, compiled.

    ``schemas`` are needed if the file names a registry. ``uses_kafka`` says that an expression has
    ``_kafka`` in it, ``uses_headers`` that the format reads headers.
    """

    def __init__(self, definition: CountersFile, schemas: SchemaSource | None = None) -> None:
        event = definition.event
        moments = Moments(definition.counters, event.utc_offset_ms)
        program = Program(definition, moments)
        self._reader = JsonReader(program.tree)
        self._count_whole = program.build(dict_loads, dict_loads)
        self._count_fields = program.build(struct_loads, dict_loads)
        self._fields = self._reader.fields if is_plain_json(event) else None
        self._read = reader_of(
            event, program.tree, self._reader.whole, schemas or FileSchemas(event.schemas)
        )
        self.uses_kafka = program.kafka_tree is not None
        self.uses_headers = uses_headers(event)
        self._varies = any(
            amount.field is not None for c in definition.counters for amount in c.amounts
        )

    def count(
        self,
        values: Sequence[bytes | None],
        timestamps_ms: Sequence[int | None],
        kafka_of: Callable[[int], Any] = _no_kafka_object,
        headers_of: Callable[[int], RecordHeaders] = _no_headers,
    ) -> Counted:
        """Return what records add.

        ``kafka_of`` returns the ``_kafka`` object of a record by its index, see `kafka_object`, and
        ``headers_of`` its headers. They are called only if ``uses_kafka`` and ``uses_headers``.
        """
        output = ProgramOutput(len(values))
        unavailable: dict[int, SchemaUnavailableError] = {}
        try:
            if self._fields is None:
                raise TypeError
            events = list(map(self._fields, values))  # type: ignore[arg-type] # None is a misfit
        except MISFITS:
            headers = headers_of if self.uses_headers else lambda _: None
            decoded = [self._decode(value, headers, i) for i, value in enumerate(values)]
            for start, (count, events) in _runs(decoded):
                if count is not None:
                    count(events, start, timestamps_ms, kafka_of, output)
                    continue
                for index, error in enumerate(events, start):
                    if isinstance(error, EventRejected):
                        output.rejected[index] = error
                    elif error is not None:
                        unavailable[index] = error
        else:
            self._count_fields(events, 0, timestamps_ms, kafka_of, output)
        multipliers = output.multipliers if self._varies else None
        return Counted(output.units, multipliers, output.rejected, output.counts, unavailable)

    def _decode(
        self, value: bytes | None, headers_of: Callable[[int], RecordHeaders], index: int
    ) -> tuple[_Run | None, Any]:
        """Return the function that counts an event, and the event; or None and the error."""
        if value is None:
            return None, None
        try:
            if self._fields is not None:
                return self._count_fields, self._fields(value)
        except MISFITS:
            pass  # it is read as a whole below
        try:
            event = self._read(value, headers_of(index))
        except (EventRejected, SchemaUnavailableError) as error:
            return None, error.with_traceback(None)
        return (None, None) if event is SKIPPED else (self._count_whole, event)

    def additions(self, record: Record) -> list[CounterAddition]:
        """Return what one record adds; empty where no counter takes it.

        Raises EventRejected, and SchemaUnavailableError if its schema cannot be known now.
        """
        counted = self.count(
            [record.value],
            [record.timestamp_ms],
            lambda _: kafka_object(record),
            lambda _: record.headers,
        )
        if counted.unavailable:
            raise counted.unavailable[0]
        if counted.rejected:
            raise counted.rejected[0]
        multipliers = counted.multipliers or [1] * len(counted.units)
        pairs = zip(counted.units, multipliers, strict=True)
        return [_addition(list(run)) for _, run in groupby(pairs, key=lambda pair: pair[0].counter)]


def _runs(
    decoded: list[tuple[_Run | None, Any]],
) -> Iterator[tuple[int, tuple[_Run | None, list[Any]]]]:
    """Yield the start, function and events of each run of events that one function counts."""
    start = 0
    for count, run in groupby(decoded, key=itemgetter(0)):
        events = [event for _, event in run]
        yield start, (count, events)
        start += len(events)


def _addition(pairs: list[tuple[CounterUnit, int]]) -> CounterAddition:
    unit, _ = pairs[0]
    amounts = tuple((u.ref.name, u.incr * multiplier) for u, multiplier in pairs)
    return CounterAddition(
        counter=unit.counter,
        table=unit.ref.table,
        key=unit.ref.key,
        range=unit.ref.range,
        amounts=amounts,
        expires_s=unit.expires_s,
    )
