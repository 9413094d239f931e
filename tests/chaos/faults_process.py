"""Faults of processes: killed, frozen, told to stop, or broken from the inside."""

import signal
import threading
from pathlib import Path
from random import Random
from typing import Final

from tests.chaos.kinds import fault
from tests.chaos.members import Member
from tests.chaos.round import Round
from tests.support.faults import Answer, Fault, Forward, Hold, Request

LONG_KILLS: Final = 25


class KillAt(Fault):
    """Kills the sender of a request: before it is applied, when half is, or before the answer."""

    def __init__(self, member: Member, when: str) -> None:
        self._member = member
        self._when = when

    def apply(self, request: Request, forward: Forward) -> Answer | None:
        """Kill, forward what there is to forward, and answer nothing."""
        if self._when == "before":
            self._kill()
            return None
        statements = request.statements
        if self._when == "half" and len(statements) > 1:
            request.body["Statements"] = statements[: len(statements) // 2]
        super().apply(request, forward)
        self._kill()
        return None

    def _kill(self) -> None:
        self._member.signal(signal.SIGKILL)
        self._member.ended.wait(10)


class KillOnce:
    """A rule: kills the sender of the n-th write, once; only INSERTs are counted if asked for."""

    def __init__(self, number: int, when: str, *, inserts: bool) -> None:
        self._left = number
        self._when = when
        self._inserts = inserts
        self._lock = threading.Lock()
        self.done = threading.Event()

    def __call__(self, member: Member, request: Request) -> Fault | None:
        wanted = not self._inserts or "INSERT" in str(request.statements[:1])
        with self._lock:
            if self.done.is_set() or not wanted:
                return None
            self._left -= 1
            if self._left > 0:
                return None
            self.done.set()
        return KillAt(member, self._when)


def _victim(round_: Round, random_: Random) -> Member | None:
    alive = round_.alive()
    return random_.choice(alive) if alive else None


def _kill_at(round_: Round, random_: Random, when: str, *, inserts: bool = False) -> int:
    """Kill the sender of some n-th write; wait for writes of others in between."""
    hits = 0
    for _ in range(round_.plan.kills):
        rule = KillOnce(random_.randint(1, 6), when, inserts=inserts)
        with round_.rule(rule):
            hits += round_.until(rule.done.is_set, 5)
        round_.more()
    return hits


@fault(1)
def kill_before_write(round_: Round, random_: Random) -> int:
    """kill -9 when a write arrives, before it is applied."""
    return _kill_at(round_, random_, "before")


@fault(1)
def kill_after_request(round_: Round, random_: Random) -> int:
    """kill -9 when the n-th write was applied, before its answer."""
    return _kill_at(round_, random_, "after")


@fault(1)
def kill_in_half_a_request(round_: Round, random_: Random) -> int:
    """kill -9 when half of a batch's statements were applied and the others never will be."""
    return _kill_at(round_, random_, "half")


@fault(1)
def kill_in_insert(round_: Round, random_: Random) -> int:
    """kill -9 in the insert cascade: before, half-way or after the INSERTs of new items."""
    round_.load.shape.cold = 5000  # new items all the time
    when = random_.choice(("before", "half", "after"))
    return _kill_at(round_, random_, when, inserts=True)


@fault(1)
def kill_before_commit(round_: Round, random_: Random) -> int:
    """kill -9 after the write and before the commit."""
    return _twisted(round_, random_, "kill-before-commit")


@fault(1)
def kill_after_commit(round_: Round, random_: Random) -> int:
    """kill -9 right after a commit was handed to the client."""
    return _twisted(round_, random_, "kill-after-commit")


def _twisted(round_: Round, random_: Random, twist: str, seconds: float = 30) -> int:
    """Replace members by ones that end at a point inside; return how many reached it."""
    hits = 0
    for _ in range(round_.plan.kills):
        if (member := _victim(round_, random_)) is None:
            continue
        other = round_.replace(member, f"{twist}:{random_.randint(1, 4)}", round_.slot(member))
        hits += round_.until(other.ended.is_set, seconds)
    return hits


@fault(1)
def kill(round_: Round, random_: Random) -> int:
    """kill -9 of a random member at a random moment."""
    return _kills(round_, random_, round_.plan.kills)


@fault(1, alone=True, long=True, members=3)
def kill_many(round_: Round, random_: Random) -> int:
    """kill -9 of a random member at a random moment, 25 times a round."""
    return _kills(round_, random_, LONG_KILLS)


def _kills(round_: Round, random_: Random, count: int) -> int:
    hits = 0
    for _ in range(count):
        round_.more()
        round_.pause(random_.uniform(0, 0.6))
        if (member := _victim(round_, random_)) is not None:
            member.signal(signal.SIGKILL)
            hits += member.ended.wait(10)
    return hits


@fault(2, members=2)
def zombie(round_: Round, random_: Random) -> int:
    """SIGSTOP for longer than the session time-out, then SIGCONT with a window in hand."""
    if (member := _victim(round_, random_)) is None:
        return 0
    member.signal(signal.SIGSTOP)
    round_.pause(round_.session_s * random_.uniform(1.1, 1.5))
    member.signal(signal.SIGCONT)
    round_.pause(random_.uniform(0.2, 0.8))
    return 1


@fault(2, members=2)
def zombie_in_a_write(round_: Round, random_: Random) -> int:
    """SIGSTOP in the middle of a write, which the proxy holds until others have written."""
    hold, stopped = Hold(after=random_.random() < 0.3), threading.Event()

    def rule(member: Member, _request: Request) -> Fault | None:
        if stopped.is_set():
            return None
        stopped.set()
        victim.append(member)
        member.signal(signal.SIGSTOP)
        return hold

    victim: list[Member] = []
    with round_.rule(rule):
        if not round_.until(stopped.is_set, 10):
            return 0
    round_.pause(round_.session_s * 1.2)
    # The new owner of its partitions writes at least one window before the old request continues.
    round_.more(3)
    if random_.random() < 0.5:
        hold.release()
        round_.pause(random_.uniform(0, 0.3))
    victim[0].signal(signal.SIGCONT)
    round_.pause(random_.uniform(0.2, 0.8))
    hold.release()
    return 1


@fault(9)
def callbacks_raise(round_: Round, random_: Random) -> int:
    """An exception out of each of the callbacks of the group, and of the commit."""
    names = ["assign-raises", "on-commit-raises", "revoke-raises"]
    random_.shuffle(names)
    return sum(_twisted_once(round_, random_, name, 2) for name in names[:2])


@fault(9)
def watch_raises(round_: Round, random_: Random) -> int:
    """An exception where the loop looks after its progress, as a metric's code would raise."""
    return _twisted_once(round_, random_, "watch-raises", 30)


@fault(9)
def logging_raises(round_: Round, random_: Random) -> int:
    """An exception out of the n-th log call and each one after it."""
    return _twisted_once(round_, random_, "logging-raises", 6)


def _twisted_once(round_: Round, random_: Random, twist: str, most: int) -> int:
    if (member := _victim(round_, random_)) is None:
        return 0
    other = round_.replace(member, f"{twist}:{random_.randint(1, most)}", round_.slot(member))
    # A rebalance gives a callback something to do.
    round_.start()
    return round_.until(other.ended.is_set, 6)


@fault(9)
def disk_full_for_logs(round_: Round, random_: Random) -> int:
    """Standard error goes to a full disk (/dev/full); one member is killed besides."""
    if (member := _victim(round_, random_)) is None:
        return 0
    round_.replace(member, "", round_.slot(member), log=Path("/dev/full"))
    round_.must_write(3)
    return 1


@fault(9, twist="clock-jumps:0.7")
def clock_jumps(round_: Round, random_: Random) -> int:
    """The wall clock jumps an hour forth and back, in all members."""
    round_.pause(random_.uniform(1.5, 2.5))
    return 2


@fault(10)
def sigterm(round_: Round, random_: Random) -> int:
    """SIGTERM at random moments."""
    return _signals(round_, random_, signal.SIGTERM)


@fault(10)
def sigint(round_: Round, random_: Random) -> int:
    """SIGINT at random moments."""
    return _signals(round_, random_, signal.SIGINT)


@fault(10)
def sigterm_twice(round_: Round, random_: Random) -> int:
    """SIGTERM and, before the first one is done with, another."""
    return _signals(round_, random_, signal.SIGTERM, signal.SIGTERM)


def _signals(round_: Round, random_: Random, *numbers: int) -> int:
    hits = 0
    for _ in range(2):
        round_.pause(random_.uniform(0.1, 0.8))
        if (member := _victim(round_, random_)) is None:
            continue
        for number in numbers:
            member.signal(number)
            round_.pause(random_.uniform(0, 0.1))
        hits += member.ended.wait(10)
    return hits
