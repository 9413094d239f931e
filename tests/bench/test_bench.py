"""The benchmark's own parts, and one small run of all of it. Nothing here is timed."""

import io
import os
import sys
from collections import Counter as Tally
from contextlib import ExitStack
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any, cast

import fastavro
import pytest
from confluent_kafka.admin import AdminClient

from bench import plan, report
from bench.child import DEAD_LETTERS, Plan
from bench.declared import Format, counters_file
from bench.freshness import ages_of
from bench.measure import Bench
from bench.parts import load, merged
from bench.peers import Peer, Skip
from bench.sink import Sink
from bench.topics import Topic, Topics, fill
from bench.workloads import CASES, WRITER_SCHEMA, Case, Reader, Workload
from dynatomic.counting.counting import Counting
from dynatomic.counting.file import load as load_counters
from dynatomic.errors import DynatomicError
from dynatomic.events.encoder import message_key
from dynatomic.events.row import Row
from dynatomic.events.schema import encode, load_writer_schema, schema
from dynatomic.registry.open import open_schemas
from dynatomic.testing.embedded import Embedded
from tests.support.brokers import HasBootstrapServers
from tests.support.children import Spawn
from tests.support.names import unique

WORKLOADS = list(dict.fromkeys([*(c.workload for c in CASES), *plan.DECODED.values()]))


def decoded(payload: bytes, written: Any) -> dict[str, Any]:
    return cast("dict[str, Any]", fastavro.schemaless_reader(io.BytesIO(payload), written, None))


@pytest.mark.parametrize(
    "workload",
    [replace(w, counters=min(w.counters, 2000)) for w in WORKLOADS if w.event_format == "row"],
)
def test_messages_are_what_an_emitter_would_send(workload: Workload) -> None:
    messages = list(chain.from_iterable(workload.messages(2500)))
    with_id = workload.never_repeats == "id"
    written = load_writer_schema(WRITER_SCHEMA) if with_id else schema()
    read = [decoded(payload, written) for payload, _ in messages]
    rows = [Row._make(map(fields.__getitem__, Row._fields)) for fields in read]
    assert sum(row.incr for row in rows) == workload.total(2500)
    assert {row.incr for row in rows} == set(range(1, workload.max_incr + 1))
    expected = [encode(row) + b"\x18%012d" % n * with_id for n, row in enumerate(rows)]
    assert [payload for payload, _ in messages] == expected
    keys = [message_key(row) if workload.keyed else None for row in rows]
    assert [key for _, key in messages] == keys
    most = Tally(row.key for row in rows).most_common(1)[0][1]
    if workload.never_repeats == "key":
        assert most == 1
    elif workload.counters > 1000:
        assert (most > 50) == (workload.distribution == "zipf")


@pytest.mark.parametrize("event_format", ["json", "avro"])
def test_events_of_a_counters_file_add_what_the_workload_says(
    event_format: Format, tmp_path: Path
) -> None:
    workload = Workload(counters=50, event_format=event_format)
    values = [value for chunk in workload.messages(2500) for value, _ in chunk]
    assert len(set(values)) == 2500
    with ExitStack() as stack:
        definition = load_counters(counters_file(event_format, tmp_path, stack))
        counting = Counting(definition, open_schemas(definition, wait_s=30))
        counted = counting.count(values, [None] * 2500, headers_of=lambda _: None)
    assert counted.multipliers is not None
    assert sum(counted.multipliers) == workload.total(2500)
    assert not counted.rejected
    assert min(counted.counts) == 1


def test_topics_with_other_events_are_told_apart() -> None:
    assert len({workload.content() for workload in WORKLOADS}) == len(WORKLOADS)


def test_a_topic_is_filled_once_and_again_if_it_is_not_whole(
    kafka_real: HasBootstrapServers,
) -> None:
    servers = kafka_real.bootstrap_servers
    said: list[str] = []
    first, again = Topics(servers, said.append), Topics(servers, said.append)
    workload = Workload(counters=7, partitions=3)
    try:
        topic = first.get(workload, 300)
        assert first.get(workload, 300) is topic
        assert again.get(workload, 300) == topic
        assert len(said) == 1
        fill(servers, topic.name, workload, 1)  # now it has one too many
        third = Topics(servers, said.append)
        refilled = third.get(workload, 300)
        assert refilled.name != topic.name
        assert topic.name not in names(servers)
        with third.empty(workload) as empty:
            assert empty.name in names(servers)
        assert empty.name not in names(servers)
        fill(servers, refilled.name, workload, 1)
        foreign = Topics(servers, said.append, own=False)
        other = foreign.get(workload, 300)
        assert {refilled.name, other.name} <= names(servers), "another process may be filling it"
        foreign.delete()
        third.delete()
        assert names(servers).isdisjoint({refilled.name, other.name})
    finally:
        AdminClient({"bootstrap.servers": servers}).delete_topics([DEAD_LETTERS])


def names(bootstrap_servers: str) -> set[str]:
    admin = AdminClient({"bootstrap.servers": bootstrap_servers})
    return {name for name in admin.list_topics(timeout=10).topics if not name.startswith("__")}


def test_the_nth_unit_of_a_counter_is_the_nth_event_sent_to_it() -> None:
    workload = Workload(counters=2, distribution="uniform")
    (choices,) = workload.choices(4)
    ticks = [(10.0, 1), (20.0, 3), (30.0, 4)]
    sent = list(zip(choices, (10.0, 20.0, 20.0, 30.0), strict=True))
    assert {choice for choice, _ in sent} == {0, 1}
    arrivals, expected = [], []
    for when, counter in ((40.0, 1), (50.0, 0)):
        mine = [at for choice, at in sent if choice == counter]
        arrivals.append((when, f"key-{counter}", len(mine)))
        expected += [(at, when - at) for at in mine]
    assert list(ages_of(workload, ticks, arrivals)) == expected
    with pytest.raises(DynatomicError, match="a counter was added"):
        list(ages_of(workload, ticks, [*arrivals, (60.0, "key-0", 1)]))
    with pytest.raises(DynatomicError, match="of 4 events did not arrive"):
        list(ages_of(workload, ticks, arrivals[:1]))


@pytest.fixture(scope="module")
def dead_letters(embedded: Embedded) -> None:
    embedded.broker.create_topic(DEAD_LETTERS, 1)


@pytest.fixture
def bench(embedded: Embedded, sink: Sink, dead_letters: None) -> Bench:  # noqa: ARG001 - the topic
    return Bench(Topics(embedded.bootstrap_servers, print), sink, print, 1000, {})


def filled(embedded: Embedded, workload: Workload, events: int) -> Topic:
    name = unique("bench")
    embedded.broker.create_topic(name, workload.partitions)
    fill(embedded.bootstrap_servers, name, workload, events)
    return Topic(workload, name, events)


@pytest.mark.parametrize(
    "workload",
    [
        Workload(counters=1, partitions=2),
        Workload(keyed=False, max_incr=1000, never_repeats="id"),
    ],
    ids=["empty partitions", "ids"],
)
def test_every_event_is_counted(embedded: Embedded, bench: Bench, workload: Workload) -> None:
    topic = filled(embedded, workload, 2000)
    raw = bench.raw("case", topic, 1)
    ours = bench.ours(Case("case", "one"), topic, Reader("exactly-once", 1000), 1)
    assert (raw.requests, ours.requests > 0) == (0, True)
    assert (raw.label, ours.label) == ("raw consume()", "1 s, exactly-once")
    for each in (raw, ours):
        assert (each.events, each.case, each.round) == (2000, "case", 1)
        assert each.seconds > 0
        assert each.process_cpu_s > each.cpu_s > 0
        assert each.peak_bytes > 10_000_000
    assert ours.statements < 2000  # or nothing was summed


def test_new_items_take_little_more_than_a_statement_each(embedded: Embedded, bench: Bench) -> None:
    topic = filled(embedded, Workload(never_repeats="key"), 2000)
    case = Case("case", "one", empty=True)
    there = bench.ours(replace(case, empty=False), topic, Reader("at-least-once", 1000), 1)
    missing = bench.ours(case, topic, Reader("at-least-once", 1000), 1)
    assert 2000 <= there.statements < 2010  # the start tries whether it may write
    # What had been sent when the first refusals came is sent twice.
    assert 2010 < missing.statements < 2600


def test_a_run_that_adds_something_else_is_an_error(embedded: Embedded, bench: Bench) -> None:
    topic = filled(embedded, Workload(), 500)
    wrong = bench.child("run", Plan(500, topic=topic.name, group=topic.name, share=4))
    with pytest.raises(DynatomicError, match="ours added 500 to the counters, not 501"):
        bench.run(wrong, 501, 500, case="c", kind="run", label="ours", round=1)


def test_a_child_that_fails_is_an_error_with_its_reason(bench: Bench) -> None:
    with pytest.raises(DynatomicError, match="KeyError: 'nothing'"):
        bench.alone("nothing", "x", "x", Plan(), 1)


def test_both_ways_of_writing_send_each_counter(bench: Bench) -> None:
    batches, single = bench.write("write", 1000, 1), bench.write("update-item", 9, 1)
    assert (batches.statements, batches.requests) == (1100, 44)  # with a round to warm up
    assert single.statements == single.requests == 59


@pytest.mark.parametrize("label", plan.DECODED)
def test_payloads_are_read_without_kafka(bench: Bench, label: str) -> None:
    ours, each = bench.decode(label, plan.DECODED[label], 1)
    assert (ours.case, ours.kind, ours.events, ours.requests) == ("decode", "decode", 500, 0)
    assert (each.case, each.kind, each.events) == ("decode", "decode-each", 500)
    assert min(ours.cpu_s, each.cpu_s) > 0


def test_a_peer_that_cannot_run_is_skipped_with_a_line_and_not_tried_again(
    kafka_real: HasBootstrapServers, sink: Sink
) -> None:
    tried: list[str] = []
    said: list[str] = []

    def prepare(name: str, answer: list[str] | Skip) -> Peer:
        def prepared() -> list[str] | Skip:
            tried.append(name)
            return answer

        return Peer(name, name, 50, prepared)

    seen = '{"first": [1, 1], "last": [2, 2], "peak_bytes": 1}'
    peers = [
        prepare("absent", Skip("no go command")),
        prepare("broken", [sys.executable, "-c", "raise SystemExit('it broke')"]),
        prepare("wrong", [sys.executable, "-c", f"print('noise'); print('{seen}')"]),
    ]
    topics = Topics(kafka_real.bootstrap_servers, print)
    bench = Bench(topics, sink, said.append, 200, {})
    case = Case("peers", "", peers=True, guarantees=())
    try:
        runs = [run for number in (1, 2) for run in bench.case(case, peers, number)]
    finally:
        topics.delete()
    assert [run.kind for run in runs] == ["raw", "raw"]
    assert tried == ["absent", "broken", "wrong"]
    assert bench.skipped == {
        "absent": "no go command",
        "broken": "it broke",
        "wrong": "wrong added 0 to the counters, not 100",
    }
    assert "skipped: absent: no go command" in said


def test_the_command_runs_what_it_is_told_and_stores_its_results(
    kafka_real: HasBootstrapServers, spawn: Spawn, tmp_path: Path
) -> None:
    folder = tmp_path / "results"
    before = names(kafka_real.bootstrap_servers)
    only = ["100-counters", "write", "freshness", "start"]
    options = ["--quick", "--events", "2000", "--results", str(folder), "--only", *only]
    servers = ["--bootstrap-servers", kafka_real.bootstrap_servers]
    child = spawn.command([sys.executable, "-m", "bench", *servers, *options], env=os.environ)
    assert child.wait(100) == 0, child.logs()
    assert child.stderr.startswith("1 rounds of each, about 1 min:\n  100-counters ")
    stored = load(folder)
    assert [part.name for part in stored] == only
    assert all(part.complete and part.seconds > 0 for part in stored)
    results = merged(stored)
    assert child.stdout == report.tables(results)
    kinds = [(run.case, run.kind) for part in stored for run in part.runs]
    assert kinds == [
        ("100-counters", "raw"),
        *[("100-counters", "run")] * 2,
        *[("write", "write"), ("write", "update-item")],
    ]
    assert results["parts"][0]["machine"]["cores"] == os.cpu_count()
    (fresh,) = results["freshness"]
    assert 1000 < fresh["events"] < 3000  # the first second is left out
    assert 0 < fresh["p50_s"] <= fresh["p99_s"] <= fresh["max_s"]
    start = results["start"]
    parts = sum(start[f"{part}_s"] for part in ("imports", "read", "write"))
    assert start["own_s"] == pytest.approx(parts)
    assert {path.name for path in folder.glob("*.svg")} == {"counters.svg", "freshness.svg"}
    assert names(kafka_real.bootstrap_servers) == before
    again = spawn.command(
        [sys.executable, "-m", "bench", *servers, *options, "--resume"], env=os.environ
    )
    assert again.wait(100) == 0, again.logs()
    assert [line for line in again.stderr.splitlines() if line.endswith(": stored before")] == [
        f"{name}: stored before" for name in only
    ]
    assert again.stdout == child.stdout
