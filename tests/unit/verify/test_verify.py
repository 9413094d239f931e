"""Recounting and comparing, on the fakes: what is found, what is refused, and what may move."""

import json
import random
import stat
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from confluent_kafka import ConsumerGroupState, KafkaError, KafkaException, TopicPartition
from hypothesis import given, settings
from hypothesis import strategies as st

from dynatomic.config.settings import ProcessingGuarantee, Settings
from dynatomic.dynamodb.answers import Item
from dynatomic.dynamodb.fence import fence_name
from dynatomic.dynamodb.items import ItemKey, Sleep, item_identity, read_items
from dynatomic.dynamodb.tables import describe
from dynatomic.errors import ConfigError, DynatomicError, UnavailableError
from dynatomic.events.decoder import Decoder
from dynatomic.events.row import CounterRef, Row
from dynatomic.events.schema import encode
from dynatomic.kafka.client import consumer_config
from dynatomic.testing.dynamodb.client import FakeDynamoDB
from dynatomic.testing.kafka.broker import FakeBroker
from dynatomic.verify.baseline import Baseline, Snapshot
from dynatomic.verify.comparison import Comparison
from dynatomic.verify.group_state import GroupState
from dynatomic.verify.recount import Recount, Span, read
from dynatomic.verify.report import TableValue, VerifyReport
from dynatomic.verify.sample import CounterSample
from tests.support.harness import Clock

TOPIC, GROUP = "row-events", "dynatomic"
FENCED: ProcessingGuarantee = "exactly-once"
UNFENCED: ProcessingGuarantee = "at-least-once"


@dataclass
class Admin:
    """Tells the members of a group; None as brokers do that cannot."""

    members: int | None = 0
    looks: list[Callable[[], object]] = field(default_factory=list)

    def describe_consumer_groups(
        self, names: Sequence[str], *, request_timeout: float
    ) -> dict[str, Any]:
        assert request_timeout > 0
        if self.looks:
            self.looks.pop(0)()
        told: Future[Any] = Future()
        if self.members is None:
            told.set_exception(KafkaException(KafkaError(KafkaError._UNSUPPORTED_FEATURE)))
        else:
            nothing = SimpleNamespace(topic_partitions=[])
            member = SimpleNamespace(member_id="m", host="h", client_id="c", assignment=nothing)
            state = ConsumerGroupState.STABLE if self.members else ConsumerGroupState.EMPTY
            told.set_result(SimpleNamespace(state=state, members=[member] * self.members))
        return dict.fromkeys(names, told)


class World:
    """A topic, a table and a group, written by hand."""

    def __init__(self, partitions: int = 1, *, ranged: bool = False) -> None:
        self.broker = FakeBroker()
        self.broker.create_topic(TOPIC, partitions)
        self.identity = self.broker.topic_ids[TOPIC]
        self.dynamodb = FakeDynamoDB()
        self.admin = Admin()
        self.on_consume: Callable[[], object] = lambda: None
        self.on_read: Callable[[], object] = lambda: None
        self.letters: set[tuple[int, int]] = set()
        names = ["pk", "rk"] if ranged else ["pk"]
        for table in ("hits", "bytes"):
            self.dynamodb.create_table(
                TableName=table,
                AttributeDefinitions=[{"AttributeName": n, "AttributeType": "S"} for n in names],
                KeySchema=[
                    {"AttributeName": n, "KeyType": role}
                    for n, role in zip(names, ("HASH", "RANGE"), strict=False)
                ],
            )

    def emit(self, *keys: str, incr: int = 1, partition: int = 0, **fields: Any) -> int:
        """Store an event a key; return the last offset."""
        for key in keys:
            row = Row(fields.get("table", "hits"), key, fields.get("range"), fields.get("counter"))
            self.put_raw(encode(row._replace(incr=incr)), partition)
        return self.broker.logs[TOPIC][partition].high - 1

    def put_raw(self, payload: bytes | None, partition: int = 0) -> int:
        return self.broker.append(TOPIC, partition, None, payload, [])

    def item(
        self,
        key: str,
        count: float | str | None = None,
        fences: Mapping[int, int] | None = None,
        **more: Any,
    ) -> None:
        """Put an item in the place of what was there; a text is a counter that is no number."""
        item: dict[str, Any] = {"pk": {"S": key}, "note": {"S": "not a counter"}}
        if count is not None:
            item["count"] = {"S": count} if isinstance(count, str) else {"N": str(count)}
        for number, offset in (fences or {}).items():
            item[fence_name(self.identity, number)] = {"N": str(offset)}
        table = more.pop("table", "hits")
        self.dynamodb.put_item(TableName=table, Item=item | more)

    def commit(self, *offsets: int) -> None:
        group = self.broker.group(GROUP)
        for number, offset in enumerate(offsets):
            group.offsets[TOPIC, number] = offset

    def verify(
        self,
        guarantee: ProcessingGuarantee = FENCED,
        *,
        baseline: Path | None = None,
        snapshot: Path | None = None,
        sample: CounterSample | None = None,
        **more: Any,
    ) -> VerifyReport:
        config = Settings(
            topic=TOPIC,
            group_id=GROUP,
            tables=more.pop("tables", ("hits", "bytes")),
            processing_guarantee=guarantee,
            max_requests=2,
            **more,
        )
        client = cast("Any", self.dynamodb)
        keys = {table: describe(client, table) for table in config.tables}
        consumer = self.broker.consumer(consumer_config(config, eof=True))
        consume = consumer.consume

        def consume_and_tell(*arguments: Any) -> Any:
            self.on_consume()
            return consume(*arguments)

        consumer.consume = consume_and_tell  # type: ignore[method-assign, assignment]

        def read_batch(
            table: str, wanted: Sequence[ItemKey], sleep: Sleep
        ) -> Mapping[ItemKey, Item]:
            self.on_read()
            return read_items(client, table, keys[table], wanted, sleep=sleep)

        def scan(table: str) -> Iterator[tuple[ItemKey, Item]]:
            for found in self.dynamodb.items(table):
                self.on_read()
                yield item_identity(keys[table], found), found

        opened = Baseline.open(baseline) if baseline else None
        if opened:
            opened.check(TOPIC, self.identity)
        written = Snapshot(snapshot) if snapshot else None
        recount = Recount(Decoder(keys, min_incr=config.min_incr, max_incr=config.max_incr), sample)
        try:
            verdict = Comparison(
                config,
                consumer,
                GroupState(consumer, self.admin, config, self.identity),
                read_batch,
                scan,
                recount,
                self.identity,
                opened,
                written,
                lambda number, run: [m for m in run if (number, m.offset()) not in self.letters],
            ).run()
            if written and verdict.ok:
                written.finish()
        finally:
            consumer.close()
            if written:
                written.__exit__()
        return verdict


def found(verdict: VerifyReport) -> dict[str, int]:
    """Return the differences by key."""
    return {str(d.item): d.difference for d in verdict.differences}


def first_line(verdict: VerifyReport, limit: int = 20) -> str:
    return next(iter(verdict.text(limit)))


# --- what is found -----------------------------------------------------------------------------


@pytest.mark.parametrize("guarantee", [FENCED, UNFENCED])
def test_a_table_that_is_right_is_ok(guarantee: ProcessingGuarantee) -> None:
    w = World(2)
    w.emit("a", "b", "a", incr=5)
    w.emit("c", incr=-3, partition=1)
    w.emit("a", incr=2, counter="views")
    w.emit("z", table="bytes", incr=7)
    w.item("a", 10, {0: 3}, views={"N": "2"})
    w.item("b", 5, {0: 1})
    w.item("c", -3, {1: 0})
    w.item("z", 7, {0: 4}, table="bytes")
    w.commit(5, 1)
    verdict = w.verify(guarantee)
    assert list(verdict.text(20)) == ["OK  5 counters, sum 21 = 21"]
    assert (verdict.events, verdict.rejected, verdict.uncommitted) == (6, 0, 0)


@pytest.mark.parametrize("guarantee", [FENCED, UNFENCED])
def test_an_empty_topic_is_ok(guarantee: ProcessingGuarantee) -> None:
    assert list(World(3).verify(guarantee).text(20)) == ["OK  0 counters, sum 0 = 0"]


@pytest.mark.parametrize("guarantee", [FENCED, UNFENCED])
def test_every_kind_of_difference_is_found_and_nothing_else(
    guarantee: ProcessingGuarantee,
) -> None:
    w = World(2)
    w.emit("high", "low", "gone", "bare", "text", "right", "half")
    w.emit("low", partition=1)
    w.emit("zero", incr=5)
    last = w.emit("zero", incr=-5)
    w.item("high", 2, {0: 0})
    w.item("low", 1, {0: 1, 1: 0})
    w.item("bare", None, {0: 3})
    w.item("text", "many", {0: 4})
    w.item("right", 1, {0: 5})
    w.item("half", 0.5, {0: 6})
    w.emit("text", incr=-1)
    last = w.emit("zero", incr=0)
    w.commit(last + 1, 1)
    verdict = w.verify(guarantee)
    assert not verdict.ok
    assert list(verdict.text(20)) == [
        "DIFFERENT  6 of 8 counters, sum in topic 7, in table 4",
        "table  item  counter  in topic         in table  difference  partitions",
        "hits   high  count           1                2          +1  0",
        "hits   low   count           2                1          -1  0, 1",
        "hits   gone  count           1     missing item          -1  0",
        "hits   bare  count           1          missing          -1  0",
        "hits   half  count           1  no whole number           ?  0",
        "hits   text  count           0        no number           ?  0",
    ]


def test_text_has_at_most_so_many_lines_the_largest_first_and_json_has_all() -> None:
    w = World()
    for number in range(30):
        w.item(f"k{number:02}", 2 * number + 1, {0: w.emit(f"k{number:02}", incr=number)})
    w.item("k28", -1)
    w.commit(30)
    verdict = w.verify()
    lines = list(verdict.text(3))
    assert lines[0] == "DIFFERENT  30 of 30 counters, sum in topic 435, in table 842"
    assert [line.split()[1] for line in lines[2:5]] == ["k29", "k28", "k27"]
    assert lines[5:] == ["and 27 more: raise --limit, or use -o json"]
    assert list(verdict.text(0))[1:] == ["and 30 more: raise --limit, or use -o json"]
    told = json.loads(verdict.json())
    assert len(told["differences"]) == 30
    assert (told["ok"], told["counters"], told["in_topic"], told["in_table"]) == (
        False,
        30,
        435,
        842,
    )
    assert told["differences"][7] == {
        "table": "hits",
        "key": "k07",
        "range": None,
        "counter": "count",
        "in_topic": 7,
        "in_table": 15,
        "difference": 8,
        "partitions": [0],
        "baseline": None,
        "note": None,
    }


def test_numbers_are_compared_to_the_last_digit() -> None:
    w, big = World(), 2**63 - 1
    for key, wrong in (("right", 0), ("wrong", 1)):
        for _ in range(3):
            last = w.emit(key, incr=big)
        w.item(key, 3 * big - wrong, {0: last})
    assert found(w.verify()) == {"wrong": -1}


@pytest.mark.parametrize(
    ("text", "number"),
    [("-7", -7), ("100.0", 100), ("1E+2", 100), ("1" * 38 + "0", int("1" * 38) * 10)],
)
def test_a_whole_number_is_one_however_it_is_written(text: str, number: int) -> None:
    assert TableValue.of({"count": {"N": text}}, "count") == TableValue(number)


@pytest.mark.parametrize("text", ["0.5", "1E-3", "1" * 37 + ".5"])
def test_a_fraction_is_no_whole_number(text: str) -> None:
    assert TableValue.of({"count": {"N": text}}, "count") == TableValue(note="no whole number")


def test_items_with_a_range_key_are_told_apart() -> None:
    w = World(ranged=True)
    for range_, held in (("1", 1), ("2", 7)):
        w.emit("a", range=range_)
        w.item("a", held, {0: 1}, rk={"S": range_})
    (difference,) = w.verify().differences
    assert (difference.item, difference.difference) == (("a", "2"), 6)
    assert difference.cells()[1] == "a/2"
    assert difference.fields()["range"] == "2"


def test_keys_that_a_terminal_would_obey_are_not_printed_as_they_are() -> None:
    w = World()
    w.emit("\x1b[2J" + "x" * 100)
    w.commit(1)
    (difference,) = w.verify().differences
    assert difference.cells()[1] == "?[2J" + "x" * 53 + "..."


def test_events_that_are_dead_letters_are_told_not_counted() -> None:
    w = World()
    w.emit("a")
    w.put_raw(None)
    for _ in range(3):
        w.put_raw(b"no row")
    w.emit("b", table="not-listed")
    w.emit("a", incr=1_000)
    w.item("a", 1, {0: 6})
    w.commit(7)
    verdict = w.verify(max_incr=999)
    assert list(verdict.text(20)) == [
        "OK  1 counters, sum 1 = 1",
        "dead letters, not counted: 6",
    ]


# --- fences ------------------------------------------------------------------------------------


@pytest.mark.parametrize("guarantee", [FENCED, "at-least-once"])
def test_events_with_a_letter_are_not_counted_though_the_settings_would(
    guarantee: ProcessingGuarantee,
) -> None:
    w = World()
    w.emit("a", "a", "b")
    w.item("a", 1, {0: 1})
    w.item("b", 1, {0: 2})
    w.commit(3)
    assert not w.verify(guarantee).ok
    w.letters = {(0, 1)}
    verdict = w.verify(guarantee)
    assert verdict.ok
    assert (verdict.events, verdict.rejected) == (3, 1)


def test_a_letter_is_left_out_of_what_an_item_is_ahead_of_the_commits_too() -> None:
    w = World()
    w.emit("a", "a", "a")
    w.item("a", 2, {0: 2})
    w.commit(1)
    assert not w.verify().ok
    w.letters = {(0, 1)}
    assert w.verify().ok


def test_each_item_is_compared_up_to_its_own_fences() -> None:
    w = World(2)
    w.emit("a", "b", "a", "b", "new")
    w.emit("a", partition=1)
    w.item("a", 1, {0: 1})  # the second event of partition 0, and all of 1, are still to come
    w.item("b", 2, {0: 4})
    w.commit(0, 0)
    assert list(w.verify().text(20)) == ["OK  3 counters, sum 3 = 3", AFTER.format(6)]


AFTER = "{} events are after the committed offsets"


@pytest.mark.parametrize(("fence", "difference"), [(0, 1), (1, 0), (2, 0), (3, -1), (4, -1)])
def test_a_wrong_fence_is_found(fence: int, difference: int) -> None:
    w = World()
    w.emit("a", "a", "b", "a", "b")
    w.item("a", 2, {0: fence})
    assert found(w.verify()) == ({"a": difference} if difference else {})


def test_a_fence_that_no_event_can_have_set_is_found_though_the_sum_is_right() -> None:
    w = World()
    w.emit("a", "b")
    w.item("a", 1, {0: 2})
    w.item("b", 1, {0: 1, 7: 3})
    w.commit(2)
    verdict = w.verify()
    assert found(verdict) == {"a": 0, "b": 0}
    assert [d.note for d in verdict.differences] == [
        "fence 2 of partition 0, which ends at 2",
        "fence 3 of partition 7, which ends at 0",
    ]
    assert "fence 2 of partition 0" in list(verdict.text(20))[2]


def test_what_was_committed_must_be_there_whatever_the_fence_says() -> None:
    """An event that was skipped leaves its item as it was, fence and all."""
    w = World()
    w.emit("a", "a", "b")
    w.item("a", 1, {0: 0})
    w.item("b", 1, {0: 2})
    assert w.verify().ok
    w.commit(3)
    assert found(w.verify()) == {"a": -1}


def test_the_commits_and_fences_of_a_deleted_topic_say_nothing() -> None:
    w = World()
    w.emit("a", "a")
    w.item("a", 7, {0: 1})
    w.commit(2)
    w.broker.group(GROUP).metadata[TOPIC, 0] = w.identity
    w.broker.recreate_topic(TOPIC)
    w.identity = w.broker.topic_ids[TOPIC]
    w.emit("a", "a")
    verdict = w.verify()
    assert [(d.expected, d.value.number) for d in verdict.differences] == [(0, 7)]
    with pytest.raises(ConfigError, match="of another topic of the name"):
        w.verify(UNFENCED)


def test_a_table_that_counted_at_least_once_before_is_ok_without_a_baseline() -> None:
    w = World()
    w.emit("a", "b", "a")
    w.item("a", 2)
    w.item("b", 1)
    w.commit(3)
    w.emit("a", "a", "c")
    w.item("a", 3, {0: 3})
    assert list(w.verify().text(20)) == ["OK  3 counters, sum 4 = 4", AFTER.format(3)]


# --- while consumers run -----------------------------------------------------------------------


class Counting:
    """Plays a consumer that counts exactly once, one small step at a time."""

    def __init__(self, world: World, partitions: int, chance: random.Random) -> None:
        self.world, self.chance = world, chance
        self.at = [0] * partitions
        self.todo: dict[int, list[tuple[str, Counter[str], int, int]]] = {}
        self.closed: dict[int, int] = {}
        self.counts: dict[str, Counter[str]] = {}
        self.fences: dict[str, dict[int, int]] = {}

    def step(self) -> None:
        """Emit, close a window, write one item of one, or commit."""
        number = self.chance.randrange(len(self.at))
        log = self.world.broker.logs[TOPIC][number]
        if self.chance.random() < 0.4:
            key, counter = f"k{self.chance.randrange(6)}", self.chance.choice(["count", "views"])
            incr = self.chance.randint(-3, 9)
            self.world.emit(key, incr=incr, partition=number, counter=counter)
        elif self.todo.get(number):
            key, sums, first, last = self.todo[number].pop()
            fences = self.fences.setdefault(key, {})
            if fences.get(number, -1) < first:
                self.counts.setdefault(key, Counter()).update(sums)
                fences[number] = last
                self.write(key)
        elif number in self.closed:
            offsets = [self.world.broker.committed(GROUP, TOPIC, n) for n in range(len(self.at))]
            offsets[number] = self.closed.pop(number)
            for n, offset in enumerate(offsets):
                if offset is not None:
                    self.world.broker.group(GROUP).offsets[TOPIC, n] = offset
        elif log.high > self.at[number]:
            self._close(number, min(log.high, self.at[number] + self.chance.randint(1, 5)))

    def write(self, key: str, wrong_by: int = 0) -> None:
        """Put an item as it is counted, or one counter of it wrong."""
        counts = dict(self.counts[key])
        counts[min(counts)] += wrong_by
        more = {"views": {"N": str(counts["views"])}} if "views" in counts else {}
        self.world.item(key, counts.get("count"), self.fences[key], **more)

    def _close(self, number: int, end: int) -> None:
        first, last = self.at[number], end - 1
        sums: dict[str, Counter[str]] = {}
        log = self.world.broker.logs[TOPIC][number]
        for message in log.messages[first - log.low : end - log.low]:
            assert message is not None
            (ref, incr), *_ = self.decoder.decode([message.value()]).increments
            sums.setdefault(ref.key, Counter())[ref.name] += incr
        self.todo[number] = [(key, added, first, last) for key, added in sums.items()]
        self.closed[number] = self.at[number] = end

    @property
    def decoder(self) -> Decoder:
        client = cast("Any", self.world.dynamodb)
        return Decoder({"hits": describe(client, "hits")})


@settings(max_examples=150)
@given(seed=st.integers(0, 2**32))
def test_a_table_that_is_counted_meanwhile_is_ok_at_any_moment(seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311 - a test
    partitions = chance.randint(1, 3)
    w = World(partitions)
    counting = Counting(w, partitions, chance)

    def steps() -> None:
        for _ in range(chance.randrange(12)):
            counting.step()

    w.on_consume = w.on_read = steps
    for turn in range(4):
        steps()
        verdict = w.verify(sample=CounterSample(2, seed) if turn == 2 else None)
        assert verdict.ok, list(verdict.text(20))
    w.on_consume = w.on_read = lambda: None
    if counting.counts:
        wrong = chance.choice(sorted(counting.counts))
        by = chance.choice([-1, 1])
        counting.write(wrong, by)
        assert found(w.verify()) == {wrong: by}


def test_a_snapshot_of_a_table_that_is_counted_meanwhile_is_a_baseline(tmp_path: Path) -> None:
    for seed in range(60):
        chance = random.Random(seed)  # noqa: S311 - a test
        w = World(2)
        counting, file = Counting(w, 2, chance), tmp_path / f"{seed}.jsonl"

        def steps() -> None:
            for _ in range(chance.randrange(12)):  # noqa: B023 - called in this turn only
                counting.step()  # noqa: B023 - as above

        for _ in range(10):
            steps()
        w.on_consume = w.on_read = steps
        w.verify(snapshot=file)
        for _ in range(3):
            steps()
            verdict = w.verify(baseline=file)
            assert verdict.ok, list(verdict.text(20))
            reached = Baseline.open(file).offsets
            for number in range(2):
                w.broker.delete_before(TOPIC, number, chance.randint(0, reached[number]))
        w.verify(baseline=file, snapshot=file)
        assert w.verify(baseline=file).ok


def test_a_snapshot_holds_what_retention_removed_though_it_is_counted_meanwhile(
    tmp_path: Path,
) -> None:
    for seed in range(60):
        chance = random.Random(seed)  # noqa: S311 - a test
        w = World(2)
        counting, file = Counting(w, 2, chance), tmp_path / f"{seed}.jsonl"
        for _ in range(40):
            counting.step()
        for number in range(2):
            reached = w.broker.committed(GROUP, TOPIC, number) or 0
            w.broker.delete_before(TOPIC, number, reached)

        def steps() -> None:
            for _ in range(chance.randrange(8)):  # noqa: B023 - called in this turn only
                counting.step()  # noqa: B023 - as above

        w.on_consume = w.on_read = steps
        w.verify(snapshot=file)
        for _ in range(3):
            for _ in range(20):
                counting.step()
            verdict = w.verify(baseline=file)
            assert verdict.ok, (seed, list(verdict.text(20)))
            w.verify(baseline=file, snapshot=file)


# --- an idle group -----------------------------------------------------------------------------


def test_at_least_once_is_compared_at_the_committed_offsets() -> None:
    w = World()
    w.emit("a", "b", "a", "new")
    w.item("a", 1)
    w.item("b", 1)
    w.commit(2)
    assert list(w.verify(UNFENCED).text(20)) == ["OK  3 counters, sum 2 = 2", AFTER.format(2)]
    w.item("new", 1)  # written and not committed: a crash, and it will be counted again
    assert found(w.verify(UNFENCED)) == {"new": 1}


def test_members_that_have_nothing_to_count_are_no_obstacle() -> None:
    w = World()
    w.emit("a")
    w.item("a", 1)
    w.commit(1)
    w.admin.members = 3
    assert w.verify(UNFENCED).ok
    w.emit("a")
    with pytest.raises(UnavailableError, match=r"not idle \(it has 3 members, and events to count"):
        w.verify(UNFENCED)
    w.admin.members = 0
    assert w.verify(UNFENCED).ok


def test_events_that_came_meanwhile_may_have_been_counted_by_members() -> None:
    w = World()
    w.emit("a")
    w.item("a", 1)
    w.commit(1)
    w.admin.members = 1
    w.on_read = lambda: w.emit("b")
    with pytest.raises(UnavailableError, match="is not idle"):
        w.verify(UNFENCED)


def test_a_member_that_joined_meanwhile_is_noticed() -> None:
    w = World()
    w.emit("a", "a")
    w.item("a", 1)
    w.commit(1)
    w.admin.looks = [lambda: None, lambda: setattr(w.admin, "members", 1)]
    with pytest.raises(UnavailableError, match="1 members"):
        w.verify(UNFENCED)


def test_a_member_that_left_meanwhile_without_a_commit_is_noticed() -> None:
    w = World()
    w.emit("a", "a")
    w.item("a", 1)
    w.commit(1)
    w.admin.members = 1
    w.admin.looks = [lambda: None, lambda: setattr(w.admin, "members", 0)]
    with pytest.raises(UnavailableError, match="1 members"):
        w.verify(UNFENCED)


def test_events_of_a_partition_that_was_added_meanwhile_may_have_been_counted() -> None:
    w = World()
    w.emit("a")
    w.item("a", 1)
    w.commit(1)
    w.admin.members = 1

    def add_partition() -> None:
        w.on_read = lambda: None
        w.broker.create_topic(TOPIC, 2)
        w.emit("a", partition=1)
        w.item("a", 2)

    w.on_read = add_partition
    with pytest.raises(UnavailableError, match="1 members, and events to count"):
        w.verify(UNFENCED)


@pytest.mark.parametrize("members", [0, 1, None])
def test_committed_offsets_that_move_are_noticed(members: int | None) -> None:
    w = World(2)
    w.emit("a", "a")
    w.item("a", 2)
    w.commit(1)
    w.admin.members = members
    w.on_read = lambda: w.commit(2)
    with pytest.raises(UnavailableError, match="its committed offsets move"):
        w.verify(UNFENCED)
    w.on_read = lambda: w.commit(2, 0)  # the first commit of a partition
    with pytest.raises(UnavailableError, match="its committed offsets move"):
        w.verify(UNFENCED)


def test_brokers_that_do_not_tell_members_are_told_of() -> None:
    w = World()
    w.emit("a")
    w.item("a", 1)
    w.commit(1)
    w.admin.members = None
    assert list(w.verify(UNFENCED).text(20)) == [
        "OK  1 counters, sum 1 = 1",
        "the brokers do not tell whether the group has members; its committed offsets did not move",
    ]


def test_a_group_that_committed_nothing_is_probably_misspelt() -> None:
    w = World()
    w.emit("a")
    with pytest.raises(ConfigError, match=r"committed nothing of topic row-events: .* --group-id"):
        w.verify(UNFENCED)
    told = "group dynatomic has committed nothing of topic row-events, so only fences say what is "
    assert list(w.verify().text(20)) == [
        "OK  1 counters, sum 0 = 0",
        AFTER.format(1),
        f"{told}in the tables; check --group-id",
    ]
    w.commit(0)
    assert len(list(w.verify().text(20))) == 2


@pytest.mark.parametrize("code", ["GROUP_AUTHORIZATION_FAILED", "TOPIC_AUTHORIZATION_FAILED"])
@pytest.mark.parametrize("whole", [True, False])
def test_a_group_that_may_not_be_seen_is_told_at_once(code: str, *, whole: bool) -> None:
    error = KafkaError(getattr(KafkaError, code))

    def committed(places: list[TopicPartition], **_: Any) -> list[Any]:
        if whole:
            raise KafkaException(error)
        return [SimpleNamespace(partition=p.partition, offset=-1, error=error) for p in places]

    group = GroupState(SimpleNamespace(committed=committed), Admin(), Settings(), None)
    with pytest.raises(ConfigError, match=r"group dynatomic.*allow Describe on both"):
        group.committed([0])


def test_an_offset_beyond_the_end_says_that_events_are_gone() -> None:
    w = World()
    w.emit("a")
    w.commit(5)
    with pytest.raises(ConfigError, match=r"offset 5 of partition 0 .* ends at 1"):
        w.verify(UNFENCED)


# --- what the topic no longer has --------------------------------------------------------------


@pytest.mark.parametrize("guarantee", [FENCED, UNFENCED])
def test_a_topic_that_lost_its_beginning_is_refused_not_judged(
    guarantee: ProcessingGuarantee, tmp_path: Path
) -> None:
    w, file = World(2), tmp_path / "base"
    w.emit("a", "b", "a")
    w.item("a", 2, {0: 2})
    w.item("b", 1, {0: 1})
    w.commit(3)
    w.verify(guarantee, snapshot=file)
    w.broker.delete_before(TOPIC, 0, 2)
    with pytest.raises(ConfigError, match=r"partition 0 .* begins at offset 2.*--baseline FILE"):
        w.verify(guarantee)
    assert w.verify(guarantee, baseline=file).ok
    w.emit("a", "c", incr=4)
    w.item("a", 6, {0: 3})
    w.item("c", 4, {0: 4})
    w.commit(5)
    w.broker.delete_before(TOPIC, 0, 3)
    assert first_line(w.verify(guarantee, baseline=file)) == "OK  3 counters, sum 11 = 11"
    w.item("b", 2, {0: 1})
    assert found(w.verify(guarantee, baseline=file)) == {"b": 1}
    w.broker.delete_before(TOPIC, 0, 4)
    with pytest.raises(ConfigError, match=r"begins at offset 4.*the baseline reaches 3; use a new"):
        w.verify(guarantee, baseline=file)


def test_events_that_retention_takes_while_they_are_read_are_noticed() -> None:
    w = World()
    w.emit(*["a"] * 30_000)
    w.on_consume = lambda: w.broker.delete_before(TOPIC, 0, 20_000)
    with pytest.raises(ConfigError, match="lost events while it was read"):
        w.verify()


def test_brokers_that_give_no_message_are_told_in_time() -> None:
    w, clock = World(), Clock()
    w.emit("a")
    config = Settings(topic=TOPIC, tables=("hits",))
    consumer = w.broker.consumer(consumer_config(config, eof=True))
    w.broker.sleep = clock.advance
    w.broker.faults.down = True
    with pytest.raises(UnavailableError, match="no broker gave a message for 60 s"):
        list(read(consumer, config, {0: (0, 1)}, lambda _: None, clock=clock))


def test_errors_are_no_messages_so_brokers_that_only_err_are_told_in_time() -> None:
    w, clock = World(), Clock()
    w.emit("a")
    config = Settings(topic=TOPIC, tables=("hits",))
    consumer = w.broker.consumer(consumer_config(config, eof=True))
    consume = consumer.consume

    def err(*arguments: Any) -> Any:
        clock.advance(1)
        assert clock.now < 2_000, "it waits for ever"
        w.broker.emit_error(consumer, KafkaError.LEADER_NOT_AVAILABLE, topic=TOPIC, partition=0)
        return consume(*arguments)

    consumer.consume = err  # type: ignore[method-assign, assignment]
    with pytest.raises(UnavailableError, match="no broker gave a message for 60 s"):
        list(read(consumer, config, {0: (0, 9)}, lambda _: None, clock=clock))


@pytest.mark.parametrize("code", [KafkaError._BAD_MSG, KafkaError._BAD_COMPRESSION])
def test_a_damaged_batch_ends_it_for_librdkafka_asks_for_it_for_ever_or_jumps(code: int) -> None:
    w = World()
    w.emit("a", "a")
    config = Settings(topic=TOPIC, tables=("hits",))
    consumer = w.broker.consumer(consumer_config(config, eof=True))
    w.broker.emit_error(consumer, code, topic=TOPIC, partition=0, offset=1)
    reset = KafkaError._AUTO_OFFSET_RESET  # where it jumped to there is nothing
    w.broker.emit_error(consumer, reset, topic=TOPIC, partition=0, offset=2**60)
    with pytest.raises(DynatomicError, match=r"partition 0 .* offset 1.* is damaged"):
        list(read(consumer, config, {0: (0, 2)}, lambda _: None))


def test_gaps_and_what_comes_after_the_end_are_not_waited_for() -> None:
    w, log = World(2), World(1).broker.logs[TOPIC][0]
    assert not log.messages
    w.broker.append_gap(TOPIC, 0, 3)
    w.emit("a")
    w.broker.append_gap(TOPIC, 0, 2)
    config = Settings(topic=TOPIC, tables=("hits",))
    consumer = w.broker.consumer(consumer_config(config, eof=True))
    seen: list[int] = []
    runs = read(consumer, config, {0: (0, 6), 1: (0, 0)}, seen.append)
    assert [(number, [m.offset() for m in run]) for number, run in runs] == [(0, [3])]
    w.emit("b", "c")
    runs = read(consumer, config, {0: (0, 7)}, seen.append)
    assert [(number, [m.offset() for m in run]) for number, run in runs] == [(0, [3, 6])]
    assert sum(seen) == 3
    assert consumer.position([TopicPartition(TOPIC, 0)])[0].offset < 0  # nothing is read any more


# --- baselines ---------------------------------------------------------------------------------


def test_a_table_that_counted_before_the_topic_began_needs_a_baseline(tmp_path: Path) -> None:
    w, file = World(), tmp_path / "base"
    w.emit("a")
    w.item("a", 101, {0: 0})
    assert found(w.verify()) == {"a": 100}
    taken = w.verify(snapshot=file)
    assert first_line(taken) == "1 counters, sum 101; nothing was compared"
    assert json.loads(taken.json())["ok"] is None
    w.emit("a", "b", incr=2)
    w.item("a", 103, {0: 1})
    w.item("b", 2, {0: 2})
    verdict = w.verify(baseline=file)
    assert first_line(verdict) == "OK  2 counters, sum 105 = 105"
    w.item("a", 104, {0: 1})
    (difference,) = w.verify(baseline=file).differences
    assert difference.fields()["baseline"] == 101
    assert difference.partitions == [0]


def test_a_counter_that_the_topic_names_later_begins_with_what_its_item_held(
    tmp_path: Path,
) -> None:
    w, file = World(), tmp_path / "base"
    w.emit("a")
    w.item("a", 1, {0: 0}, views={"N": "30"}, height={"N": "1.5"})
    w.verify(snapshot=file)
    (held,) = Baseline.open(file).items()
    assert (held.counters, held.others) == ({"count": 1}, {"views": 30})
    assert first_line(w.verify(baseline=file)) == "OK  1 counters, sum 1 = 1"
    w.emit("a", counter="views")
    w.item("a", 1, {0: 1}, views={"N": "31"})
    assert first_line(w.verify(baseline=file)) == "OK  2 counters, sum 32 = 32"


@pytest.mark.parametrize("guarantee", [FENCED, UNFENCED])
def test_an_item_whose_events_retention_removed_is_in_the_first_snapshot_and_all_later_ones(
    guarantee: ProcessingGuarantee, tmp_path: Path
) -> None:
    w, first, second = World(), tmp_path / "first", tmp_path / "second"
    w.emit("old", "older", "a", incr=100)
    w.item("old", 100, {0: 0})
    w.item("older", 100, {0: 1}, views={"N": "7"})
    w.item("a", 100, {0: 2})
    w.commit(3)
    w.broker.delete_before(TOPIC, 0, 2)
    taken = w.verify(guarantee, snapshot=first)
    assert list(taken.text(20)) == [
        "1 counters, sum 100; nothing was compared",
        "2 items that the topic does not name are in the snapshot too",
    ]
    assert first_line(w.verify(guarantee, baseline=first)) == "OK  1 counters, sum 100 = 100"
    w.item("old", 107, {0: w.emit("old", incr=7)})
    w.commit(4)
    assert first_line(w.verify(guarantee, baseline=first)) == "OK  2 counters, sum 207 = 207"
    w.verify(guarantee, baseline=first, snapshot=second)
    w.item("older", 101, {0: w.emit("older", incr=1)}, views={"N": "8"})
    w.emit("older", counter="views")
    w.commit(6)
    w.item("older", 101, {0: 5}, views={"N": "8"})
    assert first_line(w.verify(guarantee, baseline=second)) == "OK  4 counters, sum 316 = 316"
    w.item("older", 101, {0: 5}, views={"N": "9"})
    assert found(w.verify(guarantee, baseline=second)) == {"older": 1}


def test_a_later_snapshot_does_not_accept_what_was_changed_beside_the_topic(
    tmp_path: Path,
) -> None:
    w, first, second = World(), tmp_path / "first", tmp_path / "second"
    w.emit("old", "a")
    w.item("old", 100, {0: 0})
    w.item("a", 1, {0: 1})
    w.commit(2)
    w.broker.delete_before(TOPIC, 0, 1)
    w.verify(snapshot=first)
    w.item("old", 105, {0: 0})
    w.verify(baseline=first, snapshot=second)
    w.item("old", 106, {0: w.emit("old")})
    w.commit(3)
    assert found(w.verify(baseline=second)) == {"old": 5}


def test_a_table_that_the_baseline_does_not_have_is_told_and_is_in_the_next_one(
    tmp_path: Path,
) -> None:
    w, first, second = World(), tmp_path / "first", tmp_path / "second"
    w.emit("a")
    w.item("a", 1, {0: 0})
    w.commit(1)
    w.item("z", 40, table="bytes")
    w.verify(snapshot=first, tables=("hits",))
    told = "table bytes is not in the baseline: its counters are taken to begin at 0"
    assert list(w.verify(baseline=first).text(20))[1:] == [told]
    assert list(w.verify(baseline=first, tables=("hits",)).text(20))[1:] == []
    w.verify(baseline=first, snapshot=second)
    w.item("z", 41, {0: w.emit("z", table="bytes")}, table="bytes")
    w.commit(2)
    assert found(w.verify(baseline=first)) == {"z": 40}
    assert list(w.verify(baseline=second).text(20)) == ["OK  2 counters, sum 42 = 42"]


def test_a_counter_that_is_named_while_a_snapshot_is_taken_is_not_counted_twice(
    tmp_path: Path,
) -> None:
    w, file = World(), tmp_path / "base"
    w.emit("a")

    def name_another() -> None:
        w.on_read = lambda: None
        w.emit("a", counter="views")
        w.item("a", 1, {0: 1}, views={"N": "1"})

    w.on_read = name_another
    w.verify(snapshot=file)
    assert first_line(w.verify(baseline=file)) == "OK  2 counters, sum 2 = 2"


def test_a_switch_from_at_least_once_to_exactly_once_and_back(tmp_path: Path) -> None:
    w, file, later = World(2), tmp_path / "base", tmp_path / "later"
    w.emit("a", "b", "a")
    w.emit("a", partition=1)
    w.item("a", 4)  # one was counted twice
    w.item("b", 1)
    w.commit(3, 1)
    assert found(w.verify(UNFENCED)) == {"a": 1}
    w.verify(UNFENCED, snapshot=file)  # which accepts it
    w.broker.delete_before(TOPIC, 0, 3)
    assert w.verify(FENCED, baseline=file).ok
    w.emit("a", "c", "a")
    w.emit("b", partition=1)
    w.item("a", 5, {0: 4})
    w.item("c", 1, {0: 4})
    w.commit(4)
    assert first_line(w.verify(FENCED, baseline=file)) == "OK  3 counters, sum 7 = 7"
    w.item("a", 6, {0: 4})
    assert found(w.verify(FENCED, baseline=file)) == {"a": 1}
    w.item("a", 6, {0: 5})
    w.item("b", 2, {1: 1})
    w.verify(FENCED, baseline=file, snapshot=later)
    w.commit(6, 2)
    assert first_line(w.verify(UNFENCED, baseline=later)) == "OK  3 counters, sum 9 = 9"
    w.emit("a", "b")
    w.item("a", 7, {0: 5})
    w.item("b", 3, {1: 1})
    w.commit(8, 2)
    assert first_line(w.verify(UNFENCED, baseline=later)) == "OK  3 counters, sum 11 = 11"


def test_a_snapshot_keeps_what_an_earlier_one_had_and_the_topic_has_no_more(
    tmp_path: Path,
) -> None:
    w, first, second = World(), tmp_path / "first", tmp_path / "second"
    w.emit("old", "a")
    w.item("old", 1, {0: 0})
    w.item("a", 1, {0: 1})
    w.commit(2)
    w.verify(snapshot=first)
    w.emit("a")
    w.item("a", 2, {0: 2})
    w.commit(3)
    w.broker.delete_before(TOPIC, 0, 2)
    assert w.verify(baseline=first, snapshot=second).ok
    w.broker.delete_before(TOPIC, 0, 3)
    w.item("old", 5, {0: 0})
    assert found(w.verify(baseline=second)) == {"old": 4}


def test_a_snapshot_is_not_written_over_differences(tmp_path: Path) -> None:
    w, file = World(), tmp_path / "base"
    w.emit("a")
    w.item("a", 1, {0: 0})
    w.verify(snapshot=file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    before = file.read_bytes()
    w.item("a", 2, {0: 0})
    assert not w.verify(baseline=file, snapshot=file).ok
    assert file.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["base"]
    w.verify(snapshot=file)
    assert w.verify(baseline=file).ok


def test_a_counter_that_was_no_number_is_in_no_snapshot(tmp_path: Path) -> None:
    w, file = World(), tmp_path / "base"
    w.emit("a", "b")
    w.item("a", "many", {0: 0})
    w.item("b", 1, {0: 1})
    w.verify(snapshot=file)
    assert [(h.item, h.counters) for h in Baseline.open(file).items()] == [
        ("a", {}),
        ("b", {"count": 1}),
    ]


# --- samples -----------------------------------------------------------------------------------


def big_world(counters: int) -> World:
    w = World(3)
    for turn in range(2):
        for number in range(counters):
            w.emit(f"k{number}", partition=(number + turn) % 3)
    for number in range(counters):
        w.item(f"k{number}", 2)
    w.commit(*[log.high for log in w.broker.logs[TOPIC]])
    return w


def test_a_sample_has_so_many_counters_with_all_their_events() -> None:
    w = big_world(500)
    verdict = w.verify(sample=CounterSample(20, seed=1))
    assert first_line(verdict) == "OK  20 counters, sum 40 = 40"
    assert w.dynamodb.requests["BatchGetItem"] == 1
    assert (
        first_line(w.verify(sample=CounterSample(1_000, 1)))
        == "OK  500 counters, sum 1,000 = 1,000"
    )


def test_a_sample_follows_from_its_seed_and_every_counter_may_be_in_it() -> None:
    def chosen(seed: int, keys: Sequence[int]) -> set[str]:
        held: dict[str, CounterRef] = {}
        sample = CounterSample(10, seed)
        for number in keys:
            ref = CounterRef("hits", f"k{number}", None, "count")
            if sample.takes(ref, lambda out: held.pop(out.key) and None):
                held[ref.key] = ref
        return set(held)

    assert chosen(1, range(100)) == chosen(1, [*reversed(range(100)), *range(100)])
    assert chosen(1, range(100)) != chosen(2, range(100))
    often = Counter(key for seed in range(300) for key in chosen(seed, range(100)))
    assert len(often) == 100
    assert max(often.values()) < 65  # 30 are expected


def test_a_sample_of_a_baseline_has_the_baselines_counters_too(tmp_path: Path) -> None:
    w, file = big_world(50), tmp_path / "base"
    w.verify(UNFENCED, snapshot=file)
    for number, log in enumerate(w.broker.logs[TOPIC]):
        w.broker.delete_before(TOPIC, number, log.high)
    for seed in range(5):
        verdict = w.verify(UNFENCED, baseline=file, sample=CounterSample(10, seed))
        assert first_line(verdict) == "OK  10 counters, sum 20 = 20"


# --- recounting --------------------------------------------------------------------------------

EVENTS = st.lists(
    st.tuples(
        st.integers(0, 1),
        st.sampled_from(["a", "b", "c", "d"]),
        st.sampled_from([None, "views"]),
        st.integers(-5, 5),
        st.booleans(),
    ),
    max_size=40,
)


@settings(max_examples=200)
@given(
    events=EVENTS, cuts=st.tuples(st.integers(0, 25), st.integers(0, 25)), split=st.integers(1, 9)
)
def test_a_recount_is_the_sum_up_to_the_cut_and_knows_all_names(
    events: list[tuple[int, str, str | None, int, bool]],
    cuts: tuple[int, int],
    split: int,
) -> None:
    w = World(2)
    expected: Counter[tuple[str, str]] = Counter()
    good = bad = late = 0
    for number, key, counter, incr, is_row in events:
        offset = w.broker.logs[TOPIC][number].high
        if not is_row:
            w.put_raw(b"\xff", number)
            bad += 1
            continue
        w.emit(key, incr=incr, counter=counter, partition=number)
        good += 1
        late += offset >= cuts[number]
        expected[key, counter or "count"] += incr if offset < cuts[number] else 0
    client = cast("Any", w.dynamodb)
    recount = Recount(Decoder({"hits": describe(client, "hits")}))
    runs = []
    for number, log in enumerate(w.broker.logs[TOPIC]):
        runs += [(number, log.messages[i : i + split]) for i in range(0, log.high, split)]
    spans = {
        n: Span(0, min(cuts[n], log.high), log.high) for n, log in enumerate(w.broker.logs[TOPIC])
    }
    recount.scan(cast("Any", runs), spans)
    totals: Counter[tuple[str, str]] = Counter()
    for _, name, items in recount.places("hits"):
        for item, added in items.items():
            totals[str(item), name] += added
    assert dict(totals) == dict(expected)
    assert sorted(set(map(str, recount.items("hits")))) == sorted(map(str, recount.items("hits")))
    assert (recount.events, recount.rejected, recount.uncommitted) == (good + bad, bad, late)


def test_reading_is_folded_before_it_fills_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dynatomic.verify.recount.CHUNK_BYTES", 200)
    w = World()
    w.emit(*["a" * 50] * 30)
    client = cast("Any", w.dynamodb)
    recount = Recount(Decoder({"hits": describe(client, "hits")}))

    def runs() -> Iterator[tuple[int, list[Any]]]:
        for message in w.broker.messages(TOPIC):
            assert recount._held_bytes < 200
            yield 0, [message]

    recount.scan(runs(), {0: Span(0, 30, 30)})
    assert next(iter(recount.places("hits")))[2] == {"a" * 50: 30}
