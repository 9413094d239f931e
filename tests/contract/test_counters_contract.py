"""Adding to counters, on the fake, on the embedded table and on DynamoDB Local.

The first half holds for all three; the second puts a proxy with faults before the two servers.
"""

import itertools
import queue
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import pytest

from dynatomic.dynamodb.answers import (
    Answer,
    Applied,
    Fenced,
    PartiallyRejected,
    Refused,
    Rejected,
    Retry,
    TryStep,
)
from dynatomic.dynamodb.client import make_client
from dynatomic.dynamodb.counters import Counters
from dynatomic.dynamodb.fence import Fence
from dynatomic.dynamodb.increment import increment
from dynatomic.dynamodb.statements import Change, Step, key_attributes
from dynatomic.dynamodb.tables import create_table, describe
from dynatomic.dynamodb.write import WindowWrite
from dynatomic.dynamodb.writer import Writer
from dynatomic.errors import ConfigError, IncrementError, RowError, UnavailableError
from dynatomic.events.decoder import UnitIncrement
from dynatomic.events.row import CounterRef, KeySchema, Reason, key_value
from dynatomic.events.window import Window
from dynatomic.testing.dynamodb.client import FakeDynamoDB
from dynatomic.testing.embedded import environment
from tests.support.faults import (
    DropRequest,
    DropResponse,
    Error,
    FailStatements,
    Fault,
    Hold,
    Raw,
    Request,
    WrongChecksum,
    access_denied,
    html,
    server_error,
    throttle,
)
from tests.support.names import unique
from tests.support.proxy import FaultyProxy
from tests.support.tables import MakeTable
from tests.support.tables import make_client as plain_client
from tests.support.windows import window_of

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

SECONDS = 30


def refs(table: str, keys: Iterable[str], name: str = "count") -> list[CounterRef]:
    return [CounterRef(table, key, None, name) for key in keys]


def add(
    client: "DynamoDBClient",
    *windows: Mapping[CounterRef, int] | Window,
    first: Step = Step.UPDATE,
    fence: str | None = None,
) -> list[WindowWrite]:
    """Write windows at the same time and return how they ended; pauses are over at once."""
    full = [window if isinstance(window, Window) else window_of(window) for window in windows]
    tables = {ref.table for window in full for ref in window.sums}
    counters = Counters(client, {table: describe(client, table) for table in tables})
    settled: queue.Queue[WindowWrite | BaseException] = queue.Queue()
    jumps = itertools.count(0.0, 1000.0)

    def execute(step: Step, batch: Sequence[Change]) -> list[Answer]:
        try:
            return counters.execute(step, batch)
        except BaseException as error:
            settled.put(error)  # so that a defect fails the test at once
            raise

    writer = Writer(execute, max_requests=4, first_step=first, clock=jumps.__next__)
    try:
        writes = [writer.submit(window, settled.put, fence) for window in full]
        done: list[WindowWrite | BaseException] = []
        while len(done) < len(writes):
            found = settled.get(timeout=SECONDS)
            if isinstance(found, WindowWrite) and found.held_back:
                writer.write_held_back(found)
            else:
                done.append(found)
    finally:
        writer.close()
    assert {id(found) for found in done} == {id(write) for write in writes}, done
    assert writer.failure is None
    assert settled.empty()
    return writes


def put(client: "DynamoDBClient", table: str, key: str, **attributes: Any) -> None:
    client.put_item(TableName=table, Item={"pk": {"S": key}, **attributes})


def stored(client: "DynamoDBClient", counters: Iterable[CounterRef]) -> dict[CounterRef, Any]:
    """Return the attribute of each counter as the table has it, or None."""
    held = list(counters)
    schemas = {table: describe(client, table) for table in {ref.table for ref in held}}

    def attribute(ref: CounterRef) -> Any:
        key = key_attributes(schemas[ref.table], ref.key, ref.range)
        found = client.get_item(TableName=ref.table, Key=key, ConsistentRead=True)
        return found.get("Item", {}).get(ref.name)

    return {ref: attribute(ref) for ref in held}


def numbers(client: "DynamoDBClient", counters: Iterable[CounterRef]) -> dict[CounterRef, int]:
    return {ref: int(found["N"]) for ref, found in stored(client, counters).items()}


@pytest.mark.parametrize("first", [Step.UPDATE, Step.UPDATE_ITEM])
def test_sums_are_added_whatever_the_items_are(
    dynamodb: "DynamoDBClient", make_table: MakeTable, first: Step
) -> None:
    table = make_table(dynamodb)
    window = {ref: i - 40 for i, ref in enumerate(refs(table, (f"k{i}" for i in range(80))))}
    before = {}
    for i, ref in enumerate(window):
        if i % 4 == 1:
            put(dynamodb, table, ref.key, count={"N": "1000"}, note={"S": "stays"})
            before[ref] = 1000
        elif i % 4 == 2:
            put(dynamodb, table, ref.key, note={"S": "stays"})
    for round_ in (1, 2):
        (write,) = add(dynamodb, window, first=first)
        assert write.rejected == {}
        expected = {ref: before.get(ref, 0) + round_ * n for ref, n in window.items()}
        assert numbers(dynamodb, window) == expected
    notes = [ref._replace(name="note") for i, ref in enumerate(window) if i % 4 in {1, 2}]
    assert stored(dynamodb, notes) == {ref: {"S": "stays"} for ref in notes}


@pytest.mark.parametrize("first", [Step.UPDATE, Step.UPDATE_ITEM])
def test_several_counters_of_an_item_some_of_which_are_there(
    dynamodb: "DynamoDBClient", make_table: MakeTable, first: Step
) -> None:
    table = make_table(dynamodb)
    names = ["count", "hits", "a.b-c_d", "size", "name"]  # some are reserved words
    put(dynamodb, table, "some", hits={"N": "100"}, size={"N": "100"})
    put(dynamodb, table, "all", **{name: {"N": "100"} for name in names})
    window = {
        CounterRef(table, key, None, name): i + 1
        for key in ("none", "some", "all")
        for i, name in enumerate(names)
    }
    add(dynamodb, window, first=first)
    assert numbers(dynamodb, window) == {
        ref: n + 100 * (ref.key == "all" or (ref.key == "some" and ref.name in {"hits", "size"}))
        for ref, n in window.items()
    }


@pytest.mark.parametrize("first", [Step.UPDATE, Step.UPDATE_ITEM])
def test_a_counter_that_is_a_string_is_rejected_and_its_neighbours_are_applied(
    dynamodb: "DynamoDBClient", make_table: MakeTable, first: Step
) -> None:
    table = make_table(dynamodb)
    put(dynamodb, table, "alone", count={"S": "text"})
    put(dynamodb, table, "both", count={"S": "text"}, hits={"N": "10"})
    put(dynamodb, table, "new", count={"S": "text"})
    bad = refs(table, ["alone", "both", "new"])
    good = [
        *refs(table, (f"k{i}" for i in range(40))),
        *refs(table, ["both", "new"], "hits"),
    ]
    (write,) = add(dynamodb, dict.fromkeys([*bad, *good], 5), first=first)
    assert set(write.rejected) == set(bad)
    assert {found.reason for found in write.rejected.values()} == {Reason.COUNTER_NOT_A_NUMBER}
    ten = CounterRef(table, "both", None, "hits")
    assert numbers(dynamodb, good) == dict.fromkeys(good, 5) | {ten: 15}
    assert stored(dynamodb, bad) == {ref: {"S": "text"} for ref in bad}


FENCE = "fence_0123abcd_7"


def window(table: str, *events: tuple[int, str, str, int]) -> Window:
    """Make a window of (offset, key, counter, increment)."""
    made = Window()
    addends = [
        UnitIncrement(CounterRef(table, key, None, name), incr) for _, key, name, incr in events
    ]
    made.add([offset for offset, *_ in events], addends)
    return made


@pytest.mark.parametrize("first", [Step.UPDATE, Step.UPDATE_ITEM])
def test_a_fenced_window_counts_once_whatever_the_items_are(
    dynamodb: "DynamoDBClient", make_table: MakeTable, first: Step
) -> None:
    table = make_table(dynamodb)
    put(dynamodb, table, "counted", count={"N": "100"}, note={"S": "stays"})
    put(dynamodb, table, "fenced", count={"N": "100"}, **{FENCE: {"N": "9"}})
    put(dynamodb, table, "other", count={"N": "100"}, fence_0123abcd_8={"N": "9999"})
    put(dynamodb, table, "bare", **{FENCE: {"N": "9"}})
    put(dynamodb, table, "empty")
    put(dynamodb, table, "in", count={"N": "100"}, **{FENCE: {"N": "19"}})
    keys = ["counted", "fenced", "other", "bare", "empty", "missing", "in"]
    keys += [f"k{i}" for i in range(30)]
    events = [(10 + i % 10, key, "count", i + 1) for i, key in enumerate(keys)]
    events += [(19, "missing", "hits", 7), (19, "counted", "hits", 8)]
    full = window(table, *sorted(events))
    (write,) = add(dynamodb, full, first=first, fence=FENCE)
    had = dict.fromkeys(("counted", "fenced", "other"), 100)
    expected = {
        ref: n + (had.get(ref.key, 0) if ref.name == "count" else 0) for ref, n in full.sums.items()
    }
    expected[CounterRef(table, "in", None, "count")] = 100
    for _ in range(2):
        assert numbers(dynamodb, expected) == expected
        fences = stored(dynamodb, refs(table, keys, FENCE))
        assert fences == {ref: {"N": "19"} for ref in fences}
        assert write.rejected == {}
        (write,) = add(dynamodb, full, first=first, fence=FENCE)  # once more: nothing changes
        assert (write.fenced_items, write.suppressed_events) == (len(keys), len(events))
    assert stored(dynamodb, refs(table, ["counted"], "note"))


@pytest.mark.parametrize("first", [Step.UPDATE, Step.UPDATE_ITEM])
def test_of_a_window_that_is_in_by_half_only_the_rest_is_added(
    dynamodb: "DynamoDBClient", make_table: MakeTable, first: Step
) -> None:
    table = make_table(dynamodb)
    events = [(i, f"k{i % 3}", "hits" if i % 2 else "count", 10**i) for i in range(20)]
    add(dynamodb, window(table, *events[:13]), first=first, fence=FENCE)
    (write,) = add(dynamodb, window(table, *events[5:]), first=first, fence=FENCE)
    whole = window(table, *events).sums
    assert numbers(dynamodb, whole) == whole
    assert (write.fenced_items, write.suppressed_events) == (3, 8)


@pytest.mark.parametrize("first", [Step.UPDATE, Step.UPDATE_ITEM])
def test_a_bad_counter_of_a_fenced_item_holds_back_the_good_ones(
    dynamodb: "DynamoDBClient", make_table: MakeTable, first: Step
) -> None:
    table = make_table(dynamodb)
    put(dynamodb, table, "a", bad={"S": "text"}, good={"N": "1"}, **{FENCE: {"N": "3"}})
    put(dynamodb, table, "alone", bad={"S": "text"})
    full = window(table, (2, "a", "bad", 1), (4, "a", "bad", 1), (5, "a", "good", 5))
    alone = window(table, (4, "alone", "bad", 1))
    settled: queue.Queue[WindowWrite] = queue.Queue()
    counters = Counters(dynamodb, {table: describe(dynamodb, table)})
    writer = Writer(counters.execute, first_step=first)
    good, bad = CounterRef(table, "a", None, "good"), CounterRef(table, "a", None, "bad")
    try:
        write = writer.submit(full, settled.put, FENCE)
        assert settled.get(timeout=SECONDS) is write
        assert {ref: why.first for ref, why in write.rejected.items()} == {bad: 4}
        assert numbers(dynamodb, [good]) == {good: 1}, "added before its neighbour was stored"
        writer.write_held_back(write)
        assert settled.get(timeout=SECONDS) is write
        write = writer.submit(alone, settled.put, FENCE)
        assert settled.get(timeout=SECONDS) is write
    finally:
        writer.close()
    assert numbers(dynamodb, [good, bad._replace(name=FENCE)]) == {
        good: 6,
        bad._replace(name=FENCE): 5,
    }
    assert set(write.rejected) == set(alone.sums)
    assert stored(dynamodb, refs(table, ["alone"], FENCE)) == {
        CounterRef(table, "alone", None, FENCE): None
    }


@pytest.mark.parametrize("fence", [None, FENCE])
def test_a_new_item_takes_one_statement_where_most_are_new(
    dynamodb: "DynamoDBClient", make_table: MakeTable, fence: str | None
) -> None:
    table = make_table(dynamodb)
    counters = Counters(dynamodb, {table: describe(dynamodb, table)})
    steps: Counter[Step] = Counter()

    def execute(step: Step, batch: Sequence[Change]) -> list[Answer]:
        steps[step] += len(batch)
        return counters.execute(step, batch)

    settled: queue.Queue[WindowWrite] = queue.Queue()
    writer = Writer(execute, max_requests=1)
    seen: list[dict[Step, int]] = []
    events = [(number, f"k{number}", "count", 1) for number in range(600)]
    again = [(600 + number, f"k{number}", "count", 1) for number in range(300)]
    try:
        for part in (events[:300], events[300:], again):
            steps.clear()
            writer.submit(window(table, *part), settled.put, fence)
            settled.get(timeout=SECONDS)
            seen.append(dict(steps))
    finally:
        writer.close()
    assert seen[0] == {Step.UPDATE: 75, Step.INSERT: 300}
    assert seen[1] == {Step.INSERT: 300}
    assert seen[2] == {Step.INSERT: 75, Step.UPDATE: 300}
    whole = window(table, *events, *again).sums
    assert numbers(dynamodb, whole) == whole


def test_what_the_fenced_steps_answer(dynamodb: "DynamoDBClient", make_table: MakeTable) -> None:
    table = make_table(dynamodb)
    counters = Counters(dynamodb, {table: describe(dynamodb, table)})
    put(dynamodb, table, "none", count={"N": "1"})
    put(dynamodb, table, "low", count={"N": "1"}, **{FENCE: {"N": "9"}})
    put(dynamodb, table, "in", count={"N": "1"}, **{FENCE: {"N": "14"}})
    put(dynamodb, table, "bare", **{FENCE: {"N": "9"}})
    put(dynamodb, table, "text", count={"S": "x"}, **{FENCE: {"N": "9"}})
    put(dynamodb, table, "odd", count={"N": "1"}, **{FENCE: {"S": "x"}})
    fence = Fence(FENCE, 10, 19)

    def ask(step: Step, *keys: str) -> list[Answer]:
        changes = [Change(table, key, None, {"count": 1}, fence) for key in keys]
        if step.alone:
            return [answer for change in changes for answer in counters.execute(step, [change])]
        return counters.execute(step, changes)

    assert ask(Step.UPDATE, "none", "in", "bare", "missing") == [
        TryStep(Step.ADD_FENCE),
        Fenced(14),
        TryStep(Step.UPDATE_ITEM),
        TryStep(Step.INSERT),
    ]
    assert ask(Step.ADD_FENCE, "low", "in", "missing") == [
        TryStep(Step.UPDATE),
        Fenced(14),
        TryStep(Step.INSERT),
    ]
    assert ask(Step.INSERT, "low", "new") == [TryStep(Step.UPDATE), Applied()]
    assert ask(Step.UPDATE_ITEM, "in", "new") == [Fenced(14), Fenced(19)]
    assert all(isinstance(found, Rejected) for found in ask(Step.UPDATE, "odd"))
    assert all(isinstance(found, Rejected) for found in ask(Step.UPDATE_ITEM, "odd", "text"))
    partly, fenced = ask(Step.INSPECT, "text", "in")
    assert (type(partly), fenced) == (PartiallyRejected, Fenced(14))
    assert ask(Step.ADD_FENCE, "none") == [Applied()]
    assert ask(Step.UPDATE, "low") == [Applied()]
    assert numbers(dynamodb, refs(table, ["none", "low", "in", "new"])) == {
        CounterRef(table, key, None, "count"): n
        for key, n in {"none": 2, "low": 2, "in": 1, "new": 1}.items()
    }


def test_a_sum_of_too_many_digits_is_found_among_its_neighbours(make_table: MakeTable) -> None:
    client = cast("Any", FakeDynamoDB())
    table = make_table(client)
    put(client, table, "a", full={"N": "9" * 38}, good={"N": "1"})
    events = window(table, (1, "a", "full", 2), (2, "a", "good", 1))
    (write,) = add(client, events, fence=FENCE)
    assert [ref.name for ref in write.rejected] == ["full"]
    good = CounterRef(table, "a", None, "good")
    assert numbers(client, [good]) == {good: 2}


def test_windows_that_make_the_same_items_at_once_all_count(
    dynamodb: "DynamoDBClient", make_table: MakeTable
) -> None:
    table = make_table(dynamodb)
    counters = refs(table, (f"k{i}" for i in range(30)))
    writes = add(dynamodb, *[dict.fromkeys(counters, 10**i) for i in range(6)])
    assert all(write.rejected == {} for write in writes)
    assert numbers(dynamodb, counters) == dict.fromkeys(counters, 111_111)


def test_two_tables_in_a_window(dynamodb: "DynamoDBClient", make_table: MakeTable) -> None:
    tables = [make_table(dynamodb), make_table(dynamodb)]
    window = {ref: i for i, ref in enumerate(r for t in tables for r in refs(t, ["a", "b"]))}
    add(dynamodb, window)
    assert numbers(dynamodb, window) == window


@pytest.mark.parametrize("first", [Step.UPDATE, Step.UPDATE_ITEM])
def test_keys_that_are_numbers(
    dynamodb: "DynamoDBClient", make_table: MakeTable, first: Step
) -> None:
    table = make_table(dynamodb, "N", "N")
    texts = [
        "0",
        "-1.5",
        "7",
        "9" * 38,
        "-" + "9" * 38,
        "0." + "9" * 38,
        "1e125",
        "1e-130",
        "1e-39",
    ]
    plain = [key_value(text, "N") for text in texts]
    window = {CounterRef(table, n, plain[-1 - i], "count"): i + 1 for i, n in enumerate(plain)}
    add(dynamodb, window, first=first)
    add(dynamodb, window, first=first)
    assert numbers(dynamodb, window) == {ref: 2 * n for ref, n in window.items()}


@pytest.mark.parametrize("first", [Step.UPDATE, Step.UPDATE_ITEM])
def test_range_keys_tell_items_of_one_hash_key_apart(
    dynamodb: "DynamoDBClient", make_table: MakeTable, first: Step
) -> None:
    table = make_table(dynamodb, "S", "S")
    window = {CounterRef(table, "k", f"r{i}", "count"): i for i in range(30)}
    add(dynamodb, window, first=first)
    add(dynamodb, window, first=first)
    assert numbers(dynamodb, window) == {ref: 2 * n for ref, n in window.items()}


def test_keys_may_hold_any_text(dynamodb: "DynamoDBClient", make_table: MakeTable) -> None:
    table = make_table(dynamodb, "S", "S")
    texts = [
        "'",
        '"',
        "?",
        "k' OR '1'='1",
        "a\nb",
        "\x00",
        "žluťoučký",
        "\N{SNOWMAN}",
        "\U0001f600",
    ]
    window = {CounterRef(table, text, text, "count"): 1 for text in texts}
    window[CounterRef(table, "é" * 1024, "é" * 512, "count")] = 1  # the longest keys
    add(dynamodb, window)
    add(dynamodb, window)
    assert numbers(dynamodb, window) == dict.fromkeys(window, 2)


def test_sums_beyond_int64_are_added_exactly(
    dynamodb: "DynamoDBClient", make_table: MakeTable
) -> None:
    table = make_table(dynamodb)
    (ref,) = refs(table, ["k"])
    big = 2**63 * 10**8 - 1  # ministack adds with 28 digits, DynamoDB with 38
    add(dynamodb, {ref: big})
    add(dynamodb, {ref: -(10**26)})
    assert numbers(dynamodb, [ref]) == {ref: big - 10**26}


def test_a_sum_of_zero_makes_the_counter(dynamodb: "DynamoDBClient", make_table: MakeTable) -> None:
    (ref,) = refs(make_table(dynamodb), ["k"])
    add(dynamodb, {ref: 0})
    assert numbers(dynamodb, [ref]) == {ref: 0}


def test_a_missing_table_is_refused_by_its_name(
    dynamodb: "DynamoDBClient", make_table: MakeTable
) -> None:
    there, gone = make_table(dynamodb), unique("gone")
    counters = Counters(dynamodb, {there: KeySchema("pk"), gone: KeySchema("pk")})
    for step in Step:
        (answer,) = counters.execute(step, [Change(gone, "k", None, {"count": 1})])
        assert isinstance(answer, Refused)
        assert answer.cause.startswith("ResourceNotFound")


def test_each_step_answers_for_each_of_its_changes(
    dynamodb: "DynamoDBClient", make_table: MakeTable
) -> None:
    table = make_table(dynamodb)
    counters = Counters(dynamodb, {table: describe(dynamodb, table)})
    put(dynamodb, table, "there", count={"N": "1"})
    put(dynamodb, table, "bare")
    put(dynamodb, table, "text", count={"S": "text"})
    batch = [Change(table, k, None, {"count": 1}) for k in ("there", "missing", "bare", "text")]
    assert counters.execute(Step.UPDATE, batch) == [
        Applied(),
        TryStep(Step.INSERT),
        TryStep(Step.UPDATE_ITEM),
        TryStep(Step.UPDATE_ITEM),
    ]
    assert counters.execute(Step.INSERT, batch[:2]) == [TryStep(Step.UPDATE), Applied()]
    assert counters.execute(Step.UPDATE_ITEM, batch[2:3]) == [Applied()]
    (answer,) = counters.execute(Step.UPDATE_ITEM, batch[3:])
    assert isinstance(answer, Rejected)


@pytest.mark.parametrize("write_mode", ["batch", "single"])
@pytest.mark.parametrize(("hash_type", "range_type"), [("S", None), ("N", None), ("S", "N")])
def test_the_check_of_access_changes_nothing(
    dynamodb: "DynamoDBClient",
    make_table: MakeTable,
    hash_type: Any,
    range_type: Any,
    write_mode: str,
) -> None:
    table = make_table(dynamodb, hash_type, range_type)
    keys = describe(dynamodb, table)
    Counters(dynamodb, {table: keys}).check_access(table, write_mode)
    for key in ("dynatomic-access-check", "0"):
        item = key_attributes(keys, key, "0") if hash_type == "S" or key == "0" else None
        assert item is None or "Item" not in dynamodb.get_item(TableName=table, Key=item)


@pytest.mark.parametrize("write_mode", ["batch", "single"])
def test_the_check_of_access_finds_a_missing_table(
    dynamodb: "DynamoDBClient", write_mode: str
) -> None:
    gone = unique("gone")
    with pytest.raises(ConfigError, match=gone):
        Counters(dynamodb, {gone: KeySchema("pk")}).check_access(gone, write_mode)


@pytest.mark.parametrize(
    ("hash_type", "range_type", "expected"),
    [
        ("S", None, KeySchema("pk", "S")),
        ("N", None, KeySchema("pk", "N")),
        ("S", "N", KeySchema("pk", "S", "rk", "N")),
        ("N", "S", KeySchema("pk", "N", "rk", "S")),
    ],
)
def test_describe_finds_names_and_types(
    dynamodb: "DynamoDBClient",
    make_table: MakeTable,
    hash_type: Any,
    range_type: Any,
    expected: KeySchema,
) -> None:
    assert describe(dynamodb, make_table(dynamodb, hash_type, range_type)) == expected


def test_describe_names_the_missing_table_by_arn_and_the_way_out(
    dynamodb: "DynamoDBClient",
) -> None:
    gone = unique("gone")
    with pytest.raises(ConfigError) as caught:
        describe(dynamodb, gone)
    assert f"arn:aws:dynamodb:us-east-1:*:table/{gone}" in str(caught.value)
    assert "init --create-tables" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_describe_refuses_keys_of_bytes(dynamodb: "DynamoDBClient") -> None:
    table = unique("bytes")
    dynamodb.create_table(
        TableName=table,
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "B"}],
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
    )
    try:
        with pytest.raises(ConfigError, match="type B"):
            describe(dynamodb, table)
    finally:
        dynamodb.delete_table(TableName=table)


@pytest.mark.parametrize("range_key", [False, True])
def test_create_table_makes_it_once(dynamodb: "DynamoDBClient", range_key: Any) -> None:
    table = unique("made")
    try:
        assert create_table(dynamodb, table, range_key=range_key) is True
        expected = KeySchema("pk", "S", "rk", "S") if range_key else KeySchema("pk", "S")
        assert describe(dynamodb, table) == expected
        assert create_table(dynamodb, table, range_key=range_key) is False
    finally:
        dynamodb.delete_table(TableName=table)


def test_increment_returns_the_new_value(dynamodb: "DynamoDBClient", make_table: MakeTable) -> None:
    table = make_table(dynamodb)
    assert increment(table, "k", client=dynamodb) == 1
    assert increment(table, "k", by=41, client=dynamodb) == 42
    assert increment(table, "k", by=-50, client=dynamodb) == -8
    assert increment(table, "k", by=0, client=dynamodb) == -8
    assert increment(table, "k", counter="hits", by=7, client=dynamodb) == 7
    assert increment(table, "other", by=2**63 - 1, client=dynamodb) == 2**63 - 1
    assert increment(table, "other", by=2**63 - 1, client=dynamodb) == 2**64 - 2
    assert numbers(dynamodb, refs(table, ["k"])) == {CounterRef(table, "k", None, "count"): -8}


def test_increment_with_range_and_number_keys(
    dynamodb: "DynamoDBClient", make_table: MakeTable
) -> None:
    table = make_table(dynamodb, "S", "N")
    assert increment(table, "k", "1", client=dynamodb) == 1
    assert increment(table, "k", "1.0", client=dynamodb) == 2
    assert increment(table, "k", "2", client=dynamodb) == 1


@pytest.mark.parametrize(
    ("range_type", "arguments", "reason"),
    [
        (None, {"range": "r"}, Reason.RANGE_UNEXPECTED),
        ("S", {}, Reason.RANGE_MISSING),
        ("N", {"range": "seven"}, Reason.KEY_NOT_A_NUMBER),
        (None, {"key": ""}, Reason.KEY_EMPTY),
        (None, {"counter": "a b"}, Reason.COUNTER_NAME),
        (None, {"by": 2**63}, Reason.INCR_OUT_OF_BOUNDS),
        (None, {"by": 1.5}, Reason.UNDECODABLE),
    ],
)
def test_increment_refuses_a_bad_row(
    dynamodb: "DynamoDBClient",
    make_table: MakeTable,
    range_type: Any,
    arguments: dict[str, Any],
    reason: Reason,
) -> None:
    table = make_table(dynamodb, "S", range_type)
    with pytest.raises(RowError) as caught:
        increment(**{"table": table, "key": "k", **arguments}, client=dynamodb)
    assert caught.value.reason == reason


@pytest.mark.parametrize("counter", ["text", "pk"])
def test_increment_of_what_is_no_number_was_surely_not_applied(
    dynamodb: "DynamoDBClient", make_table: MakeTable, counter: str
) -> None:
    table = make_table(dynamodb)
    put(dynamodb, table, "k", text={"S": "text"})
    with pytest.raises(IncrementError, match=counter) as caught:
        increment(table, "k", counter=counter, client=dynamodb)
    assert caught.value.applied is False
    (ref,) = refs(table, ["k"], "text")
    assert stored(dynamodb, [ref]) == {ref: {"S": "text"}}


def test_increment_in_a_missing_table_is_a_configuration_error(dynamodb: "DynamoDBClient") -> None:
    gone = unique("gone")
    with pytest.raises(ConfigError, match=f"arn:aws:dynamodb:.*table/{gone}"):
        increment(gone, "k", client=dynamodb)


@pytest.fixture(params=["embedded", "real"])
def endpoint_url(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    name = "embedded" if request.param == "embedded" else "dynamodb_real"
    url: str = request.getfixturevalue(name).endpoint_url
    for variable, value in environment("", url).items():
        if variable.startswith("AWS_"):
            monkeypatch.setenv(variable, value)
    return url


LATIN = Raw(body="<html>Přihlášení</html>".encode("iso-8859-2"), content_type="text/html")
# What answers instead of DynamoDB, and what its client makes of it.
STRANGE_BODIES = [b"[]", b"null", b"5", b'"text"', b"{}", b'{"Responses": 5}', b'{"__type": 5}']
NOT_APPLIED: dict[str, Fault] = {
    "request lost": DropRequest(),
    "throttled": throttle(),
    "internal error": server_error(),
    "error page": Raw(502, b"<html>Bad Gateway</html>", "text/html"),
    "page with status 200": html(),
    "empty body": Raw(),
}
STRANGE: dict[str, Fault] = {
    "request limit": Error("RequestLimitExceeded"),
    "unavailable": Error("ServiceUnavailable", status=503),
    "page in another encoding": LATIN,
    "too few answers": Raw(body=b'{"Responses": [{}]}'),
    "a null for each": Raw(body=b'{"Responses": [' + b",".join([b"null"] * 25) + b"]}"),
    "a number for each": Raw(body=b'{"Responses": [' + b",".join([b"5"] * 25) + b"]}"),
    **{f"body {body.decode()}": Raw(body=body) for body in STRANGE_BODIES},
    **{f"500 {body.decode()}": Raw(500, body) for body in STRANGE_BODIES},
}
APPLIED: dict[str, Fault] = {
    "response lost": DropResponse(),
    "internal error all the same": server_error(applied=True),
    "empty body all the same": Raw(applied=True),
    "page all the same": Raw(body=b"<html></html>", applied=True),
    "wrong checksum": WrongChecksum(),
}
FAULTS = NOT_APPLIED | STRANGE | APPLIED


@pytest.mark.parametrize("operation", ["UpdateItem", "BatchExecuteStatement"])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_one_request_and_one_answer_to_try_again(
    endpoint_url: str, make_table: MakeTable, fault: str, operation: str
) -> None:
    """Neither botocore nor `execute` retries, and nothing that comes back makes it raise."""
    table = make_table(plain_client(endpoint_url))
    step = Step.UPDATE_ITEM if operation == "UpdateItem" else Step.UPDATE
    with FaultyProxy(endpoint_url, [FAULTS[fault]]) as proxy:
        counters = Counters(make_client(proxy.endpoint_url), {table: KeySchema("pk")})
        (answer,) = counters.execute(step, [Change(table, "k", None, {"count": 1})])
        assert isinstance(answer, Retry)
        assert proxy.counts == {operation: 1}


def _window_through(
    endpoint_url: str, table: str, faults: Iterable[Fault | None]
) -> tuple[dict[str, int], FaultyProxy]:
    """Add 1 to 25 to counters that are there, through faults; return their values."""
    direct = plain_client(endpoint_url)
    counters = refs(table, (f"k{i}" for i in range(25)))
    for ref in counters:
        put(direct, table, ref.key, count={"N": "0"})
    script = [None, *faults]  # the first request is DescribeTable
    with FaultyProxy(endpoint_url, script) as proxy:
        client = make_client(proxy.endpoint_url)
        (write,) = add(client, {ref: i + 1 for i, ref in enumerate(counters)})
    assert write.rejected == {}
    return {ref.key: n for ref, n in numbers(direct, counters).items()}, proxy


@pytest.mark.parametrize("fault", NOT_APPLIED)
def test_what_was_not_applied_is_counted_once(
    endpoint_url: str, make_table: MakeTable, fault: str
) -> None:
    table = make_table(plain_client(endpoint_url))
    values, proxy = _window_through(endpoint_url, table, [NOT_APPLIED[fault]] * 3)
    assert values == {f"k{i}": i + 1 for i in range(25)}
    assert proxy.counts["BatchExecuteStatement"] == 4


@pytest.mark.parametrize("fault", APPLIED)
def test_what_may_have_been_applied_is_never_missing(
    endpoint_url: str, make_table: MakeTable, fault: str
) -> None:
    table = make_table(plain_client(endpoint_url))
    values, proxy = _window_through(endpoint_url, table, [APPLIED[fault]])
    assert values == {f"k{i}": 2 * (i + 1) for i in range(25)}
    assert proxy.counts["BatchExecuteStatement"] == 2


@pytest.mark.parametrize("code", ["ThrottlingError", "ProvisionedThroughputExceeded"])
def test_one_throttled_statement_is_sent_again_alone(
    endpoint_url: str, make_table: MakeTable, code: str
) -> None:
    table = make_table(plain_client(endpoint_url))
    values, proxy = _window_through(endpoint_url, table, [FailStatements({7: code})])
    assert values == {f"k{i}": i + 1 for i in range(25)}
    assert [len(request.statements) for request in proxy.requests] == [0, 25, 1]


def test_one_statement_of_unknown_outcome_doubles_only_itself(
    endpoint_url: str, make_table: MakeTable
) -> None:
    table = make_table(plain_client(endpoint_url))
    fault = FailStatements({7: "InternalServerError"}, applied=True)
    values, _ = _window_through(endpoint_url, table, [fault])
    assert values == {f"k{i}": (i + 1) * (2 if i == 7 else 1) for i in range(25)}


def test_a_lost_answer_to_an_insert_goes_on_as_an_update(
    endpoint_url: str, make_table: MakeTable
) -> None:
    direct = plain_client(endpoint_url)
    (ref,) = refs(make_table(direct), ["k"])
    with FaultyProxy(endpoint_url, [None, None, DropResponse()]) as proxy:
        add(make_client(proxy.endpoint_url), {ref: 5})
        texts = [r.statements[0]["Statement"].split()[0] for r in proxy.requests[1:]]
    assert texts == ["UPDATE", "INSERT", "INSERT", "UPDATE"]
    assert numbers(direct, [ref]) == {ref: 10}


def test_a_lost_request_to_insert_is_counted_once(endpoint_url: str, make_table: MakeTable) -> None:
    direct = plain_client(endpoint_url)
    (ref,) = refs(make_table(direct), ["k"])
    with FaultyProxy(endpoint_url, [None, None, DropRequest()]) as proxy:
        add(make_client(proxy.endpoint_url), {ref: 5})
    assert numbers(direct, [ref]) == {ref: 5}


def test_an_answer_that_takes_too_long_is_tried_again_once(
    endpoint_url: str, make_table: MakeTable
) -> None:
    table = make_table(plain_client(endpoint_url))
    held = Hold(after=True)
    with FaultyProxy(endpoint_url, [held]) as proxy:
        client = make_client(proxy.endpoint_url, read_timeout_s=0.2)
        counters = Counters(client, {table: KeySchema("pk")})
        (answer,) = counters.execute(Step.UPDATE_ITEM, [Change(table, "k", None, {"count": 1})])
        assert answer == Retry("ReadTimeoutError")
        held.release()
        assert proxy.counts == {"UpdateItem": 1}


def test_an_endpoint_that_is_away_is_tried_again(endpoint_url: str, make_table: MakeTable) -> None:
    table = make_table(plain_client(endpoint_url))
    with FaultyProxy(endpoint_url) as proxy:
        counters = Counters(make_client(proxy.endpoint_url), {table: KeySchema("pk")})
        proxy.refuse()
        batch = [Change(table, "k", None, {"count": 1})]
        assert counters.execute(Step.UPDATE, batch) == [Retry("EndpointConnectionError")]
        proxy.accept()
        assert counters.execute(Step.UPDATE_ITEM, batch) == [Applied()]


@pytest.mark.parametrize("step", [Step.UPDATE, Step.UPDATE_ITEM])
def test_denied_access_is_refused_with_action_and_arn(
    endpoint_url: str, make_table: MakeTable, step: Step
) -> None:
    table = make_table(plain_client(endpoint_url))
    with FaultyProxy(endpoint_url, [access_denied()]) as proxy:
        counters = Counters(make_client(proxy.endpoint_url), {table: KeySchema("pk")})
        (answer,) = counters.execute(step, [Change(table, "k", None, {"count": 1})])
    assert isinstance(answer, Refused)
    assert answer.cause.startswith("AccessDenied")
    assert "dynamodb:PartiQLUpdate" in answer.cause
    assert "arn:aws:dynamodb:us-east-1:000000000000:table/t" in answer.cause


def test_a_single_statement_that_is_denied_refuses_only_its_item(
    endpoint_url: str, make_table: MakeTable
) -> None:
    table = make_table(plain_client(endpoint_url))
    values, proxy = _window_through(endpoint_url, table, [FailStatements({3: "AccessDenied"})])
    assert values == {f"k{i}": i + 1 for i in range(25)}
    assert [len(request.statements) for request in proxy.requests] == [0, 25, 1]


@pytest.mark.parametrize("write_mode", ["batch", "single"])
@pytest.mark.parametrize(
    ("fault", "error", "says"),
    [
        (
            access_denied(),
            ConfigError,
            "allow dynamodb:PartiQLUpdate on arn:aws:dynamodb:us-east-1",
        ),
        (Error("UnrecognizedClientException"), ConfigError, "UnrecognizedClient"),
        (throttle(), UnavailableError, "cannot be written yet"),
        (server_error(), UnavailableError, "cannot be written yet"),
        (DropRequest(), UnavailableError, "cannot be written yet"),
        (html(), UnavailableError, "cannot be written yet"),
    ],
)
def test_the_check_of_access_tells_what_to_mend_from_what_to_wait_for(
    endpoint_url: str,
    make_table: MakeTable,
    fault: Fault,
    error: type[Exception],
    says: str,
    write_mode: str,
) -> None:
    table = make_table(plain_client(endpoint_url))
    with FaultyProxy(endpoint_url, [fault]) as proxy:
        counters = Counters(make_client(proxy.endpoint_url), {table: KeySchema("pk")})
        with pytest.raises(error, match=says) as caught:
            counters.check_access(table, write_mode)
        assert "\n" not in str(caught.value)
        assert len(proxy.requests) == 1


@pytest.mark.parametrize("write_mode", ["batch", "single"])
def test_the_check_of_access_asks_for_update_item_too(
    endpoint_url: str, make_table: MakeTable, write_mode: str
) -> None:
    def deny(request: Request) -> Fault | None:
        return Error("AccessDeniedException") if request.operation == "UpdateItem" else None

    table = make_table(plain_client(endpoint_url))
    with FaultyProxy(endpoint_url, deny) as proxy:
        counters = Counters(make_client(proxy.endpoint_url), {table: KeySchema("pk")})
        with pytest.raises(ConfigError, match="allow dynamodb:UpdateItem on arn:aws:dynamodb:"):
            counters.check_access(table, write_mode)


@pytest.mark.parametrize(
    ("fault", "error", "says"),
    [
        (
            Error(
                "AccessDeniedException",
                message="User: arn:aws:iam::1:user/secret is not authorized to perform: "
                "dynamodb:DescribeTable on resource: arn:aws:dynamodb:us-east-1:1:table/tab as",
            ),
            ConfigError,
            "allow dynamodb:DescribeTable on arn:aws:dynamodb:us-east-1:1:table/tab, as",
        ),
        (Error("AccessDeniedException"), ConfigError, "allow dynamodb:DescribeTable on arn:aws:.*"),
        (Error("ExpiredTokenException"), ConfigError, "ExpiredToken"),
        (Error("ThrottlingException"), UnavailableError, "ThrottlingException"),
        *[
            (fault, UnavailableError, "does not answer")
            for fault in (
                *[server_error(), DropRequest(), DropResponse(), html(), LATIN, Raw()],
                *[Raw(body=body) for body in STRANGE_BODIES],
                *[Raw(503, b"<html></html>"), WrongChecksum()],
            )
        ],
    ],
)
def test_describe_tells_what_to_mend_from_what_to_wait_for(
    endpoint_url: str, make_table: MakeTable, fault: Fault, error: type[Exception], says: str
) -> None:
    table = make_table(plain_client(endpoint_url))
    with FaultyProxy(endpoint_url, [fault]) as proxy:
        with pytest.raises(error, match=says) as caught:
            describe(make_client(proxy.endpoint_url), table)
        assert "secret" not in str(caught.value)
        assert "\n" not in str(caught.value)
        assert proxy.counts == {"DescribeTable": 1}


@pytest.mark.parametrize(
    ("fault", "applied", "says"),
    [
        (throttle(), False, "nothing was counted"),
        (access_denied(), False, "allow dynamodb:PartiQLUpdate on arn:aws:dynamodb"),
        *[
            (fault, None, "may or may not")
            for name, fault in FAULTS.items()
            if name not in {"throttled", "request limit"} and not name.startswith("500 ")
        ],
    ],
)
def test_increment_says_whether_it_was_surely_not_applied(
    endpoint_url: str, make_table: MakeTable, fault: Fault, applied: Any, says: str
) -> None:
    table = make_table(plain_client(endpoint_url))
    with FaultyProxy(endpoint_url, [None, fault]) as proxy:
        with pytest.raises(IncrementError, match=says) as caught:
            increment(table, "k", client=make_client(proxy.endpoint_url))
        assert caught.value.applied is applied
        assert "\n" not in str(caught.value)
        assert proxy.counts == {"DescribeTable": 1, "UpdateItem": 1}


def test_increment_that_could_not_connect_was_surely_not_applied(
    endpoint_url: str, make_table: MakeTable
) -> None:
    table = make_table(plain_client(endpoint_url))
    with FaultyProxy(endpoint_url) as proxy:
        client = make_client(proxy.endpoint_url)
        assert increment(table, "k", client=client) == 1
        proxy.refuse()
        with pytest.raises(IncrementError, match="nothing was counted") as caught:
            increment(table, "k", client=client)
        assert caught.value.applied is False
        proxy.accept()
        assert increment(table, "k", client=client) == 2


def test_create_table_tells_what_to_mend_from_what_to_wait_for(endpoint_url: str) -> None:
    table = unique("made")
    with FaultyProxy(endpoint_url, [Error("AccessDeniedException"), server_error()]) as proxy:
        client = make_client(proxy.endpoint_url)
        with pytest.raises(ConfigError, match="allow dynamodb:CreateTable on arn:aws:dynamodb"):
            create_table(client, table)
        with pytest.raises(UnavailableError):
            create_table(client, table)
        assert proxy.counts == {"CreateTable": 2}
