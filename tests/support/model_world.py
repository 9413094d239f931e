"""The model's broker and tables: what goes wrong in them, and what must hold at any moment."""

from bisect import bisect_right
from collections import deque
from dataclasses import dataclass, field
from threading import local
from typing import Any, cast

from botocore.exceptions import ReadTimeoutError

from dynatomic.dynamodb.fence import fence_name, fences_of
from dynatomic.errors import UnavailableError
from dynatomic.events.row import Row
from dynatomic.events.schema import encode
from dynatomic.testing.dynamodb.batch import StatementFault
from dynatomic.testing.dynamodb.client import Request
from dynatomic.testing.dynamodb.responses import client_error
from tests.support.clients import LETTERS, TOPIC, WRITES, Recorder, written
from tests.support.harness import World
from tests.support.model_members import Asking, Stepped, SteppedMember, ThreadedMember

TABLES = ("hits", "slow")
BAD = {("hits", "s", "count"), ("hits", "f", "count")}
"""Counters that can take nothing: one is a string, one has 38 nines."""

Place = tuple[str, int]
"""A partition: the topic's id, and its number."""
Counter = tuple[str, str, str]
"""Table, key and attribute."""


@dataclass(slots=True)
class Line:
    """What the events of one partition add to one counter: their offsets and running sums."""

    offsets: list[int] = field(default_factory=list)
    totals: list[int] = field(default_factory=lambda: [0])

    def add(self, offset: int, incr: int) -> None:
        """Append an event."""
        self.offsets.append(offset)
        self.totals.append(self.totals[-1] + incr)

    def upto(self, offset: int) -> tuple[int, int]:
        """Return how many events there are up to an offset, it included, and their sum."""
        count = bisect_right(self.offsets, offset)
        return count, self.totals[count]


@dataclass
class ModelWorld(World):
    """The harness's world, with exact checks and with faults for single requests."""

    once: bool = True
    threads: bool = False
    patient: bool = False
    orders: deque[Any] = field(default_factory=deque)
    on_the_way: list[tuple[Stepped, Any]] = field(default_factory=list)
    unanswered: list[tuple[Stepped, Any, Any]] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    denied: set[str] = field(default_factory=set)
    lookups_held: bool = False
    lines: dict[Place, dict[Counter, Line]] = field(default_factory=dict)
    broken: dict[Place, list[tuple[int, int]]] = field(default_factory=dict)
    base: dict[Counter, int] = field(default_factory=dict)
    covered: dict[Place, int] = field(default_factory=dict)
    stored: set[int] = field(default_factory=set)
    events: int = 0
    _letters_seen: int = 0
    _of_thread: local = field(default_factory=local)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.make_member = ThreadedMember
        if not self.threads:
            self.make_member = SteppedMember
            self.make_writer = lambda *args, **named: Stepped(self, *args, **named)
        self.dynamodb.faults.after = self._after
        self.dynamodb.faults.statement = self._fault_of_statement
        for name in TABLES:
            self.table(name)
        for item in (
            {"pk": {"S": "b"}, "count": {"N": "100"}, "note": {"S": "kept"}},
            {"pk": {"S": "c"}, "note": {"S": "no counter"}},
            {"pk": {"S": "s"}, "count": {"S": "many"}, "hits": {"N": "5"}},
            {"pk": {"S": "f"}, "count": {"N": "9" * 38}, "hits": {"N": "-3"}},
        ):
            self.dynamodb.put_item(TableName="hits", Item=item)
            for name, value in item.items():
                if "N" in value:
                    self.base["hits", item["pk"]["S"], name] = int(value["N"])

    # What goes wrong with a request.

    @property
    def order(self) -> Any:
        """What shall happen to the request of this thread."""
        return getattr(self._of_thread, "order", None)

    @order.setter
    def order(self, order: Any) -> None:
        self._of_thread.order = order

    def next_order(self) -> Any:
        """Return what shall happen to the request that is sent now."""
        try:
            return self.orders.popleft()
        except IndexError:
            return "pass"

    def _before(self, request: Request) -> Exception | None:
        if request.operation not in WRITES:
            return None
        self.requests.append(request)
        if self.threads:
            self.order = self.next_order()
        if written(request)[0] in self.denied:
            error = {"Error": {"Code": "AccessDeniedException", "Message": "denied"}}
            return client_error(error["Error"]["Code"], "denied", request.operation)
        if self.order in {"drop", "hold"}:
            return ReadTimeoutError(endpoint_url="memory://dynamodb")
        if self.order == "throttle":
            return client_error("ThrottlingException", "slow down", request.operation)
        return None

    def _after(self, request: Request, _response: Any) -> Exception | None:
        if request.operation in WRITES and self.order in {"lose", "hold answer"}:
            return ReadTimeoutError(endpoint_url="memory://dynamodb")
        return None

    def _fault_of_statement(self, _request: Request, index: int) -> StatementFault | None:
        if isinstance(self.order, tuple):
            code, applied, mask = self.order
            if mask >> (index % 5) & 1:
                return StatementFault(code, applied=applied)
        return None

    def read_again(self, _config: Any, number: int, wanted: Any) -> dict[int, Any]:
        """Read messages a second time, or say that no broker is there."""
        if self.broker.faults.down:
            raise UnavailableError("no broker")
        log = self.broker.log(TOPIC, number)
        messages = {m.offset(): m for m in log.messages if m is not None} if log else {}
        return {offset: messages[offset] for offset in wanted if offset in messages}

    def _consumer(self, config: dict[str, Any]) -> Recorder:
        consumer = Asking(self.broker, config, f"member-{len(self.members)}")
        consumer.world = self
        return consumer

    # What was emitted.

    @property
    def topic_id(self) -> str:
        """The id of today's topic."""
        return self.broker.topic_ids[TOPIC]

    @property
    def topic_ids(self) -> set[str]:
        """The ids of all topics that events were emitted to."""
        return {topic_id for topic_id, _ in self.lines}

    def send(self, partition: int, row: Row | None) -> None:
        """Emit an event; None is one that cannot be read."""
        self.events += 1
        number = self.events
        headers = [("event", str(number).encode())]
        payload = encode(row) if row else b"\x02not a row"
        offset = self.broker.append(TOPIC, partition, b"key", payload, headers)
        self.emitted[partition, offset] = row
        place = self.topic_id, partition
        if row is None:
            self.broken.setdefault(place, []).append((offset, number))
            return
        counter = row.table, row.key, row.counter or "count"
        if counter in BAD:
            self.broken.setdefault(place, []).append((offset, number))
        lines = self.lines.setdefault(place, {})
        lines.setdefault(counter, Line()).add(offset, row.incr)

    # What must hold.

    def see_letters(self) -> None:
        """Take note of the events that are dead letters."""
        letters = self.broker.logs[LETTERS][0].messages
        for message in letters[self._letters_seen :]:
            headers = dict(cast("Any", message).headers())
            if "event" in headers:
                self.stored.add(int(headers["event"]))
            else:  # written anew: the topic no longer had the message
                assert headers["dynatomic.topic"] == TOPIC.encode()
        self._letters_seen = len(letters)

    def check(self) -> None:
        """Fail if a counter is not what it must be now."""
        self.see_letters()
        held: dict[tuple[str, str], Any] = {}
        for table in TABLES:
            held |= {(table, item["pk"]["S"]): item for item in self.dynamodb.items(table)}
        if self.once:
            for (table, key), item in held.items():
                self._check_item(table, key, item)
        else:
            for counter, least in self._least().items():
                value = held.get(counter[:2], {}).get(counter[2], {"N": "0"})
                have = int(value["N"])
                assert have >= least, f"{counter} is {have}, and {least} was committed"

    def _check_item(self, table: str, key: str, item: Any) -> None:
        fences = {
            (topic_id, partition): offset
            for topic_id in self.topic_ids
            for partition, offset in fences_of(item, topic_id).items()
        }
        for (name_table, name_key, name), total in self._sums(fences).items():
            if (name_table, name_key) != (table, key) or (table, key, name) in BAD:
                continue
            count, wanted = total
            base = self.base.get((table, key, name), 0)
            have = item.get(name)
            assert have is not None or not count, f"{table}/{key} has a fence, and no {name}"
            value = int(have["N"]) if have else 0
            fenced = {fence_name(*place): offset for place, offset in fences.items()}
            assert value == base + wanted, (
                f"{table}/{key}.{name} is {value}, not {base} + {wanted}, by its fences {fenced}"
            )
        for place, offset in fences.items():
            self._check_broken(place, offset, (table, key))

    def _sums(self, fences: dict[tuple[str, int], int]) -> dict[Counter, tuple[int, int]]:
        found: dict[Counter, tuple[int, int]] = {}
        for place, lines in self.lines.items():
            for counter, line in lines.items():
                count, total = line.upto(fences.get(place, -1))
                before = found.get(counter, (0, 0))
                found[counter] = before[0] + count, before[1] + total
        return found

    def _check_broken(self, place: Place, offset: int, only: tuple[str, str] | None) -> None:
        rows = self.broker.topic_ids[TOPIC] == place[0]
        for at, number in self.broken.get(place, ()):
            if at > offset or number in self.stored:
                continue
            row = self.emitted.get((place[1], at)) if rows else None
            if only is None or (row is not None and (row.table, row.key) == only):
                raise AssertionError(f"event {place[1]}:{at} is passed and no dead letter")

    def _least(self) -> dict[Counter, int]:
        least = {c: base for c, base in self.base.items() if c not in BAD}
        for place, offset in self.covered.items():
            for counter, line in self.lines.get(place, {}).items():
                if counter not in BAD:
                    least[counter] = least.get(counter, 0) + line.upto(offset - 1)[1]
        return least

    def check_committed(self, offered: Any, ids: Any) -> None:
        """Fail if a commit covers an event that is neither in its counter nor a dead letter."""
        self.see_letters()
        for number, offset in offered.items():
            if ids[number] != self.topic_id:
                continue  # of a topic that is gone
            place = self.topic_id, number
            self._check_broken(place, offset - 1, None)
            self.covered[place] = max(self.covered.get(place, 0), offset)
            if self.once:
                self._check_fences(place, offset)
        self.check()

    def check_sent(self, writer: Stepped, write: Any) -> None:
        """Fail if a request is sent for a partition that was lost, or out of turn."""
        (member,) = [m for m in self.members if m.writer is writer]
        assert member.consumer._serving != "lost", "written while its partition is lost"
        closing = [p.closing for p in member.worker.partitions.values()]
        mine = any(c is not None and c.write is write for c in closing)
        assert mine, "a request of a window that is not the one on its way out"

    def _check_fences(self, place: Place, offset: int) -> None:
        held = {(t, item["pk"]["S"]): item for t in TABLES for item in self.dynamodb.items(t)}
        for counter, line in self.lines.get(place, {}).items():
            count, _ = line.upto(offset - 1)
            if not count or counter in BAD:
                continue
            fences = fences_of(held.get(counter[:2], {}), place[0])
            last = line.offsets[count - 1]
            assert fences.get(place[1], -1) >= last, (
                f"commit of {place[1]}:{offset}, but {counter} has not the event at {last}"
            )
