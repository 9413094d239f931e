"""Bad input never blocks, kills or miscounts others; each row of it becomes a dead letter."""

from collections import Counter
from typing import Any

import pytest

from tests.support.events import Event, Log, avro, ref
from tests.support.stack import Stack
from tests.support.tables import Table

SECRET = "card-4711"  # noqa: S105 - a key as users have them; no log may show it
HEADERS = [("trace", b"\x00\xff"), ("trace", b"again"), ("empty", None)]


def bad_rows(plain: str, ranged: str, numbered: str) -> dict[str, tuple[bytes | None, str]]:
    """Return payloads and the reason that each must get."""
    good = avro(Event(plain, SECRET))
    unlisted = "not-listed"
    arn = f"arn:aws:dynamodb:us-east-1:000000000000:table/{plain}"
    return {
        "tombstone": (None, "empty-payload"),
        "no bytes": (b"", "empty-payload"),
        "undecodable": (b"\x08abcd\xff\xff", "undecodable"),
        "not unicode": (b"\x06\xff\xfe\xfd" + good[-3:], "undecodable"),
        "cut short": (good[:-3], "undecodable"),
        "trailing bytes": (good + b"!", "trailing-bytes"),
        "registry frame": (b"\x00\x00\x00\x00\x01" + good, "registry-framed"),
        "empty key": (avro(Event(plain, "")), "key-empty"),
        "empty range": (avro(Event(ranged, SECRET, "")), "key-empty"),
        "oversized key": (avro(Event(plain, "k" * 2049)), "key-too-large"),
        "oversized key in bytes": (avro(Event(plain, "é" * 1025)), "key-too-large"),
        "oversized range": (avro(Event(ranged, SECRET, "r" * 1025)), "key-too-large"),
        "oversized payload": (avro(Event(plain, "k" * 70_000)), "payload-too-large"),
        "range missing": (avro(Event(ranged, SECRET)), "range-missing"),
        "range too many": (avro(Event(plain, SECRET, "r")), "range-unexpected"),
        "no number": (avro(Event(numbered, SECRET)), "key-not-a-number"),
        "39 digits": (avro(Event(numbered, "1" * 39)), "key-not-a-number"),
        "unlisted table": (avro(Event(unlisted, SECRET)), "table-not-allowed"),
        "arn": (avro(Event(arn, SECRET)), "table-not-allowed"),
        "counter is a key": (avro(Event(plain, SECRET, None, "pk")), "counter-name"),
        "counter with a quote": (avro(Event(plain, SECRET, None, 'a"b')), "counter-name"),
        "text counter": (avro(Event(plain, "text")), "counter-not-a-number"),
        "text counter again": (avro(Event(plain, "text", incr=7)), "counter-not-a-number"),
    }


@pytest.mark.parametrize("mode", ["batch", "single"])
def test_bad_rows_become_dead_letters_and_the_rest_of_the_window_is_counted(
    stack: Stack, table: Table, mode: str
) -> None:
    plain, ranged, numbered = table(), table("S", "S"), table("N")
    stack.client.put_item(
        TableName=plain, Item={"pk": {"S": "text"}, "count": {"S": "many"}, "hits": {"N": "0"}}
    )
    rows = bad_rows(plain, ranged, numbered)
    topic = stack.topic(1)
    messages: list[dict[str, Any]] = []
    log: Log = Counter({(plain, "text", None, "hits"): 0})
    for number, (payload, _) in enumerate(rows.values()):
        # Between the bad ones, good rows of the same items and of others, in the same window.
        for event in (
            Event(plain, f"k{number}"),
            Event(ranged, "k", "r", incr=number),
            Event(numbered, str(number)),
            Event(plain, "text", None, "hits", 2),
        ):
            log[ref(event)] += event.incr
            messages.append({"value": avro(event)})
        messages.append({"value": payload, "key": b"%d" % number, "headers": HEADERS})
    stack.produce_raw(topic, messages, partition=0)

    options = ("--write-mode", mode, "--max-payload-bytes", "65536")
    errors = stack.drain(topic, (plain, ranged, numbered), *options)

    assert stack.counters(plain, ranged, numbered) == log
    assert stack.committed(topic) == {0: len(messages)}
    found = {int((letter.key() or b"").decode()): letter for letter in stack.letters(topic)}
    assert len(stack.letters(topic)) == len(found) == len(rows)
    for number, (what, (payload, reason)) in enumerate(rows.items()):
        headers = stack.headers(found[number])
        assert found[number].value() == payload, what
        assert headers[: len(HEADERS)] == HEADERS, what
        own = {name: (value or b"").decode() for name, value in headers[len(HEADERS) :]}
        assert own["dynatomic.reason"] == reason, what
        assert own["dynatomic.topic"] == topic, what
        assert own["dynatomic.partition"] == "0", what
        assert own["dynatomic.offset"] == str(number * 5 + 4), what
        assert own["dynatomic.detail"], what
        assert own["dynatomic.group"] == topic, what
    assert "dead letter" in errors
    output = errors + "".join(
        (value or b"").decode()
        for letter in found.values()
        for name, value in stack.headers(letter)
        if name.startswith("dynatomic.")
    )
    assert SECRET not in output

    # What is committed is done with: no letter and no count a second time.
    stack.drain(topic, (plain, ranged, numbered), *options)
    assert stack.counters(plain, ranged, numbered) == log
    assert len(stack.letters(topic)) == len(rows)


def test_a_topic_of_bad_rows_only_is_drained(stack: Stack, table: Table) -> None:
    topic, name = stack.topic(2), table()
    for partition in range(2):
        stack.produce_raw(topic, [{"value": b"bad %d" % n} for n in range(300)], partition)
    stack.drain(topic, [name])
    assert stack.committed(topic) == {0: 300, 1: 300}
    assert len(stack.letters(topic)) == 600
    assert not stack.counters(name)
