"""A record of the log, and how its payload becomes an event.

JSON is read by msgspec. The fields that the file names are read into structures of their own,
which leaves the rest of the payload unread. A payload that does not fit these structures, such
as one with text where the file expects an object, is read again as a whole.
"""

from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

import msgspec

from dynatomic.counting.compiler import Tree, dict_loads
from dynatomic.counting.functions import exact_number
from dynatomic.counting.reasons import EventRejected, RejectReason


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


class JsonReader:
    """Reads JSON payloads: the fields of a tree as structures, or the whole as dicts and lists."""

    def __init__(self, tree: Tree) -> None:
        self._whole = msgspec.json.Decoder(float_hook=exact_number).decode
        self.fields: Callable[[bytes], Any] | None = None
        """Returns the structure of a payload for `struct_loads`; raises one of `MISFITS` if the
        payload does not fit. None if an expression needs the whole event."""
        if tree.variable is None:
            self.fields = msgspec.json.Decoder(_structure(tree), float_hook=exact_number).decode

    def whole(self, payload: bytes) -> Any:
        """Return all of a payload; raises EventRejected if it is not JSON."""
        try:
            return self._whole(payload)
        except RecursionError:
            raise EventRejected(RejectReason.UNDECODABLE, "JSON nested too deeply") from None
        except UnicodeDecodeError:
            raise EventRejected(RejectReason.UNDECODABLE, "not UTF-8") from None
        except msgspec.ValidationError:
            raise EventRejected(RejectReason.UNDECODABLE, "JSON with a number too long") from None
        except (msgspec.DecodeError, ValueError):
            raise EventRejected(RejectReason.UNDECODABLE, "not JSON") from None


MISFITS: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError, TypeError)


def struct_loads(tree: Tree, root: str) -> list[str]:
    """Return statements that read the fields of a tree from its structure."""
    lines: list[str] = []
    for index, child in enumerate(tree.children.values()):
        target = child.variable or f"{root}_{index}"
        lines.append(f"{target} = None if {root} is None else {root}.f{index}")
        if child.variable is None:
            lines += struct_loads(child, target)
        else:
            lines += dict_loads(Tree(None, child.children), target)
    return lines


def _structure(tree: Tree) -> type[Any]:
    fields: list[tuple[str, Any, Any]] = []
    names: Mapping[str, str] = {f"f{i}": name for i, name in enumerate(tree.children)}
    for index, child in enumerate(tree.children.values()):
        kind: Any = Any if child.variable is not None else _structure(child) | None
        fields.append((f"f{index}", kind, None))
    return msgspec.defstruct("Fields", fields, rename=names, frozen=True, gc=False)
