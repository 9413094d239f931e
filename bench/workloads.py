"""The topics and the cases of the benchmark, listed at the end.

A `Workload` describes the content of a topic. A `Case` is the size of a topic and its readers: raw
``consume()``, then ours with each window and guarantee of the case, then the peers. The ordinary
topic has `EVENTS` events, 4 partitions, and keyed events for 10,000 counters with a zipf
distribution (exponent 1.1). A case names the differences.
"""

import hashlib
import random
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import accumulate, islice
from pathlib import Path
from typing import Final, Literal

from bench import declared
from bench.declared import Format
from dynatomic.config.settings import ProcessingGuarantee
from dynatomic.events.encoder import message_key
from dynatomic.events.payload import zigzag
from dynatomic.events.row import Row
from dynatomic.events.samples import ZIPF_EXPONENT, Distribution
from dynatomic.events.schema import encode

TABLE: Final = "bench"
EVENTS: Final = 2_000_000
"""The events of the ordinary topic; ``--events`` changes it."""

WRITER_SCHEMA: Final = Path(__file__).with_name("row_with_id.avsc")
"""The schema of events that have an id in addition to the fields of row.avsc."""

Message = tuple[bytes, bytes | None]
"""A payload and its key."""

Figure = Literal["counters", "windows", "backlog"]

_CHUNK: Final = 10_000
_VERSION: Final = 2  # of the result of `messages`; topics of another version are filled again
_STRIDE: Final = 7919  # has no common factor with 1000


@dataclass(frozen=True, slots=True)
class Workload:
    """The events of one topic.

    Increments are 1, or from 1 to ``max_incr`` with equal frequency. ``never_repeats``: with ``id``
    each payload ends with a unique id (`WRITER_SCHEMA`), with ``key`` each event names a unique
    counter. Events of another ``event_format`` than rows are in `bench.declared`.
    """

    counters: int = 10_000
    distribution: Distribution = "zipf"
    max_incr: Literal[1, 1000] = 1
    keyed: bool = True
    partitions: int = 4
    never_repeats: Literal["", "id", "key"] = ""
    event_format: Format = "row"

    def total(self, events: int) -> int:
        """Return the sum of the increments of the first events."""
        if self.event_format != "row":
            return declared.total(events)
        whole, rest = divmod(events, self.max_incr)
        cycle = self.max_incr * (self.max_incr + 1) // 2
        return whole * cycle + sum(self.incr(number) for number in range(rest))

    def incr(self, number: int) -> int:
        """Return the increment of the event with this number."""
        return 1 + number * _STRIDE % self.max_incr

    def content(self) -> str:
        """Return a hash of the workload in 8 hex digits, for the name of the topic."""
        fields = {name: value for name, value in asdict(self).items() if value != "row"}
        text = f"{_VERSION} {sorted(fields.items())}"
        return hashlib.sha256(text.encode()).hexdigest()[:8]

    def choices(self, events: int) -> Iterator[list[int]]:
        """Yield the index of the counter of each event, in chunks; always the same."""
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
        """Yield all counters in random order, again and again, so each is equally frequent."""
        counters = list(range(self.counters))
        while True:
            rng.shuffle(counters)
            yield from counters

    def messages(self, events: int) -> Iterator[list[Message]]:
        """Yield the events, in chunks.

        A payload is built from parts that were encoded once, because encoding each takes longer
        than reading it.
        """
        if self.event_format != "row":
            yield from declared.messages(self.event_format, self.choices(events))
            return
        prefixes = _Prefixes(self.keyed)
        tails = [zigzag(self.incr(n)) for n in range(self.max_incr)]
        number = 0
        for choices in self.choices(events):
            messages = [
                (prefix + tails[n % self.max_incr], key)
                for n, (prefix, key) in enumerate(map(prefixes.__getitem__, choices), number)
            ]
            if self.never_repeats == "id":
                messages = [(v + b"\x18%012d" % n, k) for n, (v, k) in enumerate(messages, number)]
            number += len(choices)
            yield messages


class _Prefixes(dict[int, Message]):
    """The first bytes of the payloads of a counter, and its key; made at the first access."""

    def __init__(self, keyed: bool) -> None:  # noqa: FBT001 - it is a field of the workload
        super().__init__()
        self._keyed = keyed

    def __missing__(self, counter: int) -> Message:
        row = Row(TABLE, f"key-{counter}")
        prefix = encode(row)[:-1], message_key(row) if self._keyed else None
        self[counter] = prefix
        return prefix


GUARANTEES: Final[tuple[ProcessingGuarantee, ...]] = ("at-least-once", "exactly-once")


@dataclass(frozen=True, slots=True)
class Reader:
    """One of our consumers: guarantee, window, and the number of processes."""

    guarantee: ProcessingGuarantee
    window_ms: int
    processes: int = 1


@dataclass(frozen=True, slots=True)
class Case:
    """A topic and its readers: raw ``consume()``, each of `readers`, and ``peers``.

    ``share`` is the size of the topic divided by that of the ordinary topic. ``expected`` is the
    number of events/s for the estimate of the duration. ``figures`` are the plots that use the
    results. Peers read a topic with as many events as they can read in a reasonable time. With
    ``empty`` the table has no items at the start of each of our runs. Otherwise it has all.
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
        """Our consumers, in the order in which they run."""
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
        "10,000 counters, uniform",
        Workload(distribution="uniform"),
        figures=("counters",),
    ),
    Case(
        "1m-uniform",
        "1,000,000 counters, uniform: every event is a write",
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
        "each event names another counter, and no item exists",
        Workload(never_repeats="key"),
        share=0.15,
        empty=True,
        expected=29_000,
    ),
    Case(
        "json",
        "JSON events of a counters file, two counters each; no payload repeats",
        Workload(event_format="json"),
        share=0.08,
        windows_ms=(5000,),
        expected=120_000,
    ),
    Case(
        "avro",
        "Avro events of ten fields with a registry, two counters each",
        Workload(event_format="avro"),
        share=0.08,
        windows_ms=(5000,),
        expected=80_000,
    ),
    Case("unkeyed", "messages without keys", Workload(keyed=False)),
    Case("1-partition", "one partition", Workload(partitions=1)),
    Case("32-partitions", "32 partitions", Workload(partitions=32)),
    *(
        Case(
            f"backlog-{share:g}x",
            f"memory with a backlog of {share:g} ordinary topics",
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
    Case("peers", "other programs that count the ordinary topic", windows_ms=(5000,), peers=True),
)
"""The cases that read topics, in the order of the table."""

OTHERS: Final = {
    "decode": "payloads in memory: ours against decoding one by one",
    "write": "sums in memory: batches against one UpdateItem for each counter",
    "freshness": "from produce to visible in the table, at several loads",
    "idle": "CPU time of a consumer with nothing to do",
    "start": "cold start to the first commit, and dynatomic --help",
}
"""The parts without a topic, with a description."""
