"""What the benchmark reads: every topic and every case, one table of them at the end.

A `Workload` is what a topic holds; a `Case` is a topic's size and who reads it: always raw
``consume()``, then ours with each window and guarantee that the case names, then the peers. The
ordinary topic has `EVENTS` events, 4 partitions, and keyed events of 10,000 counters whose
popularity is zipf 1.1; a case says where it differs.
"""

import hashlib
import random
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import accumulate, islice
from pathlib import Path
from typing import Final, Literal

from dynatomic.config.settings import ProcessingGuarantee
from dynatomic.events.encoder import message_key
from dynatomic.events.payload import zigzag
from dynatomic.events.row import Row
from dynatomic.events.samples import ZIPF_EXPONENT, Distribution
from dynatomic.events.schema import encode

TABLE: Final = "bench"
EVENTS: Final = 2_000_000
"""Events of the ordinary topic, unless ``--events`` says otherwise."""

WRITER_SCHEMA: Final = Path(__file__).with_name("row_with_id.avsc")
"""The schema of events that have an id beside the fields of row.avsc."""

Message = tuple[bytes, bytes | None]
"""A payload and its key."""

Figure = Literal["counters", "windows", "backlog"]

_CHUNK: Final = 10_000
_VERSION: Final = 2  # of what `messages` makes: topics of another version are filled again
_STRIDE: Final = 7919  # shares no factor with 1000


@dataclass(frozen=True, slots=True)
class Workload:
    """The events of one topic.

    Increments are all 1, or from 1 to ``max_incr``, each as often as any other.
    ``never_repeats``: with ``id`` each payload ends in an id of its own (`WRITER_SCHEMA`), with
    ``key`` each event names a counter that no other names.
    """

    counters: int = 10_000
    distribution: Distribution = "zipf"
    max_incr: Literal[1, 1000] = 1
    keyed: bool = True
    partitions: int = 4
    never_repeats: Literal["", "id", "key"] = ""

    def total(self, events: int) -> int:
        """Return the sum of the increments of the first events."""
        whole, rest = divmod(events, self.max_incr)
        cycle = self.max_incr * (self.max_incr + 1) // 2
        return whole * cycle + sum(self.incr(number) for number in range(rest))

    def incr(self, number: int) -> int:
        """Return the increment of the event with this number."""
        return 1 + number * _STRIDE % self.max_incr

    def content(self) -> str:
        """Return what tells a topic with these events from others, in 8 hex digits."""
        text = f"{_VERSION} {sorted(asdict(self).items())}"
        return hashlib.sha256(text.encode()).hexdigest()[:8]

    def choices(self, events: int) -> Iterator[list[int]]:
        """Return the number of the counter of each event, in pieces; always the same."""
        rng = random.Random(0)  # noqa: S311 - samples, not secrets
        shares = None
        if self.distribution == "zipf":
            shares = list(accumulate(n**-ZIPF_EXPONENT for n in range(1, self.counters + 1)))
        dealt = self._dealt(rng)
        for start in range(0, events, _CHUNK):
            size = min(_CHUNK, events - start)
            if self.never_repeats == "key":
                yield list(range(start, start + size))
            elif shares:
                yield rng.choices(range(self.counters), cum_weights=shares, k=size)
            else:
                yield [*islice(dealt, size)]

    def _dealt(self, rng: random.Random) -> Iterator[int]:
        """Return all counters in some order, then all in another one: each is as popular."""
        counters = list(range(self.counters))
        while True:
            rng.shuffle(counters)
            yield from counters

    def messages(self, events: int) -> Iterator[list[Message]]:
        """Return the events, in pieces.

        A payload is put together of what the product encoded once: encoding each takes longer
        than reading it.
        """
        begun = _Begun(self.keyed)
        tails = [zigzag(self.incr(n)) for n in range(self.max_incr)]
        number = 0
        for choices in self.choices(events):
            found = [
                (prefix + tails[n % self.max_incr], key)
                for n, (prefix, key) in enumerate(map(begun.__getitem__, choices), number)
            ]
            if self.never_repeats == "id":
                found = [(v + b"\x18%012d" % n, k) for n, (v, k) in enumerate(found, number)]
            number += len(choices)
            yield found


class _Begun(dict[int, Message]):
    """What every payload of a counter begins with, and its key; made when they are first needed."""

    def __init__(self, keyed: bool) -> None:  # noqa: FBT001 - it is a field of the workload
        super().__init__()
        self._keyed = keyed

    def __missing__(self, counter: int) -> Message:
        row = Row(TABLE, f"key-{counter}")
        begun = encode(row)[:-1], message_key(row) if self._keyed else None
        self[counter] = begun
        return begun


GUARANTEES: Final[tuple[ProcessingGuarantee, ...]] = ("at-least-once", "exactly-once")


@dataclass(frozen=True, slots=True)
class Reader:
    """One of ours: its guarantee, its window, and how many processes share the topic."""

    guarantee: ProcessingGuarantee
    window_ms: int
    processes: int = 1


@dataclass(frozen=True, slots=True)
class Case:
    """A topic and who reads it, in turn: raw ``consume()``, each of `readers`, and ``peers``.

    ``share`` is the topic's size in ordinary topics. ``expected`` are the events/s of ours that
    the plan's time is reckoned with. ``figures`` are the plots that the results go to. Peers get
    as many events as they can read in reasonable time, in topics of that size. With ``empty`` the
    table has no items at the start of each run of ours, else it has all.
    """

    name: str
    about: str
    workload: Workload = Workload()
    share: float = 1.0
    windows_ms: tuple[int, ...] = (1000,)
    guarantees: tuple[ProcessingGuarantee, ...] = GUARANTEES
    processes: tuple[int, ...] = (1,)
    peers: bool = False
    empty: bool = False
    expected: int = 600_000
    figures: tuple[Figure, ...] = ()

    @property
    def readers(self) -> list[Reader]:
        """Ours, in the order in which they take turns."""
        return [
            Reader(guarantee, window_ms, processes)
            for window_ms in self.windows_ms
            for guarantee in self.guarantees
            for processes in self.processes
        ]


CASES: Final = (
    Case("1-counter", "one counter, so one partition", Workload(counters=1), figures=("counters",)),
    Case("100-counters", "100 counters, zipf", Workload(counters=100), figures=("counters",)),
    Case(
        "10k-zipf",
        "the ordinary topic, three windows",
        windows_ms=(500, 1000, 5000),
        figures=("counters", "windows"),
    ),
    Case(
        "10k-uniform",
        "10,000 counters, all as popular",
        Workload(distribution="uniform"),
        figures=("counters",),
    ),
    Case(
        "1m-uniform",
        "1,000,000 counters, all as popular: every event is a write",
        Workload(counters=1_000_000, distribution="uniform"),
        share=0.5,
        expected=29_000,
        figures=("counters",),
    ),
    Case(
        "increments",
        "increments from 1 to 1000: nearly every payload is distinct",
        Workload(max_incr=1000),
        windows_ms=(1000, 5000),
    ),
    Case(
        "ids",
        "an id in each payload: none repeats; read with --writer-schema",
        Workload(max_incr=1000, never_repeats="id"),
        share=0.25,
        expected=80_000,
    ),
    Case(
        "fresh-keys",
        "each event names another counter, and none of their items is there",
        Workload(never_repeats="key"),
        share=0.15,
        empty=True,
        expected=29_000,
    ),
    Case("unkeyed", "messages without keys", Workload(keyed=False)),
    Case("1-partition", "one partition", Workload(partitions=1)),
    Case("32-partitions", "32 partitions", Workload(partitions=32)),
    *(
        Case(
            f"backlog-{share:g}x",
            f"memory against backlog: {share:g} ordinary topics",
            share=share,
            figures=("backlog",),
        )
        for share in (0.5, 1.5, 5)
    ),
    Case(
        "two-processes",
        "one process against two of one group",
        share=2,
        guarantees=("at-least-once",),
        processes=(1, 2),
    ),
    Case("peers", "other ways to count the ordinary topic", windows_ms=(5000,), peers=True),
)
"""All that read topics, in the order of the table."""

OTHERS: Final = {
    "decode": "payloads in memory: ours against reading each without a memory of others",
    "write": "sums in memory: batches against one UpdateItem a counter",
    "freshness": "from produce to visible in the table, at several loads",
    "idle": "CPU time of a consumer with nothing to do",
    "start": "cold start to the first commit, and dynatomic --help",
}
"""All that do not, with what they measure."""
