"""Events of a counters file through the worker: several items of each, all or nothing."""

import json
from typing import Any

import pytest

from dynatomic.dead_letters.sender import replay_headers
from dynatomic.dead_letters.topic import stored_letter
from dynatomic.errors import ConfigError, UnavailableError
from dynatomic.events.decoded import Decoded
from tests.support.clients import GROUP, LETTERS, TOPIC, headers_of
from tests.support.declared import FILE, DeclaredWorld, declared

DAY = "day#1970-01-01"
GUARANTEES = ["at-least-once", "exactly-once"]
EVENT = {"tenant": "c-7", "size": 10, "kind": "web"}


@pytest.mark.parametrize("guarantee", GUARANTEES)
def test_an_event_adds_to_all_counters_that_take_it(guarantee: Any) -> None:
    with declared() as d:
        d.worker(processing_guarantee=guarantee)
        d.emit(EVENT, EVENT | {"route": "/x", "size": -3}, {"kind": "internal"}, None)
        d.world.window()
        assert d.values() == {
            ("usage", "c-7", DAY, "requests"): 2,
            ("usage", "c-7", DAY, "bytes"): 7,
            ("usage", "c-7", "route#/x", "requests"): 1,
            ("totals", "0", None, "requests"): 2,
        }
        assert d.world.committed() == 4
        assert d.outcomes() == {"read": 4, "counted": 2, "unmatched": 1, "tombstones": 1}


def test_counters_that_share_an_item_are_one_write() -> None:
    with declared() as d:
        d.worker(processing_guarantee="exactly-once")
        d.emit(EVENT, EVENT)
        d.world.window()
        writes = [sent for sent in d.world.sent if sent]
        assert sum(map(len, writes)) <= 4  # two items: an update that finds nothing, an insert


def test_an_event_that_one_counter_cannot_count_counts_nowhere() -> None:
    with declared() as d:
        d.worker()
        d.emit(EVENT, EVENT | {"size": "s3cret"}, EVENT | {"size": 1.5}, b"{", b"")
        d.world.window()
        d.world.turn(2)
        assert d.values()["totals", "0", None, "requests"] == 1
        letters = [headers_of(message) for message in d.world.broker.messages(LETTERS)]
        assert [(h["dynatomic.reason"], h["dynatomic.detail"]) for h in letters] == [
            ("field-type", "counter daily: size: text, not a number"),
            ("not-integral", "counter daily: size: digits are left at a scale of 0"),
            ("undecodable", "not JSON"),
            ("undecodable", "not JSON"),
        ]
        assert d.outcomes() == {"read": 5, "counted": 1, "dead_letters": 4}


def spoil_bytes(d: DeclaredWorld, **more: Any) -> None:
    """Let the table refuse the attribute ``bytes`` of an item."""
    item = {"pk": {"S": "c-7"}, "rk": {"S": DAY}, "bytes": {"S": "many"}, **more}
    d.world.dynamodb.put_item(TableName="usage", Item=item)


@pytest.mark.parametrize("guarantee", GUARANTEES)
def test_only_the_refused_counters_of_an_event_are_replayed(guarantee: Any) -> None:
    with declared() as d:
        spoil_bytes(d)
        d.worker(processing_guarantee=guarantee)
        d.emit(EVENT, EVENT | {"tenant": "other"}, EVENT | {"route": "/x"})
        d.world.window()
        d.world.turn(3)
        assert d.outcomes() == {"read": 3, "counted": 1, "dead_letters": 2}
        letters = list(map(stored_letter, d.world.broker.messages(LETTERS)))
        assert [letter and letter.letter.counters for letter in letters] == [("daily/bytes",)] * 2
        counted = {
            ("usage", "c-7", DAY, "requests"): 2,
            ("usage", "c-7", "route#/x", "requests"): 1,
            ("usage", "other", DAY, "requests"): 1,
            ("usage", "other", DAY, "bytes"): 10,
            ("totals", "0", None, "requests"): 3,
        }
        assert d.values() == counted
        d.world.dynamodb.delete_item(TableName="usage", Key={"pk": {"S": "c-7"}, "rk": {"S": DAY}})
        d.world.advance(86_400)  # the replay is a day later, and the event still belongs to its day
        for stored in letters:
            assert stored is not None
            letter = stored.letter
            d.world.broker.append(TOPIC, 0, letter.key, letter.value, replay_headers(letter))
        d.world.window()
        d.world.turn(3)
        del counted["usage", "c-7", DAY, "requests"]
        assert d.values() == counted | {("usage", "c-7", DAY, "bytes"): 20}
        assert d.world.committed() == 5


def test_counters_refused_together_have_one_letter() -> None:
    with declared() as d:
        spoil_bytes(d, requests={"S": "many"})
        d.worker()
        d.emit(EVENT)
        d.world.window()
        d.world.turn(3)
        letters = [stored_letter(message) for message in d.world.broker.messages(LETTERS)]
        names = [sorted(stored.letter.counters or ()) for stored in letters if stored]
        assert names == [["daily/bytes", "daily/requests"]]
        assert d.outcomes() == {"read": 1, "dead_letters": 1}


def test_counters_refused_one_after_the_other_have_a_letter_each() -> None:
    with declared() as d:
        spoil_bytes(d)
        d.worker(processing_guarantee="exactly-once")
        d.emit(EVENT)
        d.world.letters_held = True
        d.world.window()
        d.world.turn(3)
        spoil_bytes(d, requests={"S": "many"})
        d.world.letters_held = False
        d.world.window()
        d.world.turn(6)
        letters = [stored_letter(message) for message in d.world.broker.messages(LETTERS)]
        names = [name for stored in letters if stored for name in stored.letter.counters or ()]
        assert sorted(names) == ["daily/bytes", "daily/requests"]
        assert d.outcomes() == {"read": 1, "dead_letters": 1}
        assert d.world.committed() == 1


def test_a_refused_event_that_the_topic_no_longer_has_is_kept_as_what_it_adds() -> None:
    with declared() as d:
        spoil_bytes(d)
        d.worker()
        d.emit(EVENT)
        d.world.gate.close("usage")
        d.world.window()
        d.emit(EVENT | {"tenant": "other"})
        d.world.broker.delete_before(TOPIC, 0, 1)
        d.world.gate.open()
        d.world.window()
        d.world.turn(3)
        (message,) = d.world.broker.messages(LETTERS)
        stored = stored_letter(message)
        assert stored is not None
        assert stored.letter.whole is not None  # so that it is not replayed
        assert json.loads(stored.letter.value or b"") == [
            {"table": "usage", "key": "c-7", "range": DAY, "counter": "bytes", "incr": 10}
        ]


def test_a_bucket_expires_and_takes_no_event_after_that() -> None:
    with declared(text="[event]\ntime = 'at'\ntime_unit = 's'\n" + FILE) as d:
        d.worker(processing_guarantee="exactly-once")
        d.emit(EVENT | {"at": 1000})
        d.world.window()
        d.world.advance(3 * 86_400)
        d.emit(EVENT | {"at": 1000}, EVENT | {"at": 1000 + 86_400})
        d.world.window()
        d.world.turn(2)
        items = {item["rk"]["S"]: item for item in d.world.dynamodb.items("usage")}
        assert {day: item.get("expires_at", {}).get("N") for day, item in items.items()} == {
            "day#1970-01-01": str(3 * 86_400),
            "day#1970-01-02": str(4 * 86_400),
        }
        letters = [headers_of(letter) for letter in d.world.letters().values()]
        assert [(h["dynatomic.reason"], h["dynatomic.detail"]) for h in letters] == [
            ("time-out-of-range", "counter daily: the item has expired")
        ]


def test_a_new_counter_is_filled_by_a_rewind_and_no_other_changes() -> None:
    with declared(2) as d:
        first = d.worker(processing_guarantee="exactly-once")
        d.emit(*[EVENT] * 5)
        d.emit(*[EVENT | {"route": "/x"}] * 3, partition=1)
        d.world.window()
        assert first.worker.shut_down()
        first.alive = False
        before = d.values()
        new = """
[[counter]]
name = "tenants"
table = "totals"
key = "tenant#{tenant}"
add = { requests = 1 }
"""
        again = DeclaredWorld(d.world, FILE + new)
        group = d.world.broker.group(GROUP)
        for partition in (0, 1):
            group.offsets[TOPIC, partition] = 0
        again.worker(processing_guarantee="exactly-once", has_new_counters=True)
        again.emit(EVENT)
        d.world.window()
        d.world.turn(3)
        day = ("usage", "c-7", DAY)
        assert again.values() == before | {
            ("totals", "tenant#c-7", None, "requests"): 9,
            ("totals", "0", None, "requests"): 6,
            (*day, "requests"): 9,
            (*day, "bytes"): 90,
        }


def test_a_partition_waits_for_a_schema_and_the_others_go_on() -> None:
    with declared(2) as d:
        member = d.worker()
        read, known = member.worker._reader.read, False

        def asks(messages: Any) -> Decoded:
            decoded = read(messages)
            if known:
                return decoded
            cannot = {i: UnavailableError("no registry") for i, m in enumerate(messages) if m.key()}
            return decoded._replace(unavailable=cannot)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(member.worker._reader, "read", asks)
            d.emit(EVENT)
            d.emit(EVENT | {"route": "/x"}, EVENT, key=b"k")
            d.emit(EVENT, partition=1)
            for _ in range(5):
                d.world.window()
            assert (d.world.committed(0), d.world.committed(1)) == (1, 1)
            assert d.outcomes() == {"read": 2, "counted": 2}
            assert member.status is not None
            d.world.advance(61)
            d.world.turn(2)
            (stall,) = member.status.stalls()
            assert (stall.cause.word, stall.detail) == ("schema-unavailable", "no registry")
            known = True
            d.world.until(lambda: d.world.committed(0) == 3, step_s=1)
        assert d.values()["usage", "c-7", DAY, "requests"] == 4
        assert d.outcomes() == {"read": 4, "counted": 4}


def test_a_new_attribute_of_old_items_is_refused_when_it_is_to_be_filled() -> None:
    with declared() as d:
        first = d.worker(processing_guarantee="exactly-once")
        d.emit(EVENT, EVENT)
        d.world.window()
        assert first.worker.shut_down()
        first.alive = False
        before = d.values()
        changed = FILE.replace("bytes = ", "more = 1, bytes = ")
        again = DeclaredWorld(d.world, changed)
        d.world.broker.group(GROUP).offsets[TOPIC, 0] = 0
        again.worker(processing_guarantee="exactly-once", has_new_counters=True)
        with pytest.raises(ConfigError, match="counter daily: more cannot be filled"):
            d.world.window()
        assert d.values() == before


def test_events_that_all_items_had_are_suppressed_and_others_are_counted() -> None:
    with declared() as d:
        first = d.worker(processing_guarantee="exactly-once")
        d.emit(EVENT, EVENT | {"route": "/x"}, {"kind": "internal"})
        d.world.window()
        assert first.worker.shut_down()
        first.alive = False
        d.world.dynamodb.delete_item(
            TableName="usage", Key={"pk": {"S": "c-7"}, "rk": {"S": "route#/x"}}
        )
        d.world.broker.group(GROUP).offsets[TOPIC, 0] = 0
        second = d.worker(processing_guarantee="exactly-once")
        d.world.window()
        counts = second.worker.event_counts[0]
        assert (counts.suppressed, counts.counted, counts.unmatched) == (1, 1, 1)
        assert d.values()["usage", "c-7", "route#/x", "requests"] == 1
