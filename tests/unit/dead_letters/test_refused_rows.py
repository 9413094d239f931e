"""Events of counters that DynamoDB refused: read again and stored as dead letters."""

from collections.abc import Iterable
from typing import Any, cast

import pytest

from dynatomic.dead_letters.letter import HEADERS
from dynatomic.errors import UnavailableError
from dynatomic.events.row import Row
from dynatomic.events.schema import encode
from dynatomic.worker.rereading import Reread
from tests.support.clients import GROUP, LETTERS, TOPIC, headers_of
from tests.support.harness import World, world
from tests.support.log_records import logged

TRACE = [("trace", b"\x00\xff"), ("trace", b"again"), ("none", None)]


def refused_row(w: World) -> bytes:
    """Emit a row, with a key and headers, whose counter turns out to be a string."""
    w.spoil("odd")
    payload = encode(Row("hits", "odd", incr=5))
    w.put(payload, key=b"its key", headers=list(TRACE), row=Row("hits", "odd", incr=5))
    return payload


@pytest.mark.parametrize("mode", ["batch", "single"])
def test_a_refused_row_is_stored_as_it_was_with_the_reason(mode: str) -> None:
    with world() as w:
        w.worker(write_mode=mode)
        w.emit("a")
        payload = refused_row(w)
        w.emit("a", "b")
        w.window()
        w.turn(2)
        assert w.counts() == {"a": 2, "b": 1}
        assert w.committed() == 4
        (found,) = w.broker.messages(LETTERS)
        assert found.value() == payload
        assert found.key() == b"its key"
        assert cast("list[Any]", found.headers())[: len(TRACE)] == TRACE
        assert headers_of(found) | {"trace": "", "none": ""} == {
            "dynatomic.timestamp": str(w.broker.messages(TOPIC)[1].timestamp()[1])
        } | dict(
            zip(
                HEADERS,
                (
                    TOPIC,
                    "0",
                    "1",
                    "counter-not-a-number",
                    "the attribute of the counter is not a number",
                    GROUP,
                ),
                strict=True,
            )
        ) | {"trace": "", "none": ""}


def test_every_event_of_a_refused_counter_becomes_a_letter_and_no_other_does() -> None:
    with world() as w:
        w.spoil("odd")
        w.worker()
        w.emit("odd", "a", "odd", "b", "odd")
        w.window()
        w.turn(2)
        assert sorted(w.letters()) == [(0, 0), (0, 2), (0, 4)]
        assert len(w.broker.messages(LETTERS)) == 3
        assert w.counts() == {"a": 1, "b": 1}
        assert w.committed() == 5


def test_refused_events_of_many_bytes_are_read_again_and_stored_in_slices() -> None:
    with world() as w:
        w.spoil("odd")
        w.reread_bytes = 2_000  # two messages with such a header
        slices: list[int] = []

        def reread(number: int, wanted: Iterable[int]) -> Reread:
            found = w.read_again(member.consumer._conf, number, wanted)
            slices.append(len(found.messages))
            return found

        member = w.worker(reread=reread)
        payload = encode(Row("hits", "odd"))
        for _ in range(9):
            w.put(payload, headers=[("large", bytes(1_000))], row=Row("hits", "odd"))
        w.window()
        w.until(w.all_committed, step_s=1)
        assert slices == [2, 2, 2, 2, 1]
        assert sorted(w.letters()) == [(0, offset) for offset in range(9)]
        assert len(w.broker.messages(LETTERS)) == 9


def test_a_refused_counter_takes_no_other_counter_of_its_item_with_it() -> None:
    with world() as w:
        w.spoil("odd")
        w.worker()
        for name in ("count", "other"):
            w.broker.append(
                TOPIC, 0, None, encode(Row("hits", "odd", range=None, counter=name, incr=3)), []
            )
        w.window()
        w.turn(2)
        (item,) = w.dynamodb.items("hits")
        assert item["other"] == {"N": "3"}
        assert item["count"] == {"S": "many"}
        assert [headers_of(m)["dynatomic.offset"] for m in w.broker.messages(LETTERS)] == ["0"]
        assert w.committed() == 2


def test_an_item_without_the_counter_is_counted_not_refused() -> None:
    with world() as w:
        w.dynamodb.put_item(TableName="hits", Item={"pk": {"S": "a"}, "name": {"S": "x"}})
        w.worker()
        w.emit("a", "a", "b")
        w.window()
        assert w.counts() == {"a": 2, "b": 1}
        assert w.letters() == {}
        assert w.committed() == 3


def test_nothing_is_committed_while_refused_rows_cannot_be_read_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with world(2) as w:
        down = True

        def reread(number: int, wanted: Iterable[int]) -> Reread:
            if down:
                raise UnavailableError("no broker answers")
            return w.read_again(member.consumer._conf, number, wanted)

        member = w.worker(reread=reread)
        payload = refused_row(w)
        for _ in range(5):
            w.emit("b", partition=1)
            w.window()
        assert (w.committed(0), w.committed(1)) == (None, 5)
        assert w.letters() == {}
        down = False
        w.until(w.all_committed, step_s=1)
        (found,) = w.broker.messages(LETTERS)
        assert found.value() == payload
        causes = [f["cause"] for f in logged(caplog, "refused events not read yet")]
        assert set(causes) == {"no broker answers"}
        assert w.counts() == {"b": 5}


def test_a_defect_in_reading_again_ends_the_loop() -> None:
    def reread(_number: int, _wanted: Iterable[int]) -> Reread:
        raise LookupError("a defect")

    with world() as w:
        w.worker(reread=reread)
        refused_row(w)
        with pytest.raises(LookupError, match="a defect"):
            w.window()
        assert w.committed() is None


def test_a_refused_row_that_the_topic_no_longer_has_is_written_anew() -> None:
    with world() as w:
        w.spoil("odd")
        w.worker()
        w.emit("odd", incr=5)
        w.gate.close("hits")
        w.window()
        w.emit("a")
        w.broker.delete_before(TOPIC, 0, 1)
        w.gate.open()
        w.window()
        w.turn(2)
        (found,) = w.broker.messages(LETTERS)
        assert found.value() == encode(Row("hits", "odd", range=None, counter="count", incr=5))
        assert found.key() is None
        assert "the topic lost the message" in headers_of(found)["dynatomic.detail"]
        assert w.committed() == 2


def test_a_lost_partition_stores_no_refused_rows() -> None:
    with world() as w:
        first = w.worker()
        refused_row(w)
        w.gate.close("hits")
        w.window()
        first.expire()
        first.turn()  # on_lost is called
        w.gate.open()
        first.quiet()
        first.alive = False
        assert w.letters() == {}
