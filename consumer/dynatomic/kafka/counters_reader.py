"""Events of other formats, read as a counters file says.

What a message adds is a function of the message, the file and the keys of the tables. A replayed
event has the Kafka timestamp of the original one. It counts only in the counters named in its
header (`dead_letters.letter`).
"""

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import islice, repeat
from typing import Any

from confluent_kafka import Message

from dynatomic.counting.check_keys import check_keys
from dynatomic.counting.counting import Counted, Counting
from dynatomic.counting.definition import CountersFile
from dynatomic.counting.formats.schemas import SchemaSource
from dynatomic.counting.items import CounterUnit
from dynatomic.counting.reasons import EventRejected, RejectReason
from dynatomic.counting.records import Record, kafka_object
from dynatomic.errors import RowError
from dynatomic.events.decoded import Decoded, Increment, UnitIncrement
from dynatomic.events.row import (
    INT64_MAX,
    INT64_MIN,
    CounterRef,
    KeySchema,
    Reason,
    Row,
    key_value,
)
from dynatomic.kafka.messages import (
    UNDECODABLE_HEADERS,
    headers_of,
    readable_headers,
    value_of,
)
from dynatomic.kafka.replayed import (
    COUNTERS,
    REPLAY,
    TIMESTAMP,
    Headers,
    counters_of_replay,
    original_timestamp_ms,
)

_timestamp_of: Callable[[Any], tuple[int, int]] = Message.timestamp


class CountersReader:
    """Reads what messages add to the counters of a file.

    ``keys`` are those of its tables. An event with an increment outside of ``min_incr`` and
    ``max_incr`` is rejected. Raises ConfigError if a table cannot have a counter.
    """

    reads_only_payloads = False

    def __init__(  # noqa: PLR0913 - one argument a rule, most of them by keyword
        self,
        definition: CountersFile,
        keys: Mapping[str, KeySchema],
        *,
        schemas: SchemaSource | None = None,
        max_bytes: int,
        min_incr: int = INT64_MIN,
        max_incr: int = INT64_MAX,
    ) -> None:
        check_keys(definition, keys)
        self.decodes = 0
        self._counting = Counting(definition, schemas)
        self._max_bytes = max_bytes
        self._bounds = min_incr, max_incr
        self._is_bounded = min_incr > INT64_MIN or max_incr < INT64_MAX
        self._numeric_key_tables = {
            table: schema for table, schema in keys.items() if _has_numeric_key(schema)
        }
        self._may_expire = _may_expire(definition)
        self._must_check = self._is_bounded or bool(self._numeric_key_tables) or self._may_expire

    def read(self, messages: Sequence[Any]) -> Decoded:
        """Return what each message adds, in order."""
        values = list(map(value_of, messages))
        headers = _headers(messages)
        rejected: dict[int, RowError] = {}
        if max(map(len, filter(None, values)), default=0) > self._max_bytes:
            rejected = self._too_large(values)
        tombstones = frozenset(
            index for index, value in enumerate(values) if value is None and index not in rejected
        )
        timestamps = [stamp if stamp >= 0 else None for _, stamp in map(_timestamp_of, messages)]
        replayed = _replayed(headers)
        for index, own in replayed.items():
            timestamps[index] = original_timestamp_ms(own, timestamps[index])

        def kafka_of(index: int) -> Any:
            message = messages[index]
            return kafka_object(
                Record(
                    value=b"",
                    key=message.key(),
                    headers=tuple(headers[index] or ()) if headers is not None else (),
                    timestamp_ms=timestamps[index],
                    partition=message.partition(),
                    offset=message.offset(),
                    topic=message.topic(),
                )
            )

        def headers_at(index: int) -> Headers | None:
            return None if headers is None else headers[index]

        counted = self._counting.count(values, timestamps, kafka_of, headers_at)
        self.decodes += len(values)
        if self._must_check or replayed:
            counted = self._checked(counted, timestamps, replayed)
        return Decoded(
            unit_increments=counted.units,  # type: ignore[arg-type] # a list of a subclass
            multipliers=counted.multipliers,
            rejected=rejected | counted.rejected,
            counts=counted.counts,
            tombstones=tombstones,
            unavailable=counted.unavailable,
        )

    def _too_large(self, values: list[bytes | None]) -> dict[int, RowError]:
        """Replace too large payloads by None, and return the reasons."""
        rejected: dict[int, RowError] = {}
        for index, value in enumerate(values):
            if value is not None and len(value) > self._max_bytes:
                detail = f"{len(value)} bytes, the limit is {self._max_bytes}"
                rejected[index] = RowError(Reason.TOO_LARGE, f"{detail}: see --max-payload-bytes")
                values[index] = None
        return rejected

    def _checked(
        self,
        counted: Counted,
        timestamps_ms: Sequence[int | None],
        replayed: Mapping[int, Headers],
    ) -> Counted:
        """Return what remains after the checks that need more than the event and the file."""
        units: list[CounterUnit] = []
        multipliers: list[int] = []
        rejected, counts = dict(counted.rejected), [0] * len(counted.counts)
        chosen = {index: counters_of_replay(headers) for index, headers in replayed.items()}
        pairs = zip(counted.units, counted.multipliers or repeat(1), strict=False)
        for index, count in enumerate(counted.counts):
            names = chosen.get(index)
            own = [(u, m) for u, m in islice(pairs, count) if names is None or name_of(u) in names]
            try:
                checked = [self._check(unit, m, timestamps_ms[index]) for unit, m in own]
            except RowError as error:
                rejected[index] = EventRejected(error.reason, error.detail)
            else:
                units += checked
                multipliers += [multiplier for _, multiplier in own]
                counts[index] = len(own)
        return Counted(units, multipliers, rejected, counts, counted.unavailable)

    def _check(self, unit: CounterUnit, multiplier: int, timestamp_ms: int | None) -> CounterUnit:
        incr, (low, high) = unit.incr * multiplier, self._bounds
        if not low <= incr <= high:
            detail = f"counter {unit.counter}: {unit.ref.name}: not in {low}..{high}"
            raise EventRejected(RejectReason.INCR_OUT_OF_BOUNDS, detail)
        expires_s = unit.expires_s
        if expires_s is not None and timestamp_ms is not None and timestamp_ms >= expires_s * 1000:
            detail = f"counter {unit.counter}: the item has expired"
            raise EventRejected(RejectReason.TIME_OUT_OF_RANGE, detail)
        keys = self._numeric_key_tables.get(unit.ref.table)
        if keys is None:
            return unit
        try:
            key = key_value(unit.ref.key, keys.hash_type)
            range_ = unit.ref.range
            if range_ is not None:
                range_ = key_value(range_, keys.range_type or "S")
        except RowError as error:
            raise EventRejected(error.reason, f"counter {unit.counter}: {error.detail}") from None
        ref = CounterRef(unit.ref.table, key, range_, unit.ref.name)
        return CounterUnit(ref, unit.incr, unit.counter, expires_s)

    def refused_counters(
        self, message: Any, refs: Collection[CounterRef]
    ) -> tuple[str, ...] | None:
        """Return the names of the message's counters in ``refs``; None if all of them are."""
        units = self.read([message]).unit_increments
        refused = [unit for unit in units if unit.ref in refs]
        if len(refused) == len(units):
            return None
        return tuple(dict.fromkeys(map(name_of, refused)))

    def lost_event(self, increments: Sequence[Increment]) -> tuple[bytes, bool]:
        """Return what the event adds, as rows in JSON: the event itself cannot be made again."""
        rows = [
            Row(ref.table, ref.key, range=ref.range, counter=ref.name, incr=incr)._asdict()
            for ref, incr in increments
        ]
        return json.dumps(rows).encode(), False

    def without_counters(self, message: Any, names: Collection[str]) -> Any | None:
        """Return the message with only those counters that are not in ``names``.

        None if no other counter takes it.
        """
        taken = dict.fromkeys(map(name_of, self.read([message]).unit_increments))
        others = [name for name in taken if name not in names]
        if not others:
            return None
        headers = list(readable_headers(message) or ())
        kind, stamp = message.timestamp()
        original_ms = original_timestamp_ms(headers, stamp if stamp >= 0 else None)
        known = [] if original_ms is None else [(TIMESTAMP, str(original_ms).encode())]
        return Message(
            topic=message.topic(),
            partition=message.partition(),
            offset=message.offset(),
            key=message.key(),
            value=message.value(),
            headers=[*headers, (REPLAY, b""), *known, (COUNTERS, json.dumps(others).encode())],
            timestamp=(kind, stamp),
        )


def name_of(unit: UnitIncrement) -> str:
    """Return the name of a counter in dead letters: the counter of the file, and its attribute."""
    counter = unit.counter if isinstance(unit, CounterUnit) else ""
    return f"{counter}/{unit.ref.name}"


def _headers(messages: Sequence[Any]) -> list[Headers | None] | None:
    """Return the headers of each message, None if no message has any."""
    try:
        headers = list(map(headers_of, messages))
    except UNDECODABLE_HEADERS:
        headers = list(map(readable_headers, messages))
    return headers if any(headers) else None


def _replayed(headers: list[Headers | None] | None) -> dict[int, Headers]:
    """Return the headers of replayed events, by their index."""
    if headers is None:
        return {}
    return {
        index: own
        for index, own in enumerate(headers)
        if own and any(name == REPLAY for name, _ in own)
    }


def _has_numeric_key(keys: KeySchema) -> bool:
    return "N" in (keys.hash_type, keys.range_type)


def _may_expire(definition: CountersFile) -> bool:
    """Return whether an event can be older than the life of its item.

    The time of an event is at most ``max_age`` before its Kafka timestamp. An item expires
    ``expires`` after its bucket ends. So no event is late if ``expires`` is longer than
    ``max_age``.
    """
    if definition.event.time is None:
        return False
    max_age_s = definition.event.max_age_s
    lives = [c.expires_s for c in definition.counters if c.expires_s is not None]
    return any(max_age_s is None or life <= max_age_s for life in lives)
