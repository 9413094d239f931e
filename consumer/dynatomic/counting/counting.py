"""What records add to which counters: a pure function of the records and the file."""

from collections.abc import Callable, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any, NamedTuple

from dynatomic.counting.compiler import dict_loads
from dynatomic.counting.definition import CountersFile
from dynatomic.counting.items import CounterUnit, Moments
from dynatomic.counting.program import Output, Program
from dynatomic.counting.reasons import Rejected
from dynatomic.counting.records import MISFITS, JsonReader, Record, kafka_object, struct_loads


class Addition(NamedTuple):
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
    """What records add: ``units[i]``, ``multipliers[i]`` times, in the order of the records.

    ``counts`` has the number of units of each record. It is 0 for one that no counter takes, for a
    tombstone (a null payload), and for one in ``rejected``, which has the reason for each record
    that adds nothing because a counter that takes it cannot be computed. ``multipliers`` is None
    if all are 1.
    """

    units: list[CounterUnit]
    multipliers: list[int] | None
    rejected: dict[int, Rejected]
    counts: list[int]


def _no_kafka_object(_: int) -> Any:
    raise ValueError("this file uses _kafka: kafka_of is missing")


class Counting:
    """The counters of a file, compiled. ``uses_kafka`` if an expression has ``_kafka`` in it."""

    def __init__(self, definition: CountersFile) -> None:
        moments = Moments(definition.counters, definition.event.utc_offset_ms)
        program = Program(definition, moments)
        self._reader = JsonReader(program.tree)
        self._count_whole = program.build(dict_loads, dict_loads)
        self._count_fields = program.build(struct_loads, dict_loads)
        self.uses_kafka = program.kafka_tree is not None
        self._varies = any(
            amount.field is not None for c in definition.counters for amount in c.amounts
        )

    def count(
        self,
        values: Sequence[bytes | None],
        timestamps_ms: Sequence[int | None],
        kafka_of: Callable[[int], Any] = _no_kafka_object,
    ) -> Counted:
        """Return what records add.

        ``kafka_of`` returns the ``_kafka`` object of a record by its index; see `kafka_object`. It
        is called only if ``uses_kafka``.
        """
        output = Output(len(values))
        fields = self._reader.fields
        try:
            if fields is None:
                raise TypeError
            events = list(map(fields, values))  # type: ignore[arg-type] # None is a misfit
        except MISFITS:
            self._count_one_by_one(values, timestamps_ms, kafka_of, output)
        else:
            self._count_fields(events, 0, timestamps_ms, kafka_of, output)
        multipliers = output.multipliers if self._varies else None
        return Counted(output.units, multipliers, output.rejected, output.counts)

    def _count_one_by_one(
        self,
        values: Sequence[bytes | None],
        timestamps_ms: Sequence[int | None],
        kafka_of: Callable[[int], Any],
        output: Output,
    ) -> None:
        decoded = [self._decode(value) for value in values]
        start = 0
        for count, run in groupby(decoded, key=itemgetter(0)):
            events = [event for _, event in run]
            if count is not None:
                count(events, start, timestamps_ms, kafka_of, output)
            else:
                errors = enumerate(events, start)
                output.rejected.update({i: e for i, e in errors if isinstance(e, Rejected)})
            start += len(events)

    def _decode(self, value: bytes | None) -> tuple[Callable[..., None] | None, Any]:
        """Return the function that counts an event, and the event; None and why there is none."""
        if value is None:
            return None, None
        try:
            if self._reader.fields is not None:
                return self._count_fields, self._reader.fields(value)
        except MISFITS:
            pass  # it is read as a whole below
        try:
            return self._count_whole, self._reader.whole(value)
        except Rejected as error:
            return None, error.with_traceback(None)

    def additions(self, record: Record) -> list[Addition]:
        """Return what one record adds; raises Rejected. Empty where no counter takes it."""
        counted = self.count([record.value], [record.timestamp_ms], lambda _: kafka_object(record))
        if counted.rejected:
            raise counted.rejected[0]
        multipliers = counted.multipliers or [1] * len(counted.units)
        pairs = zip(counted.units, multipliers, strict=True)
        return [_addition(list(run)) for _, run in groupby(pairs, key=lambda pair: pair[0].counter)]


def _addition(pairs: list[tuple[CounterUnit, int]]) -> Addition:
    unit, _ = pairs[0]
    amounts = tuple((u.ref.name, u.incr * multiplier) for u, multiplier in pairs)
    return Addition(
        unit.counter, unit.ref.table, unit.ref.key, unit.ref.range, amounts, unit.expires_s
    )
