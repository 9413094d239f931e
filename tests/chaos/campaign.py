"""Runs rounds: chooses from the seed what each is made of, and judges it."""

import shutil
import tempfile
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Final

from dynatomic.config.settings import GroupProtocol, ProcessingGuarantee
from tests.chaos import (  # noqa: F401 - they put their faults on the list
    faults_brokers,
    faults_cluster,
    faults_group,
    faults_offsets,
    faults_operators,
    faults_process,
    faults_table,
)
from tests.chaos.backends import Backend
from tests.chaos.judge import Verdict, judge
from tests.chaos.kinds import KINDS, Kind
from tests.chaos.members import Nursery
from tests.chaos.plan import Plan, StuckError
from tests.chaos.report import Result, fences
from tests.chaos.round import Round

LEAST_S: Final = 0.8
"""How long events are produced at least, faults or not."""


@dataclass(frozen=True)
class Options:
    """What a campaign is told. ``members`` run with ``guarantee``, and are judged by ``judged``."""

    guarantee: ProcessingGuarantee
    protocol: GroupProtocol
    rounds: int
    seed: int
    faults: tuple[str, ...]
    first: int = 0
    judged: ProcessingGuarantee | None = None
    static: bool | None = None
    keep: Path | None = None
    jobs: int = 1
    kills: int = 3
    declared: bool = False
    """Events are JSON, counted by a counters file."""


Say = Callable[[str], None]


def campaign(
    options: Options, backend: Backend, nursery: Nursery, say: Say = lambda _: None
) -> list[Result]:
    """Run the rounds and return what came of each, in their order.

    Some run side by side; those that break what others use run alone, after them.
    """
    numbers = range(options.first, options.first + options.rounds)
    plans = {number: choose(options, backend, number) for number in numbers}
    apart = {n for n, plan in plans.items() if any(KINDS[f].shared for f in plan.faults)}
    with ThreadPoolExecutor(options.jobs) as pool:
        running = {
            n: pool.submit(play, options, backend, nursery, n, say)
            for n in numbers
            if n not in apart
        }
        results = {n: future.result() for n, future in running.items()}
    results |= {n: play(options, backend, nursery, n, say) for n in sorted(apart)}
    return [results[number] for number in numbers]


def choose(options: Options, backend: Backend, number: int) -> Plan:
    """Return the round's parameters: the same for the same seed, number and list of faults."""
    seed = f"{options.seed}/{number}"
    random_ = Random(seed)  # noqa: S311 - the same each time
    kinds = [KINDS[name] for name in options.faults]
    kinds = [k for k in kinds if backend.name in k.backends and options.protocol in k.protocols]
    picked = [kinds[number % len(kinds)]] if kinds else []  # each has its turn
    mixable = [k for k in kinds if not k.alone and k not in picked]
    if picked and not picked[0].alone:
        picked += random_.sample(mixable, min(len(mixable), random_.choice((0, 0, 1, 2))))
    # A classic group forgets the partitions that were on their way when a static member was killed.
    static = random_.random() < 0.3 and options.protocol == "consumer"
    return Plan(
        seed=seed,
        guarantee=options.guarantee,
        protocol=options.protocol,
        partitions=max([random_.randint(1, 6), *(k.partitions for k in picked)]),
        members=max([random_.randint(1, 3), *(k.members for k in picked)]),
        window_ms=random_.choice((50, 100, 200)),
        write_mode=random_.choice(("batch", "batch", "batch", "single")),
        keyed=random_.random() < 0.7,
        static=static if options.static is None else options.static,
        rate=random_.choice((200, 400, 600)),
        faults=tuple(k.name for k in picked),
        kills=options.kills,
        declared=options.declared,
    )


def play(options: Options, backend: Backend, nursery: Nursery, number: int, say: Say) -> Result:
    """Play one round and judge it; its logs stay where something is wrong."""
    plan = choose(options, backend, number)
    folder = Path(tempfile.mkdtemp(prefix=f"chaos-{number}-", dir=options.keep))
    started = time.monotonic()
    result = Result(plan, backend.name, folder=str(folder))
    try:
        with Round(plan, backend, nursery, folder) as round_:
            try:
                _run(round_, result)
                verdict = judge(round_)
            finally:
                result.exits = Counter(m.code for m in round_.members)
                result.fences = fences(round_.members)
    except StuckError as error:
        verdict = Verdict(other=[str(error)])
    except Exception as error:  # noqa: BLE001 - one broken round shall not end the campaign
        (folder / "error.txt").write_text(traceback.format_exc())
        verdict = Verdict(other=[f"the campaign itself failed: {error!r}"])
    result.take(verdict, options.judged or options.guarantee)
    result.seconds = time.monotonic() - started
    if not result.wrong and options.keep is None:
        shutil.rmtree(folder, ignore_errors=True)
    say(result.line())
    return result


def _run(round_: Round, result: Result) -> None:
    """Produce, break, heal and drain."""
    kinds = [KINDS[name] for name in round_.plan.faults]
    round_.arguments += [part for kind in kinds for part in kind.arguments]
    round_.twist = " ".join(kind.twist for kind in kinds)
    with round_.load:
        start = time.monotonic()
        round_.start_members()
        round_.must_write()
        _inject(round_, kinds, result)
        round_.heal()
        round_.pause(max(0.0, start + LEAST_S - time.monotonic()))
    round_.check()
    round_.drain()


def _inject(round_: Round, kinds: Sequence[Kind], result: Result) -> None:
    """Run the faults of the round side by side."""
    errors: list[BaseException] = []

    def run(kind: Kind) -> None:
        random_ = Random(f"{round_.plan.seed} {kind.name}")  # noqa: S311 - the same each time
        try:
            round_.pause(random_.uniform(0, 1))
            result.hits[kind.name] += kind.inject(round_, random_)
        except BaseException as error:  # noqa: BLE001 - raised below
            errors.append(error)

    threads = [threading.Thread(target=run, args=(kind,), daemon=True) for kind in kinds]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
