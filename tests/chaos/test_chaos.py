"""The fault campaign: a short round of it that is the same each time, and that it can fail.

The long one is ``make chaos``; the faults stand in the modules `tests.chaos.faults_*`.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from confluent_kafka import Producer

from dynatomic.config.settings import GroupProtocol, ProcessingGuarantee
from dynatomic.testing.embedded import Embedded
from tests.chaos.backends import Backend, Name, embedded_backend, real_backend
from tests.chaos.campaign import Options, campaign, choose
from tests.chaos.judge import judge
from tests.chaos.kinds import KINDS
from tests.chaos.load import Shape, Stored, events
from tests.chaos.members import Nursery
from tests.chaos.report import as_json, markdown
from tests.chaos.round import Round
from tests.support.events import Event, avro

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(300)]

SEED = 4
MIXED = ("kill-after-request", "zombie-in-a-write", "late-request", "kill-before-commit")
OTHER = ("kill-in-insert", "one-statement-fails", "rebalance-storm", "offsets-rewound")
CHANGES = ("open-transaction", "table-with-other-keys")
OUTAGE = ("settings-corrected-after-a-letter-outage",)


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    with Nursery() as made:
        yield made


@pytest.fixture(scope="module")
def embedded_chaos(embedded: Embedded) -> Backend:
    return embedded_backend(embedded)


MakeOptions = Callable[..., Options]


def backend_of(name: Name, request: pytest.FixtureRequest) -> Backend:
    if name == "embedded":
        return embedded_backend(request.getfixturevalue("embedded"))
    return real_backend(
        request.getfixturevalue("kafka_real"), request.getfixturevalue("dynamodb_real")
    )


@pytest.fixture
def options(tmp_path: Path) -> MakeOptions:
    """Return the function that makes the options of a short campaign."""

    def make(
        guarantee: ProcessingGuarantee, protocol: GroupProtocol, *faults: str, rounds: int = 0
    ) -> Options:
        count = rounds or len(faults)
        return Options(
            guarantee, protocol, count, SEED, faults, static=False, keep=tmp_path, jobs=4, kills=1
        )

    return make


@pytest.mark.parametrize(
    ("backend", "protocol", "guarantee", "faults"),
    [
        ("embedded", "classic", "exactly-once", MIXED),
        ("embedded", "consumer", "at-least-once", OTHER),
        ("real", "classic", "at-least-once", (*MIXED, *CHANGES)),
        ("real", "consumer", "exactly-once", (*OTHER, *OUTAGE)),
    ],
)
def test_no_counter_differs_after_faults(
    request: pytest.FixtureRequest,
    nursery: Nursery,
    options: MakeOptions,
    backend: Name,
    protocol: GroupProtocol,
    guarantee: ProcessingGuarantee,
    faults: tuple[str, ...],
) -> None:
    servers, results, missed = backend_of(backend, request), [], faults
    for _ in range(3):  # on a busy machine a fault may find no chance in a short round
        results += campaign(options(guarantee, protocol, *missed), servers, nursery, print)
        missed = tuple(name for name in faults if not sum(r.hits[name] for r in results))
        if not missed:
            break
    assert [r.wrong for r in results if r.wrong] == []
    assert missed == (), "they hit nothing"
    assert all(r.events and r.counters for r in results)


def test_at_least_once_fails_by_the_rule_of_exactly_once(
    embedded_chaos: Backend, nursery: Nursery, options: MakeOptions
) -> None:
    weak = options("at-least-once", "consumer", "kill-before-commit", rounds=2)
    results = campaign(replace(weak, judged="exactly-once"), embedded_chaos, nursery, print)
    assert [r.high for r in results if r.high]
    assert all(bool(r.wrong) == bool(r.high) for r in results)
    assert all("instead of" in line for r in results for line in r.wrong)
    assert "WRONG" in next(r.line() for r in results if r.wrong)


def test_the_judge_sees_each_kind_of_difference(
    embedded_chaos: Backend, nursery: Nursery, options: MakeOptions, tmp_path: Path
) -> None:
    plan = choose(options("exactly-once", "consumer"), embedded_chaos, 0)
    with Round(replace(plan, members=1), embedded_chaos, nursery, tmp_path) as round_:
        with round_.load:
            round_.start_members()
            round_.must_write(3)
        round_.drain()
        verdict = judge(round_)
        assert verdict.wrong("exactly-once") == []
        assert verdict.events == len(round_.load.stored)

        def add(key: str, name: str, number: int) -> None:
            embedded_chaos.client.update_item(
                TableName=round_.tables[0],
                Key={"pk": {"S": key}},
                UpdateExpression="ADD #n :n",
                ExpressionAttributeNames={"#n": name},
                ExpressionAttributeValues={":n": {"N": str(number)}},
            )

        add("c0", "count", -1)
        add("c6", "count", 1)
        add("stray", "count", 5)
        add("c12", "fence_0123abcd_0", 7)  # a fence is no counter
        topic, good = round_.topic, avro(Event(round_.tables[0], "h0"))
        round_.load.stored.append(Stored(topic, 0, 0, None, b"never a letter"))
        round_.load.stored.append(Stored(topic, 0, 0, Event(round_.tables[1], "lost", "r"), good))
        producer = Producer({"bootstrap.servers": embedded_chaos.bootstrap_servers})
        producer.produce(f"{topic}.dlq", good)
        assert producer.flush(10) == 0
        verdict = judge(round_)
        assert {ref[1] for ref in verdict.low} == {"c0", "lost"}
        assert {ref[1] for ref in verdict.high} == {"c6", "stray"}
        assert verdict.other == [
            "1 bad rows are not in the dead-letter topic",
            "1 good rows are in the dead-letter topic",
        ]
        assert len(verdict.wrong("exactly-once")) == 6
        assert len(verdict.wrong("at-least-once")) == 4


def test_a_seed_gives_the_same_rounds_and_events(
    embedded_chaos: Backend, options: MakeOptions
) -> None:
    told = options("exactly-once", "classic", *KINDS)
    plans = [choose(told, embedded_chaos, number) for number in range(50)]
    assert plans == [choose(told, embedded_chaos, number) for number in range(50)]
    others = replace(told, seed=SEED + 1)
    assert plans != [choose(others, embedded_chaos, number) for number in range(50)]

    def rows(seed: str) -> list[object]:
        stream = events(Shape("plain", "ranged", 4), Random(seed))  # noqa: S311 - not a secret
        return [next(stream) for _ in range(1000)]

    assert rows("a") == rows("a")
    assert rows("a") != rows("b")


@pytest.mark.parametrize("backend", ["embedded", "real"])
def test_all_groups_of_faults_are_on_the_list(backend: Name) -> None:
    for protocol in ("classic", "consumer"):
        groups = {
            kind.group
            for kind in KINDS.values()
            if backend in kind.backends and protocol in kind.protocols
        }
        assert groups == set(range(1, 11))
    assert all(kind.inject.__doc__ for kind in KINDS.values())


def test_reports_hold_the_figures(
    embedded_chaos: Backend, nursery: Nursery, options: MakeOptions
) -> None:
    short = options("exactly-once", "consumer", "response-lost")
    results = campaign(short, embedded_chaos, nursery)
    head = {"seed": SEED}
    told = as_json(results, head)
    assert '"response-lost"' in told
    assert '"differences": 0' in told
    assert "| seed | 4 |" in markdown(results, head)
    assert "| response-lost | 1 | " in markdown(results, head)
