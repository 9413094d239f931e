"""A record of the log, and how its payload becomes an event.

JSON is read by msgspec. The fields that the file names are read into structures of their own,
which leaves the rest of the payload unread. A payload that does not fit these structures, such
as one with text where the file expects an object, is read again as a whole.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec

from dynatomic.counting.expression import KAFKA_ROOT, Path, dict_access
from dynatomic.counting.functions import number
from dynatomic.counting.reasons import Rejected, RejectReason


class Record(NamedTuple):
    """One record. ``timestamp_ms`` is Kafka's, in Unix time; None in an example without one."""

    value: bytes
    key: bytes | None = None
    headers: tuple[tuple[str, bytes | None], ...] = ()
    timestamp_ms: int | None = 0
    partition: int = 0
    offset: int = 0
    topic: str = ""


def kafka_object(record: Record) -> dict[str, Any]:
    """Return what an expression sees as ``_kafka``; bytes that are not UTF-8 are null."""
    return {
        "key": _utf8(record.key),
        "headers": {name: _utf8(value) for name, value in record.headers},
        "timestamp": record.timestamp_ms,
        "partition": record.partition,
        "topic": record.topic,
    }


def _utf8(value: bytes | None) -> str | None:
    try:
        return None if value is None else value.decode()
    except UnicodeDecodeError:
        return None


@dataclass(slots=True)
class _Node:
    """A field of the tree that the file reads; ``whole`` if its value is needed as it is."""

    whole: bool = False
    children: dict[str, "_Node"] = field(default_factory=dict)


class JsonReader:
    """Reads the fields of JSON payloads that the given paths name."""

    def __init__(self, paths: Iterable[Path]) -> None:
        wanted = [path for path in paths if path[:1] != (KAFKA_ROOT,)]
        self._root = _tree(wanted)
        self._whole = msgspec.json.Decoder(float_hook=number).decode
        self._fields: Callable[[bytes], Any] | None = None
        if not self._root.whole:
            structure = _structure(self._root)
            self._fields = msgspec.json.Decoder(structure, float_hook=number).decode

    @property
    def reads_fields(self) -> bool:
        """Whether `fields` can be used: no expression needs the whole event."""
        return self._fields is not None

    def fields(self, payload: bytes) -> Any | None:
        """Return the structure of a payload for `access`, or None if it does not fit."""
        if self._fields is None:
            return None
        try:
            return self._fields(payload)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError):
            return None

    def whole(self, payload: bytes) -> Any:
        """Return all of a payload as dicts and lists; raises Rejected if it is not JSON."""
        try:
            return self._whole(payload)
        except RecursionError:
            raise Rejected(RejectReason.UNDECODABLE, "JSON nested too deeply") from None
        except UnicodeDecodeError:
            raise Rejected(RejectReason.UNDECODABLE, "not UTF-8") from None
        except msgspec.ValidationError:
            raise Rejected(RejectReason.UNDECODABLE, "JSON with a number too long") from None
        except (msgspec.DecodeError, ValueError):
            raise Rejected(RejectReason.UNDECODABLE, "not JSON") from None

    def access(self, root: str, path: Path) -> str:
        """Return source text that reads a path from the structure; see `expression.Access`."""
        source, node = root, self._root
        for position, name in enumerate(path):
            if node.whole:
                return dict_access(source, path[position:])
            index = list(node.children).index(name)
            source = f"(s.f{index} if (s := {source}) is not None else None)"
            node = node.children[name]
        return source


def _tree(paths: list[Path]) -> _Node:
    root = _Node(whole=() in paths)
    for path in sorted(paths, key=len):
        node = root
        for name in path:
            if node.whole:
                break
            node = node.children.setdefault(name, _Node())
        else:
            node.whole = True
    return root


def _structure(node: _Node) -> type[Any]:
    fields: list[tuple[str, Any, Any]] = []
    names: Mapping[str, str] = {f"f{i}": name for i, name in enumerate(node.children)}
    for index, child in enumerate(node.children.values()):
        kind: Any = Any if child.whole else _structure(child) | None
        fields.append((f"f{index}", kind, None))
    return msgspec.defstruct("Fields", fields, rename=names, frozen=True, gc=False)
