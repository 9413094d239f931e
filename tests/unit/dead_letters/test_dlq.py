"""Dead letters that are read, shown, judged and replayed, on the fake broker."""

import base64
import json
import random
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import pytest
from confluent_kafka import KafkaError, KafkaException
from hypothesis import given
from hypothesis import strategies as st

from dynatomic.config.settings import Settings
from dynatomic.dead_letters.letter import HEADERS, TOPIC_ID, DeadLetter, WholeMessage
from dynatomic.dead_letters.replay import (
    UNKNOWN,
    ReplayOptions,
    ReplayPlan,
    ReplayRun,
    is_committed_by,
    plan_lines,
)
from dynatomic.dead_letters.sender import (
    REPLAY,
    NonTransactionalProducer,
    Sender,
    sender_config,
    transactional_id,
)
from dynatomic.dead_letters.show import LetterReport, ShowOptions
from dynatomic.dead_letters.store import DeadLetters
from dynatomic.dead_letters.topic import (
    MAX_OFFSETS_IN_NOTE,
    REPLAYED,
    DeadLetterTopic,
    SourceOffsets,
    StoredLetter,
    note_headers,
    reader_config,
    replayed_in_note,
    stored_letter,
)
from dynatomic.errors import ConfigError, DeliveryError, DynatomicError, UnavailableError
from dynatomic.events.decoder import Decoder
from dynatomic.events.payload import PayloadReader
from dynatomic.events.row import KeySchema, Reason, Row
from dynatomic.events.schema import encode, load_writer_schema
from dynatomic.kafka.groups import CommittedOffset
from dynatomic.kafka.replaceable import ReplaceableClient
from dynatomic.testing.kafka.broker import FakeBroker
from tests.support.children import REPOSITORY
from tests.support.clients import GROUP, LETTERS, TOPIC, Clock

ID = f"{7:032x}"
SETTINGS = Settings(topic=TOPIC, group_id=GROUP, tables=("hits",))
KEYS = {"hits": KeySchema("pk")}
FENCED = KafkaException(KafkaError(KafkaError._FENCED))


class Killed(BaseException):
    """The process ends here."""


class Transactions:
    """What the brokers know of one transactional id."""

    def __init__(self) -> None:
        self.epoch = 0


class TransactionalProducer:
    """What is produced is in the topics once its transaction is committed, and only then.

    ``dies`` says before or after which call the process ends: ("commit", 1) is before the second
    commit, ("committed", 0) after the first.
    """

    def __init__(
        self,
        broker: FakeBroker,
        known: Transactions,
        dies: tuple[str, int] | None = None,
    ) -> None:
        self.broker = broker
        self.known = known
        self.epoch = -1
        self.calls: Counter[str] = Counter()
        self.dies = dies
        self.failures: list[tuple[str, KafkaException]] = []
        self.refuses: KafkaError | None = None
        self.open: list[Any] | None = None
        self.sizes: list[int] = []

    def _call(self, name: str) -> None:
        if self.dies == (name, self.calls[name]):
            raise Killed
        self.calls[name] += 1
        if self.failures and self.failures[0][0] == name:
            raise self.failures.pop(0)[1]
        if name != "init" and self.epoch != self.known.epoch:
            raise FENCED

    def init_transactions(self, _timeout: float) -> None:
        self._call("init")
        self.known.epoch += 1
        self.epoch = self.known.epoch

    def begin_transaction(self) -> None:
        self._call("begin")
        self.open = []

    def produce(self, topic: str, **message: Any) -> None:
        self._call("produce")
        assert self.open is not None
        message.pop("on_delivery")(self.refuses, None)
        self.open.append((topic, message))

    def poll(self, _timeout: float) -> int:
        return 0

    def flush(self, _timeout: float) -> int:
        self._call("flush")
        return 0

    def commit_transaction(self, _timeout: float) -> None:
        self._call("commit")
        if self.refuses:
            raise KafkaException(KafkaError(KafkaError._INCONSISTENT))
        for topic, message in self.open or []:
            number = message["partition"]
            values = (message["key"], message["value"], message["headers"])
            self.broker.append(topic, max(number, 0), *values)
        for topic in (TOPIC, LETTERS):
            self.broker.append_gap(topic, 0)  # the brokers' own record of the commit
        self.sizes.append(len(self.open or []))
        self.open = None
        self._call("committed")

    def abort_transaction(self, _timeout: float) -> None:
        self._call("abort")
        self.open = None


class Lab:
    """A topic, its dead-letter topic, and the real code that reads and replays it."""

    def __init__(self, partitions: int = 2) -> None:
        self.clock = Clock()
        self.broker = FakeBroker(clock=self.clock, sleep=self.clock.advance)
        self.broker.create_topic(TOPIC, partitions)
        self.broker.create_topic(LETTERS)
        self.known = Transactions()
        self.committed: dict[int, int] = dict.fromkeys(range(partitions), 1_000_000)
        self.keys = dict(KEYS)

    def store(self, offset: int, value: bytes | None = b"\xff", **more: Any) -> DeadLetter:
        """Store a letter as a consumer does."""
        group, topic_id = more.pop("group", GROUP), more.pop("topic_id", ID)
        fields: dict[str, Any] = {
            "topic": TOPIC,
            "partition": 0,
            "offset": offset,
            "key": b"its key",
            "value": value,
            "headers": (),
            "reason": "undecodable",
            "detail": "EOFError",
        }
        item = DeadLetter(**(fields | more))
        letters = DeadLetters(
            ReplaceableClient(self.broker.producer), LETTERS, group, topic_id=topic_id
        )
        letters.store(item, lambda: None)
        letters.poll()
        assert letters.pending == 0
        return item

    def row(self, offset: int, key: str = "a", **more: Any) -> DeadLetter:
        """Store the letter of a row that these settings count."""
        return self.store(offset, encode(Row("hits", key)), reason="table-not-allowed", **more)

    def commits(self) -> dict[int, CommittedOffset]:
        """Return the group's commits."""
        return {number: CommittedOffset(offset, ID) for number, offset in self.committed.items()}

    def topic(self) -> DeadLetterTopic:
        consumer = self.broker.consumer(reader_config(SETTINGS))
        return DeadLetterTopic(consumer, LETTERS, clock=self.clock)

    def show(self, **options: Any) -> tuple[list[str], list[str]]:
        shown = LetterReport(self.topic(), ShowOptions(**options), PayloadReader({}))
        return list(shown.lines()), list(shown.summary())

    def json(self, **options: Any) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.show(output="json", **options)[0]]

    def producer(self, dies: tuple[str, int] | None = None) -> TransactionalProducer:
        return TransactionalProducer(self.broker, self.known, dies)

    def replay(
        self,
        producer: TransactionalProducer | NonTransactionalProducer | None = None,
        settings: Settings = SETTINGS,
        **options: Any,
    ) -> ReplayPlan:
        given = ReplayOptions(**{"execute": True} | options)
        decoder = Decoder(self.keys)

        def judge(payload: bytes | None) -> str:
            rejected = decoder.decode([payload]).rejected
            return rejected[0].reason if rejected else ""

        sender = None
        if given.execute:
            partitions = len(self.broker.logs[TOPIC])
            sender = Sender(producer or self.producer(), settings, partitions, clock=self.clock)
        send: Callable[[StoredLetter], None] = sender.add if sender else lambda _: None
        committed = is_committed_by(self.commits(), ID)
        plan = ReplayRun(settings, given, self.topic(), judge, committed, send).run()
        if sender:
            sender.flush()
        return plan

    def replayed(self) -> list[str]:
        """Return the sources of the rows that were put back, in order."""
        return [dict(headers(m))[REPLAY].decode() for m in self.broker.messages(TOPIC)]


def headers(message: Any) -> list[tuple[str, bytes]]:
    return cast("list[tuple[str, bytes]]", message.headers() or [])


@pytest.fixture
def lab() -> Lab:
    return Lab()


@pytest.mark.parametrize("topic_id", [ID, None])
def test_a_letter_is_read_as_it_was_stored(lab: Lab, topic_id: str | None) -> None:
    its = (("trace", b"\x00"), ("trace", None), ("dynatomic.topic", b"forged"), (TOPIC_ID, b"x"))
    put = lab.store(17, b"\x80", partition=1, headers=its, topic_id=topic_id, detail="naïve")
    (found,) = map(stored_letter, lab.broker.messages(LETTERS))
    assert found is not None
    assert found.letter == put
    assert (found.group, found.topic_id) == (GROUP, topic_id or "")
    assert found.source == (TOPIC, topic_id or "", 1)
    assert (found.partition, found.offset, found.time_ms) == (0, 0, 1_000_000)


def test_what_no_consumer_stored_is_no_letter(lab: Lab) -> None:
    own: list[tuple[str, bytes | None]] = [(name, b"1") for name in HEADERS]
    for wrong in ([], own[1:], own[::-1], [*own, ("more", b"")], [*own[:2], (HEADERS[2], b"x")]):
        lab.broker.append(LETTERS, 0, None, b"v", wrong)
    lab.broker.append(LETTERS, 0, None, b"v", [*own[:2], (HEADERS[2], b"-1"), *own[3:]])
    lab.broker.append(LETTERS, 0, None, b"v", [*own[:2], (HEADERS[2], None), *own[3:]])
    assert [stored_letter(m) for m in lab.broker.messages(LETTERS)] == [None] * 7
    assert lab.show()[1] == [
        "0 dead letters in row-events.dlq",
        "7 messages are no letters of dynatomic, not shown",
    ]
    assert lab.replay().foreign == 7
    assert lab.broker.messages(TOPIC) == []


OFFSETS = st.sets(st.integers(0, 2**63 - 1) | st.integers(0, 300), min_size=1, max_size=200)


@given(
    st.dictionaries(
        st.tuples(st.just(TOPIC), st.sampled_from([ID, ""]), st.integers(0, 9)), OFFSETS
    )
)
def test_a_note_says_what_was_put_into_it(sources: dict[Any, set[int]]) -> None:
    broker = FakeBroker()
    broker.create_topic(LETTERS)
    broker.append(LETTERS, 0, None, None, note_headers(sources))
    (message,) = broker.messages(LETTERS)
    assert {source: set(offsets) for source, offsets in replayed_in_note(message)} == sources
    assert stored_letter(message) is None


def test_a_letter_with_headers_of_a_note_is_no_note(lab: Lab) -> None:
    forged = note_headers({(TOPIC, ID, 0): [0, 1, 2]})
    lab.store(1, headers=tuple(forged))
    assert replayed_in_note(lab.broker.messages(LETTERS)[0]) == []
    assert lab.replay().replayed == 0


@pytest.mark.parametrize(
    "text",
    ["", "row-events::0:", "row-events::0:1-", "row-events:x:0:1", "::0:1", "a::0:0-99999999999"],
)
def test_a_note_that_cannot_be_read_says_nothing(lab: Lab, text: str) -> None:
    lab.broker.append(LETTERS, 0, None, None, [(REPLAYED, text.encode())])
    assert replayed_in_note(lab.broker.messages(LETTERS)[0]) == []


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 2**63 - 1) | st.integers(0, 200))))
def test_places_are_a_set(places: list[tuple[int, int]]) -> None:
    found, expected = SourceOffsets(), set[tuple[int, int]]()
    for number, offset in places:
        assert found.add((TOPIC, "", number), offset) is ((number, offset) not in expected)
        expected.add((number, offset))


def test_the_topic_is_read_to_the_end_it_had_and_across_gaps() -> None:
    lab = Lab()
    lab.broker.create_topic(LETTERS, 3)
    for number in (2, 0):
        lab.broker.append(LETTERS, number, None, b"a", [])
        lab.broker.append_gap(LETTERS, number)
        lab.broker.append(LETTERS, number, None, b"b", [])
        lab.broker.append_gap(LETTERS, number)
    topic = lab.topic()
    lab.broker.append(LETTERS, 0, None, b"later", [])
    for _ in range(2):
        found = [(m.partition(), m.value()) for m in topic.messages()]
        assert found == [(0, b"a"), (0, b"b"), (2, b"a"), (2, b"b")]


def test_reading_passes_over_what_retention_removed(lab: Lab) -> None:
    for offset in range(5):
        lab.store(offset)
    topic = lab.topic()
    lab.broker.delete_before(LETTERS, 0, 3)
    assert [m.offset() for m in topic.messages()] == [3, 4]


def test_reading_joins_no_group_and_commits_nothing(lab: Lab) -> None:
    lab.store(0)
    list(lab.topic().messages())
    assert lab.broker.group(GROUP).generation == 0
    assert lab.broker.committed(GROUP, LETTERS, 0) is None


def test_reading_ends_when_no_broker_answers() -> None:
    lab = Lab()
    lab.store(0)
    topic = lab.topic()
    lab.broker.faults.down = True
    with pytest.raises(UnavailableError, match=r"row-events.dlq', partition 0: no broker gave"):
        list(topic.messages())


@pytest.mark.parametrize(
    ("code", "kind", "text"),
    [
        (KafkaError.TOPIC_AUTHORIZATION_FAILED, ConfigError, "allow Read on it"),
        (KafkaError._FATAL, DynatomicError, "failed for good"),
        (KafkaError._TRANSPORT, UnavailableError, r"60 s \(injected\)"),
    ],
)
def test_errors_of_the_brokers_say_what_to_do(
    lab: Lab, code: int, kind: type[DynatomicError], text: str
) -> None:
    lab.store(0)
    lab.store(1)
    consumer = lab.broker.consumer(reader_config(SETTINGS))
    topic = DeadLetterTopic(consumer, LETTERS, clock=lab.clock)
    lab.broker.emit_error(consumer, code, topic=LETTERS, partition=0)
    if kind is UnavailableError:  # it may pass, or not
        lab.broker.delete_before(LETTERS, 0, 2)
        lab.broker.logs[LETTERS][0].low = 0
        lab.broker.logs[LETTERS][0].messages.clear()
    with pytest.raises(kind, match=text):
        list(topic.messages())


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
        "key": 0,
        "value": 0,
        "headers": 0,
        "cut": None,
    }
    assert second["row"] == {"table": "hits", "key": "a", "range": None, "counter": None, "incr": 1}


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


def test_a_replayed_row_is_as_it_was(lab: Lab) -> None:
    its = (("trace", b"\x00\xff"), ("trace", b"again"), ("none", None), (REPLAY, b"0:1"))
    put = lab.row(5, headers=its, partition=1)
    lab.replay()
    (found,) = lab.broker.messages(TOPIC)
    assert (found.key(), found.value(), found.partition()) == (put.key, put.value, 1)
    assert found.headers() == [*its[:-1], (REPLAY, b"1:5")]


def test_a_row_whose_partition_is_gone_goes_by_its_key() -> None:
    lab = Lab(partitions=1)
    lab.committed = {7: 100}
    lab.row(5, partition=7)
    producer = lab.producer()
    lab.replay(producer)
    assert lab.replayed() == ["7:5"]


def test_replaying_twice_replays_once(lab: Lab) -> None:
    for offset in range(10):
        lab.row(offset)
    assert lab.replay().to_replay == 10
    plan = lab.replay()
    assert (plan.to_replay, plan.replayed) == (0, 10)
    assert sorted(lab.replayed()) == sorted(f"0:{n}" for n in range(10))
    lab.row(10)
    assert lab.replay().to_replay == 1


def test_the_plan_sends_nothing(lab: Lab) -> None:
    lab.row(1)
    lab.store(2)
    before = len(lab.broker.messages(LETTERS))
    plan = lab.replay(execute=False)
    assert (plan.to_replay, lab.known.epoch) == (1, 0)
    assert len(lab.broker.messages(LETTERS)) == before
    assert lab.broker.messages(TOPIC) == []
    lines = list(plan_lines(plan, SETTINGS, ReplayOptions()))
    assert lines == [
        "table-not-allowed: 1 would be counted now",
        "undecodable: 1 would be undecodable again",
        "1 of 2 waiting letters would be put back on row-events",
        "1 stay: they would be dead letters again (--force replays them too)",
        "nothing was sent: add --execute",
    ]


def test_what_would_be_rejected_again_waits_until_it_would_not(lab: Lab) -> None:
    lab.row(1)
    lab.keys = {}
    assert lab.replay().verdicts == {("table-not-allowed", Reason.TABLE): 1}
    assert lab.replayed() == []
    lab.keys = dict(KEYS)
    assert lab.replay().to_replay == 1


def test_force_replays_what_would_be_rejected_again_but_once(lab: Lab) -> None:
    lab.store(1)
    assert lab.replay(force=True).to_replay == 1
    assert lab.replay(force=True).replayed == 1
    assert lab.replayed() == ["0:1"]


def test_letters_that_one_reason_leaves_out_are_replayed_later(lab: Lab) -> None:
    for offset in range(9):
        lab.store(offset, encode(Row("hits", "a")), reason=("x", "y", "z")[offset % 3])
    for why, offsets in (("y", {1, 4, 7}), ("x", {0, 3, 6})):
        before = set(lab.replayed())
        assert lab.replay(reason=why).to_replay == 3
        assert set(lab.replayed()) - before == {f"0:{n}" for n in offsets}
    plan = lab.replay()
    assert (plan.to_replay, plan.replayed) == (3, 6)
    assert len(lab.replayed()) == 9


def test_several_letters_of_one_event_are_replayed_once(lab: Lab) -> None:
    for offset in (1, 2, 1, 1):
        lab.row(offset)
    plan = lab.replay()
    assert (plan.to_replay, plan.repeated) == (2, 2)
    lab.row(2)  # a former owner of the partition is late
    assert lab.replay().to_replay == 0
    assert sorted(lab.replayed()) == ["0:1", "0:2"]


def test_the_same_place_of_a_topic_made_again_is_another_event(lab: Lab) -> None:
    old = f"{6:032x}"
    lab.committed = {0: 2}
    lab.row(1)
    lab.row(1, topic_id=old)
    lab.row(5, topic_id=old)  # that topic is gone: nobody reads it again
    assert lab.replay().to_replay == 3


def test_letters_of_others_stay(lab: Lab) -> None:
    lab.row(1, topic="other")
    lab.row(2, group="theirs")
    lab.row(3)
    plan = lab.replay()
    assert (plan.to_replay, plan.topics, plan.groups) == (1, {"other": 1}, {"theirs": 1})
    text = "\n".join(plan_lines(plan, SETTINGS, ReplayOptions()))
    assert "1 are of topic other: -t other --dead-letter-topic row-events.dlq" in text
    assert "1 are of group theirs" in text
    theirs = Settings(topic=TOPIC, group_id="theirs", tables=("hits",))
    assert lab.replay(settings=theirs).to_replay == 1


def test_a_row_that_another_group_replayed_is_not_put_back_again(lab: Lab) -> None:
    lab.row(1)
    lab.row(1, group="theirs")
    lab.replay()
    theirs = Settings(topic=TOPIC, group_id="theirs", tables=("hits",))
    assert lab.replay(settings=theirs).replayed == 2
    assert lab.replayed() == ["0:1"]


@pytest.mark.parametrize("force", [False, True])
def test_an_event_that_the_group_reads_again_is_not_replayed(lab: Lab, *, force: bool) -> None:
    lab.committed = {0: 5}
    for offset in (4, 5, 6):
        lab.row(offset)
    lab.row(0, partition=1)
    plan = lab.replay(force=force)
    assert (plan.to_replay, plan.uncommitted) == (1, 3)
    lab.committed = {0: 7, 1: 1}
    assert lab.replay(force=force).to_replay == 3


def test_letters_that_come_while_it_replays_are_for_the_next_time(lab: Lab) -> None:
    lab.row(1)
    topic = lab.topic()
    lab.row(2)
    sent: list[StoredLetter] = []
    committed = is_committed_by(lab.commits(), ID)
    ReplayRun(SETTINGS, ReplayOptions(), topic, lambda _: "", committed, sent.append).run()
    assert [item.letter.offset for item in sent] == [1]


def test_a_plan_without_tables_says_that_it_does_not_know() -> None:
    plan = ReplayPlan(verdicts=Counter({("undecodable", UNKNOWN): 3}))
    assert list(plan_lines(plan, SETTINGS, ReplayOptions())) == [
        "undecodable: 3 not judged",
        "0 of 3 waiting letters would be put back on row-events",
    ]


def crashes() -> Iterator[tuple[str, int]]:
    for number in range(4):
        yield from (("begin", number), ("flush", number), ("commit", number), ("committed", number))
    yield from (("produce", number) for number in range(14))
    yield ("init", 0)


@pytest.mark.parametrize("dies", list(crashes()))
def test_a_killed_replay_loses_and_doubles_nothing(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, dies: tuple[str, int]
) -> None:
    monkeypatch.setattr("dynatomic.dead_letters.sender.MAX_OFFSETS_IN_NOTE", 3)
    for offset in range(10):
        lab.row(offset)
        lab.store(100 + offset)
    producer = lab.producer(dies)
    with pytest.raises(Killed):
        lab.replay(producer)
    assert len(set(lab.replayed())) == len(lab.replayed()) <= 10
    lab.replay()
    assert sorted(lab.replayed()) == [f"0:{n}" for n in range(10)]
    assert lab.replay().replayed == 10


@given(st.data())
def test_any_run_of_replays_and_kills_puts_every_row_back_once(data: st.DataObject) -> None:
    lab, wanted, offset = Lab(), set[str](), 0
    lab.broker.create_topic(LETTERS, 2)
    reasons = st.sampled_from(["x", "y"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "dynatomic.dead_letters.sender.MAX_OFFSETS_IN_NOTE", data.draw(st.integers(1, 4))
        )
        for _ in range(data.draw(st.integers(1, 5))):
            for _ in range(data.draw(st.integers(0, 5))):
                offset += data.draw(st.integers(0, 2))  # 0: the event of the letter before
                key = f"{data.draw(st.integers(0, 3))}".encode()
                lab.store(offset, encode(Row("hits", "a")), key=key, reason=data.draw(reasons))
                wanted.add(f"0:{offset}")
            point = st.sampled_from(["begin", "produce", "flush", "commit", "committed"])
            dies = data.draw(st.none() | st.tuples(point, st.integers(0, 6)))
            why = data.draw(st.none() | reasons)
            with suppress(Killed):
                lab.replay(lab.producer(dies), reason=why)
            assert len(set(lab.replayed())) == len(lab.replayed())
        lab.replay()
    assert sorted(lab.replayed()) == sorted(wanted)


def test_a_second_replay_shuts_the_first_one_out(lab: Lab) -> None:
    for offset in range(3):
        lab.row(offset)
    first = lab.producer()
    sender = Sender(first, SETTINGS, 2, clock=lab.clock)
    items = [item for m in lab.broker.messages(LETTERS) if (item := stored_letter(m))]
    sender.add(items[0])
    assert lab.replay().to_replay == 3
    with pytest.raises(
        DynatomicError, match=r"another replay of row-events\.dlq has taken over; 0"
    ):
        sender.flush()
    assert len(lab.replayed()) == 3


def test_a_transaction_is_bounded_by_letters_and_bytes(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    for offset in range(7):
        lab.row(offset)
    monkeypatch.setattr("dynatomic.dead_letters.sender.MAX_OFFSETS_IN_NOTE", 3)
    producer = lab.producer()
    lab.replay(producer)
    assert producer.sizes == [3 + 1, 3 + 1, 1 + 1]
    monkeypatch.setattr("dynatomic.dead_letters.sender.MAX_BYTES", 1)
    lab.row(8)
    lab.row(9)
    producer = lab.producer()
    lab.replay(producer)
    assert producer.sizes == [1 + 1, 1 + 1]


def test_a_note_of_a_full_transaction_can_be_read() -> None:
    offsets = [2**63 - 1 - 2 * n for n in range(MAX_OFFSETS_IN_NOTE)]
    broker = FakeBroker()
    broker.create_topic(LETTERS)
    broker.append(LETTERS, 0, None, None, note_headers({(TOPIC, ID, 0): offsets}))
    ((_, found),) = replayed_in_note(broker.messages(LETTERS)[0])
    assert sorted(found) == sorted(offsets)


def test_a_note_stands_in_the_partition_of_its_letters() -> None:
    lab = Lab()
    lab.broker.create_topic(LETTERS, 2)
    for offset in range(8):
        lab.store(offset, encode(Row("hits", "a")), key=f"{offset}".encode())
    places = {
        (item.letter.offset, item.partition)
        for m in lab.broker.messages(LETTERS)
        if (item := stored_letter(m))
    }
    assert {number for _, number in places} == {0, 1}
    lab.replay()
    found = {
        (offset, message.partition())
        for message in lab.broker.messages(LETTERS)
        for _, offsets in replayed_in_note(message)
        for offset in offsets
    }
    assert found == places


@pytest.mark.parametrize("stored", [False, True])
def test_without_transactions_no_note_is_written_before_its_rows_are_known_to_be_there(
    lab: Lab, *, stored: bool
) -> None:
    lab.row(1)
    lab.row(2)
    lab.broker.faults.fail_deliveries(KafkaError._MSG_TIMED_OUT, 1, stored=stored)
    with pytest.raises(DeliveryError, match="0 letters are known"):
        lab.replay(NonTransactionalProducer(lab.broker.producer()))
    assert sum(bool(replayed_in_note(m)) for m in lab.broker.messages(LETTERS)) == 0
    assert lab.replay(NonTransactionalProducer(lab.broker.producer())).to_replay == 2
    assert lab.replay(NonTransactionalProducer(lab.broker.producer())).replayed == 2
    assert set(lab.replayed()) == {"0:1", "0:2"}


def test_without_transactions_brokers_that_are_down_are_told(lab: Lab) -> None:
    lab.row(1)
    producer = NonTransactionalProducer(lab.broker.producer())
    sender = Sender(producer, SETTINGS, 2, clock=lab.clock)
    (item,) = filter(None, map(stored_letter, lab.broker.messages(LETTERS)))
    sender.add(item)
    lab.broker.faults.down = True
    with pytest.raises(UnavailableError, match="0 letters are known"):
        sender.flush()
    lab.broker.faults.down = False
    producer.flush(0)
    assert lab.broker.messages(TOPIC) == []
    assert len(lab.broker.messages(LETTERS)) == 1


def error(code: int, *, retriable: bool = False) -> KafkaException:
    return KafkaException(KafkaError(code, "injected", False, retriable))


def test_a_commit_that_may_be_repeated_is(lab: Lab) -> None:
    lab.row(1)
    producer = lab.producer()
    producer.failures = [("commit", error(KafkaError._TIMED_OUT, retriable=True))] * 2
    assert lab.replay(producer).to_replay == 1
    assert lab.replayed() == ["0:1"]


@pytest.mark.parametrize(
    ("call", "failure", "kind", "text"),
    [
        (
            "init",
            error(KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED),
            ConfigError,
            "transactional id 'row-events.dlq.replay' is denied; allow Write and Describe on it",
        ),
        (
            "commit",
            error(KafkaError.TOPIC_AUTHORIZATION_FAILED),
            ConfigError,
            "allow Write on both; 0 letters are known",
        ),
        (
            "commit",
            error(KafkaError.INVALID_RECORD),
            ConfigError,
            "set cleanup.policy=delete on it; 0 letters are known",
        ),
        ("commit", error(KafkaError.INVALID_TXN_STATE), DeliveryError, "no letter is replayed"),
    ],
)
def test_an_error_says_what_to_do_and_what_was_replayed(
    lab: Lab, call: str, failure: KafkaException, kind: type[DynatomicError], text: str
) -> None:
    lab.row(1)
    producer = lab.producer()
    producer.failures = [(call, failure)]
    with pytest.raises(kind, match=text):
        lab.replay(producer)
    assert lab.replayed() == []
    assert lab.replay().to_replay == 1


def test_brokers_that_do_not_answer_end_it_within_its_bound(lab: Lab) -> None:
    lab.row(1)
    producer = lab.producer()

    def hang(_timeout: float) -> None:
        lab.clock.advance(_timeout)
        raise error(KafkaError._TIMED_OUT, retriable=True)

    producer.commit_transaction = hang  # type: ignore[method-assign]
    with pytest.raises(UnavailableError, match="0 letters are known"):
        lab.replay(producer)
    assert lab.clock() < 1_000 + 40


def test_a_row_that_the_topic_does_not_take_aborts_its_transaction(lab: Lab) -> None:
    lab.row(1)
    producer = lab.producer()
    producer.refuses = KafkaError(KafkaError.MSG_SIZE_TOO_LARGE)
    with pytest.raises(DeliveryError, match=r"(?i)size.*0 letters are known"):
        lab.replay(producer)
    assert (producer.calls["abort"], lab.replayed()) == (1, [])


def test_a_fatal_error_that_breaks_a_delivery_report_is_told(lab: Lab) -> None:
    lab.row(1)
    producer = lab.producer()

    def broken(_timeout: float) -> int:
        raise SystemError("returned a result with an exception set") from FENCED

    producer.flush = broken  # type: ignore[method-assign]
    with pytest.raises(DynatomicError, match="has taken over"):
        lab.replay(producer)
    assert lab.replayed() == []


def test_a_defect_is_no_error_of_the_brokers(lab: Lab) -> None:
    lab.row(1)
    producer = lab.producer()

    def broken(_timeout: float) -> int:
        raise SystemError("a defect")

    producer.flush = broken  # type: ignore[method-assign]
    with pytest.raises(SystemError, match="a defect"):
        lab.replay(producer)


def test_an_interrupt_aborts_the_transaction(lab: Lab) -> None:
    lab.row(1)
    producer = lab.producer(("produce", 0))
    with pytest.raises(Killed):
        lab.replay(producer)
    assert producer.calls["abort"] == 1


def test_the_producer_is_transactional_whatever_the_user_set() -> None:
    settings = Settings(librdkafka={"delivery.timeout.ms": "1", "linger.ms": "7"})
    config = sender_config(settings)
    assert config["transactional.id"] == transactional_id(settings) == "row-events.dlq.replay"
    assert config["delivery.timeout.ms"] == config["transaction.timeout.ms"] == "30000"
    assert (config["linger.ms"], config["enable.idempotence"]) == ("7", "true")


def test_commits_of_a_topic_of_another_id_say_nothing() -> None:
    item = StoredLetter(
        DeadLetter(TOPIC, 0, 3, None, None, (), "undecodable", ""), GROUP, ID, 0, 0, 0
    )
    assert is_committed_by({0: CommittedOffset(9, ID)}, ID)(item)
    assert is_committed_by({0: CommittedOffset(9, "")}, ID)(item)
    assert not is_committed_by({0: CommittedOffset(9, f"{8:032x}")}, ID)(item)
    assert not is_committed_by({}, ID)(item)


def test_a_cut_letter_is_shown_as_cut_and_is_not_replayed(lab: Lab) -> None:

    whole = WholeMessage.of(b"key", bytes(1000), ())
    lab.store(1, bytes(10), whole=whole, reason="payload-too-large")
    lab.row(2)
    _, line, _ = lab.show()[0]
    assert "0x00000000000000000000 (10 bytes), cut: the whole value has 1,000 bytes" in line
    assert lab.json()[0]["cut"] == whole.fields()
    plan = lab.replay(execute=True, force=True)
    assert (plan.cut, plan.to_replay) == (1, 1)
    text = list(plan_lines(plan, SETTINGS, ReplayOptions(execute=True)))
    assert any(line.startswith("1 stay: they were cut") for line in text)
