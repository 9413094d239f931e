"""A model of what may happen to a group, and what must hold after each thing that does.

`Model` runs the real worker, window, fence, writer, settlement and offsets of several members on
the fakes. Each of its steps (`STEPS`) is one event of the world: an emit, a tick of one member, a
request that is held, lost, refused or lands twice, a member that is killed, stopped, expelled or
wakes up again, a commit that fails, offsets that are rewound or expire, a transaction that stays
open, a topic that is made again, a table that is made again with other keys. Nothing is random here
and nothing waits: the same steps do the same again, so a failure can be shrunk.

The checks are exact, for each event by itself:

- exactly-once, after every step and for every item: a counter is its base and the events of each
  partition up to the item's fence of it, no more, no fewer; what an item could not take is a dead
  letter before the fence passes it; a committed offset has all fences behind it.
- at-least-once, after every step: no counter is lower than its base and all that was committed.
"""

import random
from typing import TYPE_CHECKING, cast

from tests.support.clients import GROUP, TOPIC
from tests.support.model_logs import LogSteps

if TYPE_CHECKING:
    from tests.support.model_members import SteppedMember


class Model(LogSteps):
    """All steps that the world may take, and the end."""

    # The end.

    def finish(self) -> None:
        """Mend all, let a new group count to the end, and check that every counter is right."""
        self.done.append("finish()")
        self.world.patient = True
        self.is_strict = False
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
        self.world.check_accounted()
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
    "emit_large": (6, (3, 3)),
    "emit_gap": (2, (3, 4)),
    "change_settings": (4, ()),
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
    "refuse_letters": (1, ()),
    "fail_deliveries": (2, (2,)),
    "fail_commits": (2, (3, 3, 2)),
    "rewind": (3, (3, 60, 2)),
    "add_partition": (1, ()),
    "recreate": (1, (2,)),
    "recreate_while_stopped": (1, (2, 10**9)),
    "open_transaction": (2, (3, 2)),
    "end_transaction": (2, (3,)),
    "change_keys": (2, (2, 3)),
    "expire_offsets": (1, ()),
}
"""Each step: how often it is taken, and below what its numbers stay."""
LOST_TAIL = {"lose_tail": (8, (3, 6, 10**9))}
"""Taken by every ninth schedule only, so that it does not change the others. These have no large
increments: it is not known which member counted them."""
LOST_TAIL_FIRST, LOST_TAIL_EVERY = 4, 9
ALWAYS = {"emit", "emit_some", "start", "tick", "progress", "mend", "operate"}


class FoundError(AssertionError):
    """What a schedule found, and after which steps."""


def schedule(
    seed: int,
    guarantee: str,
    steps: int = 80,
    *,
    threads: bool = False,
    declared: bool = False,
) -> None:
    """Take random steps and finish. Raises `FoundError` with the step that found something."""
    chosen = random.Random(seed)  # noqa: S311 - a schedule, not a secret
    random.seed(seed)  # the writer's jitter
    taken = STEPS
    if seed % LOST_TAIL_EVERY == LOST_TAIL_FIRST:
        taken = {n: step for n, step in STEPS.items() if n != "emit_large"} | LOST_TAIL
    names = list(taken)
    # Each run leaves out some kinds of faults and has others often, so that they meet.
    weights = [
        weight if name in ALWAYS else weight * chosen.choice((0, 1, 1, 1, 4) if seed % 3 else (1,))
        for name, (weight, _) in taken.items()
    ]
    inserts, parts = seed % 5 == 0, seed % 3 == 1
    model = Model(
        guarantee, 1 + seed % 2, threads=threads, inserts=inserts, parts=parts, declared=declared
    )
    try:
        for name in ["start", *chosen.choices(names, weights, k=steps)]:
            model.step(name, *(chosen.randrange(below) for below in taken[name][1]))
        model.finish()
    except AssertionError as error:
        last = f"step {len(model.done)}, {model.done[-1]}"
        raise FoundError(f"{guarantee}, seed {seed}, {last}: {error}") from error
    finally:
        model.close()
