"""The baseline file: the contents of the tables at a point of the topic, as JSON lines.

The first line names the topic and the tables. Its ``offsets`` are the end of the baseline: the
tables contained all events below them. Each following line is an item: its counters, its fences
beyond the offsets, and its other numbers. A number may be a counter that no event has named yet, or
names now. The last line has the number of items, so a file that was cut off is noticed::

    {"format": "dynatomic baseline", "version": 2, "topic": ..., "topic_id": ..., "offsets": ...,
     "tables": ...}
    {"table": "usage", "key": "customer-7", "range": null, "counters": {"count": 5}, "others": {},
     "fences": {}}
    {"items": 1}
"""

import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple, Self

from dynatomic.dynamodb.items import ItemKey, item_key, key_of
from dynatomic.errors import ConfigError, DynatomicError
from dynatomic.kafka.client import Watermarks

FORMAT, VERSION = "dynatomic baseline", 2


class BaselineItem(NamedTuple):
    """The contents of one item."""

    table: str
    item: ItemKey
    counters: Mapping[str, int]
    others: Mapping[str, int]
    fences: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class Baseline:
    """The first line of a baseline file; ``offsets`` by partition."""

    path: Path
    topic: str
    topic_id: str | None
    offsets: Mapping[int, int]
    tables: tuple[str, ...]

    @classmethod
    def open(cls, path: Path) -> Self:
        """Read the first line; raises ConfigError if the file is not a baseline."""
        head = next(_lines(path))
        if head.get("format") != FORMAT:
            raise ConfigError(f"baseline {path}: not a file that `dynatomic verify` wrote")
        if head.get("version") != VERSION:
            raise ConfigError(
                f"baseline {path}: version {head.get('version')!r}, this dynatomic reads "
                f"{VERSION}; take a new one with --snapshot"
            )
        try:
            topic_id = head["topic_id"] and _text(head["topic_id"])
            topic, offsets = _text(head["topic"]), _by_partition(head["offsets"])
            tables = _texts(head["tables"])
        except (LookupError, TypeError, ValueError, AttributeError):
            raise _damaged(path, 1) from None
        return cls(path, topic, topic_id, offsets, tables)

    def items(self) -> Iterator[BaselineItem]:
        """Yield all items; raises ConfigError if the file is damaged or cut off."""
        count, ended = 0, False
        lines = enumerate(_lines(self.path), start=1)
        next(lines)
        for line_number, line in lines:
            if ended:
                raise _damaged(self.path, line_number)
            try:
                if "items" in line:
                    ended = line["items"] == count
                    continue
                range_ = line["range"]
                item = item_key(_text(line["key"]), range_ if range_ is None else _text(range_))
                counters, others = _whole_numbers(line["counters"]), _whole_numbers(line["others"])
                fences = _by_partition(line["fences"])
                item_held = BaselineItem(_text(line["table"]), item, counters, others, fences)
            except (LookupError, TypeError, ValueError, AttributeError):
                raise _damaged(self.path, line_number) from None
            count += 1
            yield item_held
        if not ended:
            raise ConfigError(f"baseline {self.path}: cut off after {count} items; copy it again")

    def check(self, topic: str, topic_id: str | None) -> None:
        """Raise ConfigError if the baseline belongs to another topic."""
        if topic != self.topic:
            raise ConfigError(
                f"baseline {self.path} belongs to topic {self.topic!r}, not to {topic!r}"
            )
        if topic_id != self.topic_id:
            raise ConfigError(
                f"baseline {self.path} belongs to another topic of the name {topic!r} (id "
                f"{self.topic_id}, now {topic_id}): it was deleted and made again; take a new one "
                "with --snapshot"
            )


def check_starts(topic: str, marks: Mapping[int, Watermarks], baseline: Baseline | None) -> None:
    """Raise ConfigError if events that must be recounted are not in the topic."""
    reached = baseline.offsets if baseline else {}
    for partition, (low, high) in sorted(marks.items()):
        offset = reached.get(partition, 0)
        if offset > high:
            raise ConfigError(
                f"the baseline reaches offset {offset} of partition {partition} of {topic}, which "
                f"ends at {high}: the topic lost events, or the baseline belongs to another topic"
            )
        if low <= offset:
            continue
        if baseline:
            have = f"the baseline reaches {offset}; use a newer one"
        else:
            have = "use --baseline FILE, which `dynatomic verify --snapshot FILE` wrote before"
        raise ConfigError(
            f"partition {partition} of {topic} begins at offset {low}: the events before it are "
            f"deleted and cannot be recounted; {have}"
        )
    if missing := sorted(n for n, offset in reached.items() if offset and n not in marks):
        raise ConfigError(f"the baseline has partition {missing[0]}, but {topic} does not have it")


def _lines(path: Path) -> Iterator[Any]:
    line_number = 0
    try:
        with path.open(encoding="utf-8") as file:
            for line_number, text in enumerate(file, start=1):
                line = json.loads(text)
                if not isinstance(line, dict):
                    raise _damaged(path, line_number)
                yield line
    except (ValueError, RecursionError):
        raise _damaged(path, line_number or 1) from None
    except OSError as error:
        raise ConfigError(f"baseline {path} cannot be read: {error.strerror}") from None
    if not line_number:
        raise _damaged(path, 1)


def _damaged(path: Path, line_number: int) -> ConfigError:
    return ConfigError(
        f"baseline {path}, line {line_number}: damaged, or not a file that `dynatomic verify` wrote"
    )


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(value)
    return value


def _texts(values: Any) -> tuple[str, ...]:
    if not isinstance(values, list):
        raise TypeError(values)
    return tuple(map(_text, values))


def _whole(value: Any) -> int:
    if type(value) is not int:
        raise TypeError(value)
    return value


def _whole_numbers(fields: Any) -> dict[str, int]:
    return {name: _whole(value) for name, value in fields.items()}


def _by_partition(fields: Any) -> dict[int, int]:
    return {int(partition): _whole(offset) for partition, offset in fields.items()}


class Snapshot:
    """Writes a baseline file, complete or not at all. Only its owner may read it.

    Raises DynatomicError if it cannot be written. The folder is checked at the start.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._count = 0
        try:
            if path.exists() and not path.is_file():  # such as /dev/stdout, which root may replace
                raise self._unwritable("it is not a regular file")
            handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        except OSError as error:
            raise self._unwritable(error.strerror) from None
        self._temporary = Path(name)
        self._file: IO[str] = os.fdopen(handle, "w", encoding="utf-8")

    def write_head(
        self, topic: str, topic_id: str | None, offsets: Mapping[int, int], tables: Sequence[str]
    ) -> None:
        """Write the first line."""
        fields = {"format": FORMAT, "version": VERSION, "topic": topic, "topic_id": topic_id}
        self._write(fields | {"offsets": offsets, "tables": tables})

    def add(self, item: BaselineItem) -> None:
        """Write an item."""
        key, range_ = key_of(item.item)
        numbers = {"counters": item.counters, "others": item.others, "fences": item.fences}
        self._write({"table": item.table, "key": key, "range": range_} | numbers)
        self._count += 1

    def complete(self) -> None:
        """Complete the file and move it to its path."""
        self._write({"items": self._count})
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._temporary.replace(self.path)
        except OSError as error:
            raise self._unwritable(error.strerror) from None

    def _write(self, fields: Mapping[str, Any]) -> None:
        try:
            self._file.write(json.dumps(fields) + "\n")
        except OSError as error:
            raise self._unwritable(error.strerror) from None

    def _unwritable(self, cause: str | None) -> DynatomicError:
        return DynatomicError(f"snapshot {self.path} cannot be written: {cause}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):  # a full disk was reported before
            self._file.close()
        self._temporary.unlink(missing_ok=True)


def require_listed(items: Iterable[BaselineItem], tables: Iterable[str]) -> Iterator[BaselineItem]:
    """Yield the items; raises ConfigError if the table of an item is not listed."""
    listed = set(tables)
    for item in items:
        if item.table not in listed:
            raise ConfigError(f"the baseline has items of table {item.table}: list it with --table")
        yield item
