"""Dead letters that are shown and replayed, between real consumers, on both stacks."""

import signal
from base64 import b64decode
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from confluent_kafka import Producer

from dynatomic.config.settings import Settings
from dynatomic.dead_letters import replay as dlq_replay
from dynatomic.dead_letters.sender import Sender, make_sender, sender_config
from dynatomic.dead_letters.topic import stored_letter
from dynatomic.errors import DynatomicError
from tests.support.events import Event, avro
from tests.support.letters import BAD, LARGE, Letters
from tests.support.stack import REAL, Stack
from tests.support.tables import Table


@pytest.fixture
def letters(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Letters:
    for name, value in stack.env().items():
        if name.startswith("AWS_"):
            monkeypatch.setenv(name, value)
    return Letters(stack, capsys)


@pytest.mark.parametrize(
    ("stack", "guarantee"),
    [("real", "at-least-once"), ("real", "exactly-once"), ("embedded", "exactly-once")],
    indirect=["stack"],
)
def test_rows_that_were_thrown_away_are_counted_after_a_fix(
    letters: Letters, table: Table, guarantee: str
) -> None:
    stack, topic, known, new = letters.stack, letters.topic, table(), table()
    args = ("--processing-guarantee", guarantee)
    log = stack.produce(topic, [Event(known, f"k{n}", incr=n + 1) for n in range(5)])
    log += stack.produce(topic, [Event(new, f"k{n % 3}", incr=n + 1) for n in range(12)], 0)
    more = [("trace", b"\x00\xff"), ("none", None)]
    stack.produce_raw(topic, [{"value": BAD, "key": b"bad", "headers": more}], 1)
    stack.drain(topic, [known], *args)

    found, summary = letters.show()
    assert Counter(each["reason"] for each in found) == {"table-not-allowed": 12, "undecodable": 1}
    assert "13 dead letters" in summary
    bad = next(each for each in found if each["reason"] == "undecodable")
    assert (b64decode(bad["value"]), b64decode(bad["key"]), bad["row"]) == (BAD, b"bad", None)
    assert {each["row"]["table"] for each in found if each is not bad} == {new}

    assert "0 of 13 waiting" in letters.replay(known)
    plan = letters.replay(known, new)
    assert "table-not-allowed: 12 would be counted now" in plan
    assert "undecodable: 1 would be undecodable again" in plan
    assert "12 of 13 waiting letters would be sent again" in plan
    assert "12 of 13 waiting letters were sent again" in letters.replay(known, new, execute=True)
    again = letters.replay(known, new, execute=True)
    assert "0 of 1 waiting letters" in again
    assert "12 were replayed before" in again
    letters.replay(known, new, execute=True, force=True)

    stack.drain(topic, [known, new], *args)
    assert stack.counters(known, new) == log
    assert stack.committed(topic) == stack.ends(topic)
    assert letters.verified(guarantee, known, new).startswith("OK  ")
    found, _ = letters.show()
    # The bad row went round once: as it was, from its new place.
    last = found[-1]
    assert len(found) == 14
    assert (b64decode(last["value"]), b64decode(last["key"])) == (BAD, b"bad")
    assert [name for name, _ in last["headers"]] == [
        "trace",
        "none",
        "dynatomic.replay",
        "dynatomic.timestamp",
    ]
    assert [each["replayed"] for each in found] == [*[True] * 13, False]


@REAL
def test_rows_keep_key_headers_and_partition(letters: Letters, table: Table) -> None:
    stack, topic, new = letters.stack, letters.topic, table()
    its = [("trace", b"\x00\xff"), ("trace", b"again"), ("none", None)]
    sent = {"value": avro(Event(new, "a")), "key": b"\x00key", "headers": its}
    stack.produce_raw(topic, [sent], 1)
    stack.drain(topic, [table()])
    letters.replay(new, execute=True)
    first, second = letters.rows()
    assert (second.key(), second.value(), second.partition()) == (b"\x00key", sent["value"], 1)
    assert second.headers() == [
        *its,
        ("dynatomic.replay", f"1:{first.offset()}".encode()),
        ("dynatomic.timestamp", str(first.timestamp()[1]).encode()),
    ]


@REAL
def test_reasons_are_replayed_one_by_one_and_repeated_letters_once(
    letters: Letters, table: Table
) -> None:
    stack, topic, new = letters.stack, letters.topic, table()
    log = stack.produce(topic, [Event(new, "a", incr=n) for n in (10, 200)], 0)
    log += stack.produce(topic, [Event(new, "a", incr=7)], 0)
    other = table()
    stack.drain(topic, [other], "--max-incr", "100")
    # The consumer is killed before its commit, and stores all of them again.
    stack.commit(topic, (0, ""))
    stack.drain(topic, [new], "--max-incr", "9")
    found, _ = letters.show()
    assert Counter(each["reason"] for each in found) == {
        "table-not-allowed": 3,
        "incr-out-of-bounds": 2,
    }
    # 7 was counted the second time: what this tool cannot know, an operator may leave out.
    assert "2 of 2" in letters.replay(new, execute=True, reason="incr-out-of-bounds")
    assert "2 were replayed before" in letters.replay(new, reason="table-not-allowed")
    stack.drain(topic, [new])
    assert stack.counters(new) == log


@REAL
def test_letters_of_events_that_are_read_again_stay(letters: Letters, table: Table) -> None:
    stack, topic, new = letters.stack, letters.topic, table()
    log = stack.produce(topic, [Event(new, f"k{n}") for n in range(3)], 0)
    stack.drain(topic, [table()])
    stack.commit(topic, (1, ""))
    plan = letters.replay(new, execute=True, force=True)
    assert "1 of 1 waiting letters were sent again" in plan
    assert "2 stay: group" in plan
    stack.drain(topic, [new])
    assert stack.counters(new) == log


@REAL
@pytest.mark.parametrize("point", ["before", "after"])
def test_a_replay_that_is_killed_loses_and_doubles_nothing(
    letters: Letters, table: Table, point: str
) -> None:
    stack, topic, new = letters.stack, letters.topic, table()
    log = stack.produce(topic, [Event(new, f"k{n % 4}", incr=n + 1) for n in range(22)])
    stack.drain(topic, [table()])
    child = letters.dies(point, new)
    assert child.wait(60) == -signal.SIGKILL, child.logs()
    done = 15 if point == "after" else 10
    text = letters.replay(new, execute=True)
    assert f"{22 - done} of {22 - done} waiting letters were sent again" in text
    assert f"{done} were replayed before" in text
    stack.drain(topic, [new])
    assert stack.counters(new) == log


@REAL
def test_a_replay_that_was_stopped_and_wakes_up_is_shut_out(letters: Letters, table: Table) -> None:
    stack, topic, new = letters.stack, letters.topic, table()
    log = stack.produce(topic, [Event(new, f"k{n}") for n in range(6)])
    stack.drain(topic, [table()])
    settings = Settings(**letters.fields(new))
    late = Sender(Producer(sender_config(settings)), settings, 2)
    for found in filter(None, map(stored_letter, stack.letters(topic))):
        late.add(found)
    assert "6 of 6" in letters.replay(new, execute=True)
    with pytest.raises(DynatomicError, match=r"another replay of .* has taken over; 0 letters"):
        late.flush()
    stack.drain(topic, [new])
    assert stack.counters(new) == log
    assert len(letters.rows()) == 12


@REAL
def test_what_another_replay_does_until_this_one_begins_is_seen(
    letters: Letters, table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack, topic, new = letters.stack, letters.topic, table()
    stack.produce(topic, [Event(new, f"k{n}") for n in range(6)])
    stack.drain(topic, [table()])
    make, texts = make_sender, list[str]()

    def late(*arguments: Any) -> Sender:
        monkeypatch.setattr(dlq_replay, "make_sender", make)
        texts.append(letters.replay(new, execute=True))
        return make(*arguments)

    monkeypatch.setattr(dlq_replay, "make_sender", late)
    texts.append(letters.replay(new, execute=True))
    assert [text.splitlines()[-1].strip() for text in texts] == [
        f"6 of 6 waiting letters were sent again to {topic}",
        "6 were replayed before",
    ]
    assert len(letters.rows()) == 12


@REAL
def test_a_row_that_the_topic_does_not_take_is_told(letters: Letters, table: Table) -> None:
    stack, topic, new = letters.stack, letters.topic, table()
    stack.produce(topic, [Event(new, "a")])
    stack.drain(topic, [table()])
    settings = Settings(**letters.fields(new))
    sender = Sender(Producer(sender_config(settings)), settings, 2)
    (found,) = filter(None, map(stored_letter, stack.letters(topic)))
    sender.add(replace(found, letter=replace(found.letter, value=LARGE)))
    with pytest.raises(DynatomicError, match=r"(?i)too large.*0 letters are known"):
        sender.flush()
    assert "1 of 1" in letters.replay(new, execute=True)
    assert len(letters.rows()) == 2


def test_a_topic_without_letters(letters: Letters, table: Table) -> None:
    found, summary = letters.show(limit=5)
    assert (found, summary.strip()) == ([], f"0 dead letters in {letters.topic}.dlq")
    assert "0 of 0 waiting letters were sent again" in letters.replay(table(), execute=True)
