"""One round: its topic, tables, group and members, while faults are at work and afterwards."""

import queue
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Final, Self

from confluent_kafka import Consumer, KafkaException, TopicPartition

from dynatomic.testing.embedded import environment
from tests.chaos.backends import Backend
from tests.chaos.declared import counters_file
from tests.chaos.load import Load, Shape, ends_of
from tests.chaos.members import Member, Nursery
from tests.chaos.plan import Plan, StuckError, options
from tests.chaos.tables import make_tables
from tests.support.faults import Fault, Hold, Request, writes
from tests.support.names import unique
from tests.support.proxy import FaultyProxy

MOST_STARTS: Final = 200
STOP_S: Final = 20.0
DRAIN_S: Final = 60.0
FIRST_S: Final = 30.0

Rule = Callable[[Member, Request], Fault | None]


@dataclass
class Round:
    """What faults get to work with."""

    plan: Plan
    backend: Backend
    nursery: Nursery
    folder: Path
    members: list[Member] = field(default_factory=list)
    rules: list[Rule] = field(default_factory=list)
    arguments: list[str] = field(default_factory=list)
    twist: str = ""
    """For all members that are started from now on."""

    lost: list[int] = field(default_factory=list)
    """Indexes of stored rows that the topic lost before they were counted."""

    since: int = 0
    """The index of the first stored row of the topic as it is now."""

    has_transactions: bool = False
    has_lost_events: bool = False
    """Whether the brokers may lose events that they acknowledged, counted or not."""

    seen: int = 0
    """Writes of members that came to the proxy."""

    def __post_init__(self) -> None:
        self.topic = unique("chaos")
        self.group = self.topic
        plain, ranged = unique("plain"), unique("ranged")
        self.tables = (plain, ranged)
        for name, count in ((self.topic, self.plan.partitions), (f"{self.topic}.dlq", 1)):
            self.backend.create(name, count)
        self.before = make_tables(self.backend.client, plain, ranged)
        # Doubled negative increments would make a counter too low.
        least = -50 if self.plan.guarantee == "exactly-once" else 0
        shape = Shape(
            plain,
            ranged,
            self.plan.partitions,
            self.plan.keyed,
            least,
            self.plan.rate,
            declared=self.plan.declared,
        )
        self.tables_arguments = [part for table in self.tables for part in ("--table", table)]
        if self.plan.declared:
            file = self.folder / "counters.toml"
            file.write_text(counters_file(plain, ranged))
            self.tables_arguments = ["--counters", str(file)]
        random_ = Random(f"{self.plan.seed} events")  # noqa: S311 - the same each time
        self.load = Load(
            self.backend.bootstrap_servers,
            self.topic,
            shape,
            random_,
            is_idempotent="unclean-election" not in self.plan.faults,
        )
        self.proxy = FaultyProxy(self.backend.endpoint_url, self._choose)
        self.keeping = False
        self._by_path: dict[str, Member] = {}
        self._names = (f"member-{n}" for n in range(MOST_STARTS))
        self._slots: dict[str, int] = {}
        self._spare: set[str] = set()
        self._ended: queue.SimpleQueue[Member | None] = queue.SimpleQueue()
        self._keeper = threading.Thread(target=self._keep, daemon=True)
        self._keeper.start()
        self._errors: list[BaseException] = []
        self._asker: Consumer | None = None

    @property
    def session_s(self) -> float:
        """How long a member may be silent."""
        return self.backend.session_s(self.plan.protocol)

    def start(self, twist: str = "", slot: int | None = None, log: Path | None = None) -> Member:
        """Start a member, with a twist and a separate log file if they are given."""
        name = next(self._names, None)
        if name is None:
            raise StuckError(f"{MOST_STARTS} members were started")
        member = Member(name, log or self.folder / f"{name}.log")
        if slot is None:
            taken = {self._slots[m.name] for m in self.alive()}
            slot = next(n for n in range(MOST_STARTS) if n not in taken)
        self._slots[name] = slot
        self._by_path[f"/{name}"] = member
        self.members.append(member)
        env = environment(self.backend.bootstrap_servers, self.backend.endpoint_url)
        twists = f"{self.twist} {twist}"
        argv = [
            *("run", "-t", self.topic, "-g", self.group),
            *self.tables_arguments,
            *("--endpoint-url", f"{self.proxy.endpoint_url}/{name}"),
            *options(self.plan, self.backend.classic_ms, slot, self.arguments),
        ]
        self.nursery.start(member, argv, env, twists, self._ended.put)
        return member

    def slot(self, member: Member) -> int:
        """Return which of the places in the group a member has taken."""
        return self._slots[member.name]

    def spare(self, member: Member) -> None:
        """Start no other in its place when it ends."""
        self._spare.add(member.name)

    def replace(self, member: Member, twist: str, slot: int, log: Path | None = None) -> Member:
        """Kill a member and start one with a twist in its place."""
        self.spare(member)
        member.signal(signal.SIGKILL)
        member.ended.wait(STOP_S)
        return self.start(twist, slot, log)

    def alive(self) -> list[Member]:
        """Return the members that run."""
        return [m for m in self.members if not m.ended.is_set()]

    def _keep(self) -> None:
        """Start another member for each that ends, as a supervisor does in production."""
        while (member := self._ended.get()) is not None:
            try:
                if member.name in self._spare:
                    continue
                if self.keeping and len(self.alive()) < self.plan.members:
                    self.start(slot=self._slots[member.name])
            except BaseException as error:  # noqa: BLE001 - raised by the round
                self._errors.append(error)

    def check(self) -> None:
        """Raise what went wrong on other threads."""
        if self._errors:
            raise self._errors[0]

    def stop_members(self, number: int = signal.SIGTERM) -> None:
        """End all members, and start none in their place until `start_members`."""
        self.keeping = False
        running = self.alive()
        for member in running:
            member.signal(signal.SIGCONT)
            member.signal(number)
        deadline = time.monotonic() + STOP_S
        for member in running:
            if not member.ended.wait(max(0.0, deadline - time.monotonic())):
                member.signal(signal.SIGKILL)
                raise StuckError(f"{member.name} did not end within {STOP_S:g} s of a signal")

    def start_members(self) -> None:
        """Start as many as the plan says, and keep that many."""
        self.keeping = True
        while len(self.alive()) < self.plan.members:
            self.start()

    def pause(self, seconds: float) -> None:
        """Let a fault last; not to wait for something."""
        threading.Event().wait(seconds)

    def until(self, condition: Callable[[], bool], seconds: float) -> bool:
        """Wait for a condition; return whether it came."""
        deadline = time.monotonic() + seconds
        while not condition():
            self.check()
            if time.monotonic() > deadline:
                return False
            threading.Event().wait(0.02)
        return True

    def must(self, condition: Callable[[], bool], what: str, seconds: float = FIRST_S) -> None:
        """Wait for a condition that has to come. Raises `StuckError` if it does not."""
        if not self.until(condition, seconds):
            raise StuckError(f"not {what} within {seconds:g} s")

    def more(self, requests: int = 1, seconds: float = 10.0) -> bool:
        """Wait until this many more writes have come to the proxy; return whether they did."""
        before = self.seen
        return self.until(lambda: self.seen >= before + requests, seconds)

    def must_write(self, requests: int = 1, seconds: float = FIRST_S) -> None:
        """Wait until this many more writes have come to the proxy."""
        if not self.more(requests, seconds):
            raise StuckError(f"{requests} more writes did not come within {seconds:g} s")

    def _choose(self, request: Request) -> Fault | None:
        member = self._by_path.get(request.path.rstrip("/"))
        if member is None or not writes(request):
            return None
        self.seen += 1
        for rule in list(self.rules):
            if (fault := rule(member, request)) is not None:
                return fault
        return None

    @contextmanager
    def rule(self, rule: Rule) -> Iterator[None]:
        """Apply a rule to writes while the block runs."""
        self.rules.append(rule)
        try:
            yield
        finally:
            self.rules.remove(rule)

    def committed(self) -> dict[int, int]:
        """Return the group's committed offsets; nothing if the brokers do not return them."""
        config = {"bootstrap.servers": self.backend.bootstrap_servers, "log_level": 0}
        if self._asker is None:
            self._asker = Consumer({**config, "group.id": self.group})
        places = [TopicPartition(self.topic, n) for n in range(self.load.shape.partitions)]
        try:
            found = self._asker.committed(places, timeout=5)
        except KafkaException:
            return {}
        return {p.partition: p.offset for p in found if p.offset >= 0 and p.error is None}

    def ends(self) -> dict[int, int]:
        """Return the end offsets: those that were acknowledged, or those that the brokers have.

        A cluster may hold events that were not acknowledged, and a transaction ends with a marker.
        """
        if self.backend.cluster is not None or self.has_transactions:
            return self.backend.ends(self.topic, self.load.shape.partitions)
        return ends_of(self.load.stored[self.since :], self.topic)

    def behind(self) -> dict[int, tuple[int, int]]:
        """Return, by partition, the committed offset and the end where they differ."""
        committed = self.committed()
        return {
            n: (committed.get(n, -1), end)
            for n, end in self.ends().items()
            if committed.get(n, -1) != end
        }

    def forget_group(self) -> None:
        """Take note that the group's name has changed."""
        if self._asker is not None:
            self._asker.close()
            self._asker = None

    def heal(self) -> None:
        """End all faults; held requests continue."""
        self.rules.clear()
        for request in list(self.proxy.requests):
            if isinstance(request.fault, Hold):
                request.fault.release()
        for member in self.alive():
            member.signal(signal.SIGCONT)
        self.proxy.accept()

    def drain(self) -> None:
        """Wait until the committed offsets are the ends, and end the members in order."""
        self.start_members()
        if not self.until(lambda: not self.behind(), DRAIN_S):
            raise StuckError(f"not drained: partition: (committed, end) is {self.behind()}")
        # A member that was thrown out may still wait for an answer: it must not come too late.
        self.must(lambda: not self.proxy.busy, "quiet")
        self.stop_members()
        self.must(lambda: not self.proxy.busy, "quiet")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Kill what runs and delete what was made."""
        self.keeping = False
        self._ended.put(None)
        self._keeper.join()
        self.heal()
        for member in self.alive():
            member.signal(signal.SIGKILL)
            member.ended.wait(STOP_S)
        self.forget_group()
        self.proxy.close()
        for table in self.tables:
            self.backend.client.delete_table(TableName=table)
        if self.backend.name != "embedded":  # the mock cluster is soon gone, and all with it
            for topic in (self.topic, f"{self.topic}.dlq"):
                self.backend.delete_topic(topic)
