"""Dead letters as `dynatomic dlq show` prints them."""

import base64
import json
import random
from pathlib import Path

from dynatomic.dead_letters.show import LetterReport, ShowOptions
from dynatomic.events.payload import PayloadReader
from dynatomic.events.row import Row
from dynatomic.events.schema import encode, load_writer_schema
from tests.support.children import REPOSITORY
from tests.support.clients import GROUP, LETTERS, TOPIC
from tests.support.dead_letter_lab import ID, Lab


def test_show_tells_the_oldest_first_and_decodes_what_can_be(lab: Lab) -> None:
    lab.row(7, "user 7")
    lab.clock.advance(1.5)
    lab.store(9, b"\xff" * 40, partition=1)
    lab.store(10, None, reason="empty-payload", detail="the message has no payload")
    lines, summary = lab.show()
    assert [line.split() for line in lines[:2]] == [
        ["TIME", "SOURCE", "REASON", "STATE", "GROUP", "ROW", "DETAIL"],
        [
            *("1970-01-01T00:16:40.000Z", "row-events:0:7", "table-not-allowed", "waiting", GROUP),
            *('{"table":', '"hits",', '"key":', '"user', '7",', '"incr":', "1}", "EOFError"),
        ],
    ]
    assert "1970-01-01T00:16:41.500Z  row-events:1:9 " in lines[2]
    assert f"0x{'ff' * 32}... (40 bytes)" in lines[2]
    assert "no payload" in lines[3]
    assert summary == [
        "3 dead letters in row-events.dlq",
        "  table-not-allowed: 1",
        "  undecodable: 1",
        "  empty-payload: 1",
    ]


def test_show_as_json_has_every_byte(lab: Lab) -> None:
    raw = random.Random(1).randbytes(100_000)  # noqa: S311 - a sample
    lab.store(3, raw, headers=(("h", b"\xff"), ("none", None)), detail="why")
    lab.row(4)
    first, second = lab.json()
    assert base64.b64decode(first["value"]) == raw
    assert base64.b64decode(first["key"]) == b"its key"
    assert first["headers"] == [["h", base64.b64encode(b"\xff").decode()], ["none", None]]
    assert first | {"value": 0, "key": 0, "headers": 0} == {
        "topic": TOPIC,
        "topic_id": ID,
        "partition": 0,
        "offset": 3,
        "reason": "undecodable",
        "detail": "why",
        "group": GROUP,
        "time": "1970-01-01T00:16:40.000Z",
        "replayed": False,
        "dead_letter_partition": 0,
        "dead_letter_offset": 0,
        "row": None,
        "counters": None,
        "event_time": None,
        "key": 0,
        "value": 0,
        "headers": 0,
        "batch_end": None,
        "cut": None,
    }
    assert second["row"] == {"table": "hits", "key": "a", "range": None, "counter": None, "incr": 1}


def test_show_has_the_text_of_json_and_the_refused_counters(lab: Lab) -> None:
    lab.store(3, b'{"a": 1}', timestamp_ms=1000, counters=("daily/bytes",), detail="why")
    lab.store(4, b"{\xff")
    lines, _ = lab.show()
    assert '{"a": 1}' in lines[1]
    assert lines[1].endswith("why; only daily/bytes")
    assert "0x7bff" in lines[2]
    (first, _) = lab.json()
    assert (first["counters"], first["event_time"]) == (["daily/bytes"], "1970-01-01T00:00:01.000Z")


def test_show_decodes_with_the_writer_schema_too(lab: Lab, tmp_path: Path) -> None:
    ours = json.loads((REPOSITORY / "schemas" / "row.avsc").read_text())
    ours["fields"].append({"name": "more", "type": "int"})
    path = tmp_path / "row.avsc"
    path.write_text(json.dumps(ours))
    lab.store(1, encode(Row("hits", "late")) + b"\x02", reason="trailing-bytes")
    options = ShowOptions(output="json")
    plain, taught = (
        [json.loads(line)["row"] for line in LetterReport(lab.topic(), options, reader).lines()]
        for reader in (PayloadReader({}), PayloadReader({}, writer_schema=load_writer_schema(path)))
    )
    assert plain == [None]
    assert taught[0]["key"] == "late"


def test_show_limits_to_the_newest_and_to_a_reason(lab: Lab) -> None:
    for offset in range(6):
        lab.clock.advance(1)
        (lab.store if offset % 2 else lab.row)(offset)
    assert [each["offset"] for each in lab.json(limit=4)] == [2, 3, 4, 5]
    assert [each["offset"] for each in lab.json(limit=2, reason="undecodable")] == [3, 5]
    assert [each["offset"] for each in lab.json(reason="undecodable")] == [1, 3, 5]
    lines, summary = lab.show(limit=0)
    assert len(lines) == 1
    assert summary[0] == "6 dead letters in row-events.dlq, 0 shown"


def test_the_newest_are_found_in_all_partitions() -> None:
    lab = Lab()
    lab.broker.create_topic(LETTERS, 2)
    for offset in range(8):
        lab.clock.advance(1)
        lab.store(offset, key=f"{offset}".encode())
    assert sorted(each["offset"] for each in lab.json(limit=3)) == [5, 6, 7]


def test_what_a_terminal_shows_has_no_control_characters(lab: Lab) -> None:
    evil = "\x1b[2J\x07\n\u202e"
    lab.store(1, encode(Row("hits", evil + "k" * 500)), reason=f"bad{evil}", detail=evil, group="g")
    lines, summary = lab.show()
    assert all(text.isprintable() for text in (*lines, *summary))
    assert len(lines[1]) < 400


def test_show_says_which_letters_were_replayed(lab: Lab) -> None:
    lab.row(1)
    lab.store(2)
    lab.replay()
    assert [(each["offset"], each["replayed"]) for each in lab.json()] == [(1, True), (2, False)]
    lines, summary = lab.show()
    assert " replayed " in lines[1]
    assert " waiting " in lines[2]
    assert "  table-not-allowed: 1, 1 replayed" in summary
