"""The requests that add a sum to an item: PartiQL statements and UpdateItem arguments. Pure.

Table and attribute names are quoted in the statements. They come from the allow-list, from
DescribeTable and from `row.check_counter_name`. Values are always parameters.

Source: AWS, *PartiQL for DynamoDB* (UPDATE, INSERT, BatchExecuteStatement).
"""

import json
import re
from collections.abc import Iterable, Mapping
from enum import Enum
from json.encoder import encode_basestring_ascii as quoted
from operator import itemgetter
from typing import Any, NamedTuple

from dynatomic.dynamodb.fence import Fence
from dynatomic.events.row import CounterRef, KeySchema
from dynatomic.events.window import ItemRef

BATCH = 25
"""The largest number of statements in one BatchExecuteStatement."""

MAX_TEMPLATE_BYTES, _TEMPLATE_OVERHEAD = 8_000_000, 200
"""Up to how many bytes the templates of statements are kept, and the estimate for one counter."""

AttributeValue = dict[str, Any]

_MARK = re.compile(r'"\\u0000(\w+)"')
_StatementTemplate = tuple[str, "itemgetter[Any]"]


class Step(Enum):
    """One way to write a change. The answers decide which step a change takes next.

    A change starts with UPDATE, or with INSERT while most items of its table are missing.

    UPDATE adds to an item that has the counters and, with a fence, the fence. ADD_FENCE adds to
    an item that has no fence of this partition yet. INSERT creates the item. UPDATE_ITEM creates
    what is missing: the item, a counter or the fence. INSPECT reads an item that refused
    UPDATE_ITEM: its condition is that the item does not exist, so the answer contains the item.
    """

    UPDATE = "update"
    ADD_FENCE = "add-fence"
    INSERT = "insert"
    UPDATE_ITEM = "update-item"
    INSPECT = "inspect"

    @property
    def alone(self) -> bool:
        """Whether a request of this step takes one change, not a batch."""
        return self in {Step.UPDATE_ITEM, Step.INSPECT}


class Change(NamedTuple):
    """The sums that a window adds to the counters of one item.

    With a ``fence``, the item takes them only once and all together. ``expires_s`` is the time of
    the table's TTL attribute, in seconds of Unix time, None for an item that does not expire.
    """

    table: str
    key: str
    range: str | None
    sums: Mapping[str, int]
    fence: Fence | None = None
    expires_s: int | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the counters, sorted, so that equal changes make equal statements."""
        return tuple(sorted(self.sums))

    def refs(self) -> list[CounterRef]:
        """Return the counters of this change."""
        return [CounterRef(self.table, self.key, self.range, name) for name in self.names]

    def only(self, sums: Mapping[str, int], first: int | None = None) -> "Change":
        """Return the change with these sums instead, of the events from offset ``first`` on."""
        fence = self.fence
        if fence is not None and first is not None:
            fence = Fence(fence.name, first, fence.last)
        return Change(self.table, self.key, self.range, sums, fence, self.expires_s)


def group_changes(
    sums: Mapping[CounterRef, int],
    fence: Fence | None = None,
    expires_s: Mapping[ItemRef, int] | None = None,
) -> dict[str, list[Change]]:
    """Return the changes of each table: one change for each item.

    DynamoDB refuses a batch with two statements for one item. A sum of zero is written too: it
    creates the counter. ``expires_s`` has the time to live of the items that have one.
    """
    items: dict[ItemRef, dict[str, int]] = {}
    for (table, key, range_, name), total in sums.items():
        item = (table, key, range_)
        if item in items:
            items[item][name] = total
        else:
            items[item] = {name: total}
    grouped: dict[str, list[Change]] = {table: [] for table, _, _ in items}
    for (table, key, range_), counters in items.items():
        grouped[table].append(Change(table, key, range_, counters, fence))
    if expires_s:
        return {
            table: [c._replace(expires_s=expires_s.get(c[:3])) for c in changes]
            for table, changes in grouped.items()
        }
    return grouped


def key_attributes(keys: KeySchema, key: str, range_: str | None) -> dict[str, AttributeValue]:
    """Return the key of an item as DynamoDB expects it."""
    attributes: dict[str, AttributeValue] = {keys.hash_name: {keys.hash_type: key}}
    if keys.range_name is not None and range_ is not None:
        attributes[keys.range_name] = {keys.range_type or "S": range_}
    return attributes


def statement(step: Step, keys: KeySchema, change: Change) -> dict[str, Any]:
    """Return the PartiQL statement of a change, for ExecuteStatement or a batch of them."""
    where = key_attributes(keys, change.key, change.range)
    fence = change.fence
    sums = [_attribute(change.sums[name]) for name in change.names]
    names = list(change.names)
    last = [_attribute(fence.last)] if fence else []
    life = [] if change.expires_s is None else [_attribute(change.expires_s)]
    ttl = [ttl_attribute(keys, change)] if life else []
    if step is Step.INSERT:
        names = [*where, *names, *ttl, *([fence.name] if fence else ())]
        pairs = ", ".join(f"'{name}': ?" for name in names)
        text = f'INSERT INTO "{change.table}" VALUE {{{pairs}}}'
        parameters = [*where.values(), *sums, *life, *last]
    else:
        sets = " ".join(f'SET "{name}"="{name}"+?' for name in names)
        sets += "".join(f' SET "{name}"=?' for name in ttl)
        condition = " AND ".join(f'"{name}"=?' for name in where)
        parameters = [*sums, *life, *last, *where.values()]
        if fence:
            sets += f' SET "{fence.name}"=?'
            if step is Step.ADD_FENCE:
                condition += f' AND "{fence.name}" IS MISSING'
            else:
                condition += f' AND "{fence.name}"<?'
                parameters.append(_attribute(fence.first))
        text = f'UPDATE "{change.table}" {sets} WHERE {condition}'
    return {
        "Statement": text,
        "Parameters": parameters,
        "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
    }


def request_body(step: Step, keys: Mapping[str, KeySchema], batch: Iterable[Change]) -> bytes:
    """Return the JSON body of a BatchExecuteStatement: the statements of up to 25 changes."""
    templates: dict[Any, _StatementTemplate] = {}
    texts = []
    for table, key, range_, sums, fence, expires_s in batch:
        names = tuple(sums) if len(sums) == 1 else tuple(sorted(sums))
        shape = (table, names, fence and fence.name, expires_s is not None)
        if shape not in templates:
            templates[shape] = _TEMPLATES[step, keys[table], *shape]
        text, pick = templates[shape]
        first, last = (fence.first, fence.last) if fence else (0, 0)
        totals = [sums[name] for name in names]
        life = expires_s or 0
        texts.append(text % pick((quoted(key), quoted(range_ or ""), first, last, life, *totals)))
    joined = ", ".join(texts)
    return f'{{"Statements": [{joined}], "ReturnConsumedCapacity": "TOTAL"}}'.encode()


def _template(  # noqa: PLR0913 - the shape of a statement
    step: Step,
    keys: KeySchema,
    table: str,
    names: tuple[str, ...],
    fence: str | None,
    expires: bool,  # noqa: FBT001 - a part of the shape
) -> _StatementTemplate:
    """Return the JSON text of a statement with format fields, and a getter of their values.

    The getter picks the values from key, range, first and last offset, the time to live, and the
    sums in the order of the names. The text is that of `statement` for a change whose values are
    marks.
    """
    marks: Any = {name: f"\0{index}" for index, name in enumerate(names)}
    window: Any = ("\0first", "\0last")
    made = Fence(fence, *window) if fence else None
    life: Any = "\0life" if expires else None
    change = Change(table, "\0key", "\0range", marks, made, life)
    text = json.dumps(statement(step, keys, change)).replace("%", "%%")
    order = ["key", "range", "first", "last", "life", *map(str, range(len(names)))]
    pick = itemgetter(*[order.index(name) for name in _MARK.findall(text)])
    key_fields = {"key": "%s", "range": "%s"}
    return _MARK.sub(lambda mark: key_fields.get(mark[1], '"%d"'), text), pick


class _Templates(dict[Any, _StatementTemplate]):
    """Templates by step, key schema, table, names and fence; cleared when they are too large.

    Request threads share it. Two of them may make the same template, which is harmless.
    """

    def __init__(self) -> None:
        super().__init__()
        self._bytes = 0

    def __missing__(
        self, shape: tuple[Step, KeySchema, str, tuple[str, ...], str | None, bool]
    ) -> Any:
        template = _template(*shape)
        self._bytes += _TEMPLATE_OVERHEAD * (1 + len(shape[3])) + 2 * len(template[0])
        if self._bytes > MAX_TEMPLATE_BYTES:
            self.clear()
            self._bytes = 0
        self[shape] = template
        return template


_TEMPLATES = _Templates()


def ttl_attribute(keys: KeySchema, change: Change) -> str:
    """Return the table's TTL attribute. Raises LookupError if it has none: a defect."""
    if keys.ttl_name is None:
        raise LookupError(f"table {change.table} has no TTL attribute")
    return keys.ttl_name


def update_item(keys: KeySchema, change: Change, step: Step = Step.UPDATE_ITEM) -> dict[str, Any]:
    """Return the arguments of an UpdateItem that creates the item or a counter if missing."""
    fence = change.fence
    names = {f"#{i}": name for i, name in enumerate(change.names)}
    values = {f":{i}": _attribute(change.sums[name]) for i, name in enumerate(change.names)}
    update = "ADD " + ", ".join(f"#{i} :{i}" for i in range(len(names)))
    condition = ""
    if fence:
        update += " SET #f = :last"
        names["#f"] = fence.name
        values[":last"] = _attribute(fence.last)
    if change.expires_s is not None:
        update += ", #t = :t" if fence else " SET #t = :t"
        names["#t"] = ttl_attribute(keys, change)
        values[":t"] = _attribute(change.expires_s)
    if step is Step.INSPECT:
        condition = "attribute_not_exists(#key)"
        names["#key"] = keys.hash_name
    elif fence:
        condition = "attribute_not_exists(#f) OR #f < :first"
        values[":first"] = _attribute(fence.first)
    request = {
        "TableName": change.table,
        "Key": key_attributes(keys, change.key, change.range),
        "UpdateExpression": update,
        "ExpressionAttributeNames": names,
        "ExpressionAttributeValues": values,
        "ReturnConsumedCapacity": "TOTAL",
    }
    if condition:
        request["ConditionExpression"] = condition
        request["ReturnValuesOnConditionCheckFailure"] = "ALL_OLD"
    return request


def _attribute(value: int) -> AttributeValue:
    return {"N": str(value)}


def next_batches(items: Iterable[Change]) -> list[tuple[Change, ...]]:
    """Split changes of different items into batches of at most `BATCH`."""
    changes = tuple(items)
    return [changes[i : i + BATCH] for i in range(0, len(changes), BATCH)]
