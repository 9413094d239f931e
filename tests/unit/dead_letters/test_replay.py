"""Which dead letters a replay puts back, and which it leaves."""

from collections import Counter

import pytest

from dynatomic.config.settings import Settings
from dynatomic.dead_letters.letter import DeadLetter, WholeMessage, dead_letter_of
from dynatomic.dead_letters.replay import (
    UNKNOWN,
    ReplayOptions,
    ReplayPlan,
    ReplayRun,
    is_committed_by,
    plan_lines,
)
from dynatomic.dead_letters.sender import replay_headers
from dynatomic.dead_letters.topic import StoredLetter
from dynatomic.events.row import Reason, Row
from dynatomic.events.schema import encode
from dynatomic.kafka.groups import CommittedOffset
from dynatomic.kafka.replayed import COUNTERS, REPLAY, TIMESTAMP
from tests.support.clients import GROUP, LETTERS, TOPIC
from tests.support.dead_letter_lab import ID, KEYS, SETTINGS, Lab


def test_a_replayed_row_is_as_it_was(lab: Lab) -> None:
    its = (("trace", b"\x00\xff"), ("trace", b"again"), ("none", None), (REPLAY, b"0:1"))
    put = lab.row(5, headers=its, partition=1)
    lab.replay()
    (found,) = lab.broker.messages(TOPIC)
    assert (found.key(), found.value(), found.partition()) == (put.key, put.value, 1)
    assert found.headers() == [*its[:-1], (REPLAY, b"1:5")]


def test_a_replay_carries_timestamp_and_refused_counters_on(lab: Lab) -> None:
    first = ((TIMESTAMP, b"of the event's own"), (COUNTERS, b"too"))
    lab.row(5, headers=first, timestamp_ms=7, counters=("a/x", "b/y"))
    lab.replay()
    (found,) = lab.broker.messages(TOPIC)
    letter = dead_letter_of(found, "reason", "detail")
    assert (letter.timestamp_ms, letter.counters) == (7, ("a/x", "b/y"))
    names = [name for name, _ in letter.headers]
    assert names == [TIMESTAMP, COUNTERS, REPLAY, TIMESTAMP, COUNTERS]
    again = dead_letter_of(found, "reason", "detail", ("b/y",))
    assert dict(replay_headers(again)) == {
        REPLAY: f"0:{found.offset()}".encode(),
        TIMESTAMP: b"7",
        COUNTERS: b'["b/y"]',
    }


def test_headers_of_these_names_mean_nothing_without_a_replay(lab: Lab) -> None:
    lab.broker.append(TOPIC, 0, None, b"x", [(TIMESTAMP, b"7"), (COUNTERS, b'["a/x"]')])
    (found,) = lab.broker.messages(TOPIC)
    letter = dead_letter_of(found, "reason", "detail")
    assert (letter.timestamp_ms, letter.counters) == (found.timestamp()[1], None)


def test_counters_that_were_refused_one_after_the_other_are_replayed_once_each(lab: Lab) -> None:
    lab.row(5, counters=("a/x",))
    lab.row(5, counters=("a/x", "b/y"))
    lab.row(5, counters=("b/y",))
    plan = lab.replay()
    assert (plan.to_replay, plan.repeated) == (2, 1)
    assert [dead_letter_of(m, "", "").counters for m in lab.broker.messages(TOPIC)] == [
        ("a/x",),
        ("b/y",),
    ]
    assert lab.replay().replayed == 3
    lab.row(5, counters=("c/z",))
    assert lab.replay().to_replay == 1


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
        "1 of 2 waiting letters would be sent again to row-events",
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
    lab.row(5, topic_id=old)  # that topic does not exist any more
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
        "0 of 3 waiting letters would be sent again to row-events",
    ]


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
