"""Splits a change that is too large for one request into parts that fit. Pure.

Source: AWS, *Quotas in Amazon DynamoDB* (300 operators, 4 KB for an expression) and
*BatchExecuteStatement* (8,192 characters for a statement; a longer one refuses the whole batch).

The parts of an item are written one after the other. With a fence, each part is a range of
offsets and sets the fence to the last of them: the longest prefix of the window that fits, then
the longest prefix of the rest.
"""

from collections.abc import Iterable, Mapping
from itertools import groupby
from operator import itemgetter

from dynatomic.dynamodb.fence import Fence
from dynatomic.dynamodb.statements import Change
from dynatomic.events.window import Window

MAX_COUNTERS_PER_STATEMENT = 250
"""Counters of one statement: below 300, because AWS does not document which operators count."""

_MAX_STATEMENT_CHARACTERS = 8192
_MAX_NAME_CHARACTERS = 255
# All but the counters of the longest statement: table, two keys and the fence, with names of up
# to 255 characters.
_OTHER_CHARACTERS = 1024
_ONE_COUNTER = len('SET ""=""+? ')

MAX_CHARACTERS = _MAX_STATEMENT_CHARACTERS - _OTHER_CHARACTERS
SMALL = MAX_CHARACTERS // (2 * _MAX_NAME_CHARACTERS + _ONE_COUNTER)
"""This number of counters fits into one statement with names of any length."""


class _Room:
    """How many counters and characters the statement of one part still takes."""

    def __init__(self) -> None:
        self.names: set[str] = set()
        self._characters = 0

    def add(self, names: Iterable[str]) -> bool:
        """Add counters; return False, and add none, if they do not fit."""
        new = set(names) - self.names
        characters = self._characters + sum(2 * len(name) + _ONE_COUNTER for name in new)
        if len(self.names) + len(new) > MAX_COUNTERS_PER_STATEMENT or characters > MAX_CHARACTERS:
            return False
        self.names |= new
        self._characters = characters
        return True


def split(change: Change, window: Window) -> list[Change]:
    """Return the parts of a change, to be written in this order.

    An event is never split. If it adds to more counters of one item than fit into a statement,
    they form one part all the same.
    """
    if _Room().add(change.sums):
        return [change]
    if change.fence is None:
        return [change.only(sums) for sums in _chunks(change.sums)]
    return _prefixes(change, change.fence, window)


def _chunks(sums: Mapping[str, int]) -> list[dict[str, int]]:
    room, chunks = _Room(), [dict[str, int]()]
    for name in sorted(sums):
        if not room.add([name]):
            room = _Room()
            room.add([name])
            chunks.append({})
        chunks[-1][name] = sums[name]
    return chunks


def _prefixes(change: Change, fence: Fence, window: Window) -> list[Change]:
    parts: list[Change] = []
    room, first, sums = _Room(), fence.first, dict[str, int]()
    events = window.events_of(change.refs(), fence.first)
    for offset, group in groupby(events, key=itemgetter(0)):
        increments = [(ref.name, incr) for _, ref, incr in group]
        names = {name for name, _ in increments}
        if not room.add(names):
            if sums:
                part = Fence(fence.name, first, offset - 1)
                parts.append(change._replace(sums=sums, fence=part))
            room, first, sums = _Room(), offset, {}
            room.add(names)
        for name, incr in increments:
            sums[name] = sums.get(name, 0) + incr
    parts.append(change._replace(sums=sums, fence=Fence(fence.name, first, fence.last)))
    return parts
