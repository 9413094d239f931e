"""A model of what may happen to a group, and what must hold after each thing that does.

`Model` runs the real worker, window, fence, writer, settlement and offsets of several members on
the fakes. Each of its steps (`STEPS`) is one event of the world: an emit, a tick of one member, a
request that is held, lost, refused or lands twice, a member that is killed, stopped, expelled or
wakes up again, a commit that fails, offsets that are rewound, a topic that is made again. Nothing
is random here and nothing waits: the same steps do the same again, so a failure can be shrunk.

The checks are exact, for each event by itself:

- exactly-once, after every step and for every item: a counter is its base and the events of each
  partition up to the item's fence of it, no more, no fewer; what an item could not take is a dead
  letter before the fence passes it; a committed offset has all fences behind it.
- at-least-once, after every step: no counter is lower than its base and all that was committed.
"""

import random
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from typing import Any, cast
from unittest.mock import patch

from confluent_kafka import KafkaError, KafkaException

from dynatomic.dynamodb import parts as statement_parts
from dynatomic.dynamodb import table_queue, write
from dynatomic.errors import DynatomicError
from dynatomic.events.row import Row
from tests.support.clients import GROUP, LETTERS, TOPIC, Clock
from tests.support.model_members import SteppedMember
from tests.support.model_world import TABLES, ModelWorld, Place

ITEMS = [("hits", "a"), ("hits", "b"), ("hits", "c"), ("hits", "s"), ("hits", "f"), ("slow", "a")]
COUNTERS = (None, "hits", "bytes")
UNITS = (1, 0, -1, 7, -5, 2**40)
ADVANCES = (0.05, 0.3, 1.0, 3.0, 11.0, 61.0)
MOST_MEMBERS, MOST_PARTITIONS, MOST_EVENTS = 4, 3, 400
UNKNOWN = (KafkaError.NOT_COORDINATOR, KafkaError.REBALANCE_IN_PROGRESS, KafkaError._TIMED_OUT)


class Model:
    """A group, and the steps that the world may take; each is a method that takes small numbers."""

    def __init__(
        self,
        guarantee: str = "exactly-once",
        partitions: int = 2,
        *,
        threads: bool = False,
        inserts: bool = False,
        parts: bool = False,
    ) -> None:
        self.once = guarantee == "exactly-once"
        self.guarantee = guarantee
        self.clock = Clock()
        self.world = ModelWorld(clock=self.clock, once=self.once, threads=threads)
        self.broker = self.world.broker
        self.broker.create_topic(TOPIC, partitions)
        self.broker.create_topic(LETTERS)
        # As where most items of a table were missing of late; here there are too few to learn it.
        self._patches = ExitStack()
        if inserts:
            self._patches.enter_context(patch.object(table_queue, "INSERT_FIRST_ABOVE", -1.0))
        # As where an item has more counters than fit into one statement.
        if parts:
            self._patches.enter_context(patch.object(write, "SMALL", 1))
            self._patches.enter_context(patch.object(statement_parts, "MAX_COUNTERS", 2))
        self.done: list[str] = []
        self.wiped: set[Place] = set()

    @property
    def partitions(self) -> int:
        return len(self.broker.logs[TOPIC])

    @property
    def living(self) -> list[SteppedMember]:
        return [cast("SteppedMember", m) for m in self.world.members if m.alive]

    def step(self, name: str, *numbers: int) -> None:
        """Take a step, and check what must hold after it."""
        self.done.append(f"{name}{numbers}")
        getattr(self, name)(*numbers)
        self.world.check()

    def _of(self, things: Sequence[Any], number: int) -> Any:
        return things[number % len(things)] if things else None

    # The producers.

    def emit(self, partition: int, item: int, counter: int, unit: int) -> None:
        """An event."""
        if self.world.events >= MOST_EVENTS:
            return
        table, key = self._of(ITEMS, item)
        name = self._of(COUNTERS, counter)
        incr = self._of(UNITS, unit)
        if not self.once:
            incr = abs(incr)
        if key == "f" and name is None:
            incr = 10 * (1 + abs(incr))  # any sum of these has 39 digits
        self.world.send(partition % self.partitions, Row(table, key, counter=name, incr=incr))

    def emit_some(self, partition: int, seed: int) -> None:
        """Several events of one partition."""
        for _ in range(2 + seed % 5):
            seed, digits = divmod(seed, 108)
            self.emit(partition, digits % 6, digits // 6 % 3, digits // 18)

    def emit_bad(self, partition: int) -> None:
        """An event that cannot be read."""
        self.world.send(partition % self.partitions, None)

    def emit_gap(self, partition: int, count: int) -> None:
        """Offsets without an event, as transactions leave them."""
        self.broker.append_gap(TOPIC, partition % self.partitions, 1 + count % 4)

    # The members.

    def start(self, mode: int, small: int, requests: int) -> None:
        """A member joins at its first tick."""
        if len(self.living) < MOST_MEMBERS:
            self.world.worker(
                processing_guarantee=self.guarantee,
                write_mode=("batch", "batch", "single")[mode % 3],
                window_ms=(100, 1_000)[small % 2],
                window_max_events=(2_000, 24, 100)[small % 3],
                max_requests=1 + requests % 3,
                shutdown_timeout_ms=1_000,
            )

    def tick(self, who: int) -> None:
        """One member ticks, and its requests are sent."""
        member = self._of([m for m in self.living if not m.stopped], who)
        if member is not None:
            self._turn(member)

    def _turn(self, member: SteppedMember) -> None:
        try:
            member.turn()
        except DynatomicError:  # the topic was made again: a supervisor starts it anew
            member.end()
            member.worker.close()

    def progress(self, times: int) -> None:
        """All members that are not stopped tick, some time later each time."""
        for _ in range(1 + times % 4):
            for member in self.living:
                if not member.stopped:
                    self._turn(member)
            self.clock.advance(0.4)

    def work(self, who: int) -> None:
        """The writer of a member sends, while its loop does not tick."""
        member = self._of([m for m in self.living if not m.stopped], who)
        if member is not None:
            member.quiet()

    def kill(self, who: int) -> None:
        """SIGKILL."""
        member = self._of(self.living, who)
        if member is not None:
            member.kill()

    def expire(self, who: int) -> None:
        """The group drops a member, which does not know yet and goes on."""
        member = self._of(self.living, who)
        if member is not None:
            member.expire()

    def stop(self, who: int) -> None:
        """SIGSTOP; the group drops it."""
        member = self._of(self.living, who)
        if member is not None:
            member.stopped = True
            member.expire()

    def wake(self, who: int) -> None:
        """SIGCONT."""
        member = self._of([m for m in self.living if m.stopped], who)
        if member is not None:
            member.stopped = False

    def shut_down(self, who: int) -> None:
        """SIGTERM."""
        member = self._of([m for m in self.living if not m.stopped], who)
        if member is not None:
            with suppress(DynatomicError):
                member.worker.shut_down()
            member.end()

    # The clock and the table.

    def advance(self, by: int) -> None:
        """Time passes."""
        self.clock.advance(self._of(ADVANCES, by))

    def trouble(self, kind: int, skip: int, mask: int) -> None:
        """Something goes wrong with one of the next requests."""
        some = 1 + mask % 31
        orders = (
            *("hold", "hold answer", "lose", "drop", "throttle"),
            ("ThrottlingError", False, some),
            ("InternalServerError", False, some),
            ("InternalServerError", True, some),
            ("TransactionConflict", False, some),
        )
        if len(self.world.orders) < 8:
            self.world.orders.extend(["pass"] * (skip % 3) + [self._of(orders, kind)])

    def land(self, which: int) -> None:
        """A request that was held arrives."""
        if self.world.on_the_way:
            writer, task = self.world.on_the_way.pop(which % len(self.world.on_the_way))
            writer.land(task)

    def answer(self, which: int) -> None:
        """An answer that was held arrives."""
        if self.world.unanswered:
            held = self.world.unanswered.pop(which % len(self.world.unanswered))
            held[0].take_answer(*held[1:])

    def again(self, which: int) -> None:
        """A request that was sent, or dropped, arrives a second time, much later."""
        if self.world.requests:
            request = self.world.requests[-1 - which % len(self.world.requests)]
            with suppress(Exception):  # nobody sees the answer
                self.world.dynamodb.apply(request)

    def deny(self, table: int) -> None:
        """A table is denied."""
        self.world.denied.add(self._of(TABLES, table))

    def mend(self) -> None:
        """All that was denied, held or down is mended."""
        self.world.denied.clear()
        world = self.world
        world.deliveries_held = world.letters_held = False
        world.topic_id_held = world.lookups_held = False
        world.commit_raises = None
        faults = self.broker.faults
        faults.down = faults.answers_held = False
        faults.commits.clear()
        faults.deliveries.clear()

    # The brokers.

    def down(self) -> None:
        """No broker answers."""
        self.broker.faults.down = True

    def refuse_commits(self) -> None:
        """The client takes no commits."""
        self.world.commit_raises = KafkaException(KafkaError(KafkaError._STATE))

    def hold_answers(self) -> None:
        """Commits are taken, and not answered."""
        self.broker.faults.answers_held = True

    def hold_topic_id(self) -> None:
        """Nobody tells the topic's id."""
        self.world.topic_id_held = True

    def hold_lookups(self) -> None:
        """Nobody tells the committed offsets."""
        self.world.lookups_held = True

    def hold_letters(self, sent: int) -> None:
        """Dead letters are not sent, or sent and not known to be stored."""
        if sent % 2:
            self.world.deliveries_held = True
        else:
            self.world.letters_held = True

    def fail_deliveries(self, stored: int) -> None:
        """Dead letters are refused; some are stored all the same."""
        self.broker.faults.fail_deliveries(KafkaError._MSG_TIMED_OUT, 2, stored=bool(stored % 2))

    def fail_commits(self, code: int, only: int, applied: int) -> None:
        """Commits fail, for all or for some partitions, and some are applied all the same."""
        self.broker.faults.fail_commits(
            self._of(UNKNOWN, code),
            1 + code % 3,
            partitions=[only] if only < self.partitions else None,
            applied=bool(applied % 2),
        )

    def rewind(self, partition: int, offset: int, wiped: int) -> None:
        """Somebody sets the group's offset back, with or without the topic's id."""
        group = self.broker.group(GROUP)
        place = TOPIC, partition % self.partitions
        if place in group.offsets:
            group.offsets[place] = min(group.offsets[place], offset)
            if wiped % 2 and (
                group.metadata[place] == self.world.topic_id or not group.offsets[place]
            ):
                group.metadata[place] = ""
                self.wiped.add(place)

    def add_partition(self) -> None:
        """The topic gets another partition."""
        if self.partitions < MOST_PARTITIONS:
            self.broker.create_topic(TOPIC, self.partitions + 1)

    def recreate(self, kept: int) -> None:
        """The topic is deleted and made again, its committed offsets forgotten with it, or not."""
        self.broker.recreate_topic(TOPIC, self.partitions)
        self.world.emitted.clear()
        group = self.broker.group(GROUP)
        for place, about in list(group.metadata.items()):
            # One whose id somebody wiped out would be believed, as documented.
            if not kept % 2 or (place in self.wiped and not about):
                del group.offsets[place], group.metadata[place]

    def recreate_while_stopped(self, kept: int, seed: int) -> None:
        """The same while no member runs; the new topic soon has more events than the old one."""
        for member in self.living:
            member.kill()
        ends = [log.high for log in self.broker.logs[TOPIC]]
        self.recreate(kept)
        for partition, end in enumerate(ends):
            while self.broker.logs[TOPIC][partition].high <= end < 20:
                self.emit_some(partition, seed)
        self.start(seed, seed, seed)

    def delete_stale_offsets(self) -> None:
        """The broker gets to the committed offsets of a deleted topic only now."""
        group = self.broker.group(GROUP)
        for place, about in list(group.metadata.items()):
            if about not in {"", self.world.topic_id}:
                del group.offsets[place], group.metadata[place]

    def operate(self) -> None:
        """Somebody does what the message about a topic made again says: with the group stopped."""
        group = self.broker.group(GROUP)
        stale = [p for p, about in group.metadata.items() if about not in {"", self.world.topic_id}]
        if stale:
            for member in self.living:
                member.kill()
            for place in stale:
                group.offsets[place], group.metadata[place] = 0, ""

    # The end.

    def finish(self) -> None:
        """Mend all, let a new group count to the end, and check that every counter is right."""
        self.done.append("finish()")
        self.world.patient = True
        self.mend()
        self.world.orders.clear()
        self._land_all()
        for member in self.living:
            member.kill()
        self._count_to_the_end()
        for which in range(len(self.world.requests)):
            self.again(which)
        self._check_end()
        if self.once:
            for number in range(self.partitions):
                self.rewind(number, 0, 1)
            self._count_to_the_end()

    def _land_all(self) -> None:
        while self.world.on_the_way:
            self.land(0)
        while self.world.unanswered:
            self.answer(0)
        self.world.check()

    def _count_to_the_end(self) -> None:
        self.operate()
        self.start(0, 0, 1)
        self.start(2, 1, 2)
        for _ in range(300):
            self.progress(0)
            if self.world.all_committed():
                break
            self.clock.advance(0.6)
        else:
            raise AssertionError(f"not all is committed: {self.broker.group(GROUP)}")
        self._check_end()
        for member in self.living:
            assert member.worker.shut_down()
            member.end()

    def _check_end(self) -> None:
        self.world.check()
        self.world.see_letters()
        for number in range(self.partitions):
            log = self.broker.log(TOPIC, number)
            end = log.high if log else 0
            last = max((o for p, o in self.world.emitted if p == number), default=-1)
            assert last < end
            self.world.check_committed({number: last + 1}, {number: self.world.topic_id})

    def close(self) -> None:
        """End all."""
        self.world.orders.clear()
        for member in self.world.members:
            cast("SteppedMember", member).end()
        self.world.close()
        self._patches.close()


STEPS: dict[str, tuple[int, tuple[int, ...]]] = {
    "emit": (6, (3, 6, 3, 6)),
    "emit_some": (10, (3, 10**9)),
    "emit_bad": (2, (3,)),
    "emit_gap": (2, (3, 4)),
    "start": (7, (3, 6, 3)),
    "tick": (16, (4,)),
    "progress": (16, (4,)),
    "work": (4, (4,)),
    "kill": (2, (4,)),
    "expire": (2, (4,)),
    "stop": (2, (4,)),
    "wake": (2, (4,)),
    "shut_down": (2, (4,)),
    "advance": (6, (6,)),
    "trouble": (12, (9, 3, 31)),
    "land": (4, (8,)),
    "answer": (4, (8,)),
    "again": (4, (100,)),
    "deny": (1, (2,)),
    "mend": (5, ()),
    "operate": (1, ()),
    "delete_stale_offsets": (1, ()),
    "down": (1, ()),
    "refuse_commits": (1, ()),
    "hold_answers": (1, ()),
    "hold_topic_id": (1, ()),
    "hold_lookups": (2, ()),
    "hold_letters": (2, (2,)),
    "fail_deliveries": (2, (2,)),
    "fail_commits": (2, (3, 3, 2)),
    "rewind": (3, (3, 60, 2)),
    "add_partition": (1, ()),
    "recreate": (1, (2,)),
    "recreate_while_stopped": (1, (2, 10**9)),
}
"""Each step: how often it is taken, and below what its numbers stay."""
ALWAYS = {"emit", "emit_some", "start", "tick", "progress", "mend", "operate"}


class FoundError(AssertionError):
    """What a schedule found, and after which steps."""


def schedule(seed: int, guarantee: str, steps: int = 80, *, threads: bool = False) -> None:
    """Take random steps and finish. Raises `FoundError` with the step that found something."""
    chosen = random.Random(seed)  # noqa: S311 - a schedule, not a secret
    random.seed(seed)  # the writer's jitter
    names = list(STEPS)
    # Some kinds of trouble are left out each time and some come often, so that they meet.
    weights = [
        weight if name in ALWAYS else weight * chosen.choice((0, 1, 1, 1, 4) if seed % 3 else (1,))
        for name, (weight, _) in STEPS.items()
    ]
    inserts, parts = seed % 5 == 0, seed % 3 == 1
    model = Model(guarantee, 1 + seed % 2, threads=threads, inserts=inserts, parts=parts)
    try:
        for name in ["start", *chosen.choices(names, weights, k=steps)]:
            model.step(name, *(chosen.randrange(below) for below in STEPS[name][1]))
        model.finish()
    except AssertionError as error:
        last = f"step {len(model.done)}, {model.done[-1]}"
        raise FoundError(f"{guarantee}, seed {seed}, {last}: {error}") from error
    finally:
        model.close()
