"""A log that lost events which were counted, and grew again, stops its partition."""

from typing import Any

import pytest

from dynatomic.events.row import Row
from dynatomic.events.schema import encode
from dynatomic.kafka.commit_metadata import CommitMetadata, LastEvent, parse
from tests.support.clients import GROUP, TOPIC
from tests.support.harness import World, world
from tests.support.log_records import logged


def committed_last(w: World, partition: int = 0) -> LastEvent | None:
    return parse(w.broker.group(GROUP).metadata[TOPIC, partition]).last


def replace_tail(w: World, end: int, *keys: str) -> None:
    """Let the log lose what is from ``end`` on, and grow again with other events."""
    w.broker.elect_leader(TOPIC, 0, end)
    w.emitted = {place: row for place, row in w.emitted.items() if place[1] < end}
    for key in keys:
        w.broker.append(TOPIC, 0, None, encode(Row("hits", key)), [])


def test_a_commit_names_the_last_event_with_its_leader_epoch() -> None:
    with world() as w:
        w.broker.elect_leader(TOPIC, 0)
        w.worker()
        w.emit("a", "b")
        w.window()
        last = committed_last(w)
        assert last is not None
        assert (last.offset, last.epoch) == (1, 1)
        assert last.time_ms == w.broker.messages(TOPIC)[1].timestamp()[1]
        w.broker.append_gap(TOPIC, 0, 3)
        w.window()
        assert (w.committed(), committed_last(w)) == (5, last), "a gap is no event"


@pytest.mark.parametrize("guarantee", ["at-least-once", "exactly-once"])
def test_a_log_that_grew_again_stops_the_next_owner_before_it_counts(
    guarantee: str, caplog: pytest.LogCaptureFixture
) -> None:
    with world() as w:
        settings: dict[str, Any] = {"processing_guarantee": guarantee}
        w.worker(**settings)
        w.emit("a", "b", "c", "d")
        w.window()
        w.members[0].kill()
        replace_tail(w, 1, "x", "x", "x", "x", "x")
        w.worker(**settings)
        w.window()
        w.window()
        assert w.counts() == {"a": 1, "b": 1, "c": 1, "d": 1}
        assert w.committed() == 4
        stopped = logged(caplog, "partition stopped")
        assert len(stopped) == 1
        flags = ""
        if guarantee == "exactly-once":
            flags = " --processing-guarantee exactly-once --table hits"
        assert stopped[0]["cause"] == (
            f"{TOPIC}:0 lost events that were read (leader epoch 0): its log was cut at offset 1 "
            "by an unclean leader election or a power failure; 3 events at the offsets 1 to 3 are "
            "in doubt: what is there now is not counted; to count it: stop the group, then "
            f"`dynatomic offsets -g {GROUP} -t {TOPIC} --partition 0{flags} --execute`"
        )


def test_a_log_that_grew_again_under_a_running_consumer_stops_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with world() as w:
        member = w.worker()
        w.emit("a", "b", "c")
        w.window()
        w.emit("d")
        w.turn(2)
        replace_tail(w, 2, "x", "x", "x")
        w.window()
        w.window()
        assert w.counts() == {"a": 1, "b": 1, "c": 1, "d": 1}, "what was read is counted"
        assert w.committed() == 4
        causes = [line["cause"] for line in logged(caplog, "partition stopped")]
        assert [("its log was cut at offset 2" in cause) for cause in causes] == [True]
        assert member.worker.shut_down()


def test_a_leader_that_has_everything_changes_nothing() -> None:
    with world() as w:
        w.worker()
        w.emit("a", "b")
        w.window()
        w.broker.elect_leader(TOPIC, 0)
        w.emit("c")
        w.window()
        w.members[0].kill()
        w.broker.elect_leader(TOPIC, 0)
        w.worker()
        w.emit("d")
        w.window()
        assert w.counts() == {"a": 1, "b": 1, "c": 1, "d": 1}
        assert w.committed() == 4


def test_offsets_without_events_of_a_later_leader_are_no_loss() -> None:
    with world() as w:
        w.worker()
        w.emit("a")
        w.window()
        w.broker.elect_leader(TOPIC, 0)
        w.broker.append_gap(TOPIC, 0, 2)
        w.window()
        assert w.committed() == 3
        w.members[0].kill()
        w.worker()
        w.emit("b")
        w.window()
        assert w.counts() == {"a": 1, "b": 1}


def test_retention_up_to_the_committed_offset_is_no_loss() -> None:
    with world() as w:
        w.worker()
        w.emit("a")
        w.broker.append_gap(TOPIC, 0, 3)
        w.window()
        w.window()
        assert w.committed() == 4
        w.members[0].kill()
        w.broker.delete_before(TOPIC, 0, 4)
        w.worker()
        w.emit("b")
        w.until(lambda: w.committed() == 5, step_s=0.5)
        assert w.counts() == {"a": 1, "b": 1}


def test_an_offset_that_was_set_back_with_its_metadata_begins_there() -> None:
    with world() as w:
        w.worker()
        w.emit("a", "b", "c")
        w.window()
        w.members[0].kill()
        w.broker.group(GROUP).offsets[TOPIC, 0] = 1
        w.worker()
        w.window()
        assert w.counts() == {"a": 1, "b": 2, "c": 2}


def test_a_commit_without_a_leader_epoch_is_believed() -> None:
    with world() as w:
        w.emit("a", "b")
        group = w.broker.group(GROUP)
        group.offsets[TOPIC, 0] = 1
        about = CommitMetadata(w.broker.topic_ids[TOPIC], LastEvent(0))
        group.metadata[TOPIC, 0] = about.encode()
        w.emitted = {(0, 1): Row("hits", "b")}
        w.worker()
        w.window()
        assert w.counts() == {"b": 1}


def test_a_log_that_grew_to_the_committed_offset_is_not_taken_for_counted() -> None:
    with world() as w:
        w.worker()
        w.emit("a", "b", "c", "d")
        w.window()
        w.members[0].kill()
        replace_tail(w, 1, "x", "x", "x")
        member = w.worker()
        for _ in range(6):
            w.turn()
            partition = member.worker.partitions.get(0)
            assert partition is None or not partition.is_committed_to(4), "run --once would end"
        assert member.worker.partitions[0].stop_reason is not None
