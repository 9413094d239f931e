"""The events of the model as JSON, and the counters file that counts them.

Each event adds to the counter that it names, and to a second item, which all events have.
"""

import json

from dynatomic.counting.file import loads
from dynatomic.events.row import Row

ALL_EVENTS = ("slow", "all", "events")
"""The counter of all events but those of the item with large increments."""

_COUNTERS = "".join(
    f"""
[[counter]]
name = "{table}-{attribute}"
when = "table == '{table}' && counter == '{attribute}'"
table = "{table}"
key = "{{key}}"
add = {{ {attribute} = "incr" }}
"""
    for table in ("hits", "slow")
    for attribute in ("count", "hits", "bytes")
)

DEFINITION = loads(
    _COUNTERS
    + """
[[counter]]
name = "all"
when = "key != 'x'"
table = "slow"
key = "all"
add = { events = 1 }
"""
)


def payload(row: Row | None) -> bytes:
    """Return the event that adds what a row does; None is one that cannot be read."""
    if row is None:
        return b"{not JSON"
    fields = {"table": row.table, "key": row.key, "counter": row.counter or "count"}
    return json.dumps(fields | {"incr": row.incr}).encode()
