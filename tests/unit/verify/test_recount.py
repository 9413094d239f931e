"""What the events of a topic add to each counter."""

from collections import Counter
from collections.abc import Iterator
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dynatomic.dynamodb.tables import describe
from dynatomic.events.decoder import Decoder
from dynatomic.kafka.event_reader import RowReader
from dynatomic.verify.recount import Recount, Span
from tests.support.verify_world import TOPIC, World

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
    recount = Recount(RowReader(Decoder({"hits": describe(client, "hits")})))
    runs = []
    for number, log in enumerate(w.broker.logs[TOPIC]):
        runs += [(number, log.messages[i : i + split]) for i in range(0, log.high, split)]
    spans = {
        n: Span(0, min(cuts[n], log.high), log.high) for n, log in enumerate(w.broker.logs[TOPIC])
    }
    recount.scan(cast("Any", runs), spans)
    totals: Counter[tuple[str, str]] = Counter()
    for _, name, items in recount.partition_sums("hits"):
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
    recount = Recount(RowReader(Decoder({"hits": describe(client, "hits")})))

    def runs() -> Iterator[tuple[int, list[Any]]]:
        for message in w.broker.messages(TOPIC):
            assert recount._buffered_bytes < 200
            yield 0, [message]

    recount.scan(runs(), {0: Span(0, 30, 30)})
    assert next(iter(recount.partition_sums("hits")))[2] == {"a" * 50: 30}
