"""Events in JSON in place of rows, and the counters file that counts them.

Each good event adds to the counter that it names, and to an item that all events share.
"""

import json

from tests.support.events import Event, Log

ALL_KEY, ALL_COUNTER = "all", "events"

_COUNTER = """
[[counter]]
name = "{kind}-{attribute}"
when = "table == '{table}' && counter == '{attribute}'"
table = "{table}"
key = "{{key}}"
{range}
add = {{ {attribute} = "incr" }}
"""


def counters_file(plain: str, ranged: str) -> str:
    """Return the counters file for the tables of a round."""
    tables = (("plain", plain, ""), ("ranged", ranged, 'range = "{range}"'))
    counters = [
        _COUNTER.format(kind=kind, table=table, attribute=attribute, range=range_)
        for kind, table, range_ in tables
        for attribute in ("count", "hits", "bytes")
    ]
    shared = f"""
[[counter]]
name = "all"
when = "key != 'text'"
table = "{plain}"
key = "{ALL_KEY}"
add = {{ {ALL_COUNTER} = 1 }}
"""
    return "".join([*counters, shared])


def payload(event: Event, number: int) -> bytes:
    """Return an event as JSON; ``number`` makes it different from all others."""
    fields = {"table": event.table, "key": event.key, "range": event.range, "incr": event.incr}
    return json.dumps(fields | {"counter": event.counter or "count", "id": number}).encode()


def shared_log(plain: str, count: int) -> Log:
    """Return what so many events add to the item that they share."""
    return Log({(plain, ALL_KEY, None, ALL_COUNTER): count})
