"""New offsets where a log lost events, or where the topic is a copy: offsets and fences."""

from typing import Any

import pytest

from dynatomic.dynamodb.fence_changes import FenceChanges, change_fences
from dynatomic.errors import ConfigError, DynatomicError
from dynatomic.events.row import KeySchema
from dynatomic.kafka.commit_metadata import CommitMetadata, LastEvent, parse
from dynatomic.operations.offset_plan import Target
from dynatomic.operations.reset_offsets import ResetOptions
from dynatomic.testing.dynamodb.client import FakeDynamoDB
from tests.support.lag_world import GROUP, OTHER, TOPIC
from tests.support.reset_scene import EXECUTE, Scene

PLAN = ResetOptions()
ADOPT = ResetOptions(adopt=OTHER)
ADOPTED = ResetOptions(adopt=OTHER, execute=True)


class Lab(Scene):
    """The scene, and a table with an item for each fence, by the offset that it has."""

    def __init__(self, guarantee: Any = "exactly-once", partitions: int = 1) -> None:
        super().__init__(partitions, processing_guarantee=guarantee, tables=("hits",))
        self.dynamodb = FakeDynamoDB()
        self.dynamodb.create_table(
            TableName="hits",
            KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
        )

    def change_table(self, table: str, changes: FenceChanges) -> tuple[int, int]:
        client: Any = self.dynamodb
        return change_fences(client, table, KeySchema("pk", "S"), changes)

    def fenced(self, topic_id: str, *offsets: int, partition: int = 0) -> None:
        for offset in offsets:
            name = f"fence_{topic_id[:8]}_{partition}"
            item = {"pk": {"S": str(offset)}, name: {"N": str(offset)}}
            self.dynamodb.put_item(TableName="hits", Item=item)

    def fences(self, topic_id: str, partition: int = 0) -> list[int]:
        name = f"fence_{topic_id[:8]}_{partition}"
        return [int(i[name]["N"]) for i in self.dynamodb.items("hits") if name in i]

    def counted(self, topic_id: str, offset: int, partition: int = 0) -> None:
        """Commit as a consumer that counted all events below an offset."""
        message = self.broker.messages(TOPIC)[10 * partition + offset - 1]
        last = LastEvent(offset - 1, message.leader_epoch(), message.timestamp()[1])
        self.commit(offset, partition, CommitMetadata(topic_id, last).encode())

    def cut(self, end: int, grown: int) -> None:
        self.broker.elect_leader(TOPIC, 0, end)
        self.emit(grown)


def test_a_log_that_grew_again_is_counted_from_where_it_was_cut() -> None:
    lab = Lab()
    lab.counted(lab.id, 9)
    lab.fenced(lab.id, 2, 5, 6, 8)
    lab.fenced(OTHER, 30)
    lab.cut(6, 7)
    said = lab.run(PLAN)
    assert said.splitlines()[1].split(maxsplit=3)[:3] == ["0", "9", "6"]
    assert "reads up to 7 events  the log was cut at 6 and grew again" in said
    assert "up to 3 events that were counted are not in the topic any more" in said
    assert (
        "hits: fences at or above 0:6 hide events that are not counted: --execute lowers them"
        in said
    )
    assert said.endswith("nothing was changed: add --execute")
    assert lab.fences(lab.id) == [2, 5, 6, 8]
    assert lab.stored()[0] == 9
    said = lab.run(EXECUTE)
    assert "table hits: 5 items read, the fences of 2 changed" in said
    assert lab.fences(lab.id) == [2, 5, 5, 5]
    assert lab.fences(OTHER) == [30]
    assert lab.stored() == (6, lab.id)
    assert "nothing to change" in lab.run(EXECUTE)


def test_at_least_once_has_no_fences_to_change() -> None:
    lab = Lab("at-least-once")
    lab.counted(lab.id, 9)
    lab.fenced(lab.id, 8)
    lab.cut(6, 7)
    said = lab.run(EXECUTE)
    assert "fence" not in said
    assert lab.fences(lab.id) == [8]
    assert lab.stored() == (6, lab.id)


def test_a_log_that_did_not_grow_is_counted_from_its_end() -> None:
    lab = Lab()
    lab.counted(lab.id, 9)
    lab.fenced(lab.id, 8)
    lab.cut(6, 0)
    assert "the log was cut at 6" in lab.run(EXECUTE)
    assert (lab.stored(), lab.fences(lab.id)) == ((6, lab.id), [5])


def test_a_log_that_was_cut_needs_the_tables_with_exactly_once() -> None:
    lab = Lab()
    lab.counted(lab.id, 9)
    lab.cut(6, 7)
    lab.settings = type(lab.settings)(
        topic=TOPIC, group_id=GROUP, processing_guarantee="exactly-once"
    )
    with pytest.raises(ConfigError, match="--table"):
        lab.run(PLAN)


def test_another_offset_that_a_person_chooses_changes_the_fences_too() -> None:
    lab = Lab()
    lab.counted(lab.id, 9)
    lab.fenced(lab.id, 8)
    lab.cut(6, 7)
    said = lab.run(ResetOptions(Target(offset=9), execute=True))
    assert "skips up to 3 events" in said
    assert (lab.stored(), lab.fences(lab.id)) == ((9, lab.id), [5])


def test_a_new_leader_without_a_loss_changes_nothing() -> None:
    lab = Lab()
    lab.counted(lab.id, 9)
    lab.cut(10, 3)
    assert "nothing to change" in lab.run(EXECUTE)
    assert parse(lab.broker.group(GROUP).metadata[TOPIC, 0]).last is not None


def test_a_copy_with_the_same_offsets_is_adopted() -> None:
    lab = Lab(partitions=2)
    lab.counted(OTHER, 6)
    lab.counted(OTHER, 4, partition=1)
    lab.fenced(OTHER, 3, 5)
    lab.fenced(OTHER, 7, partition=1)
    said = lab.run(PLAN)
    assert f"with the same offsets (Cluster Linking) use --adopt {OTHER}" in said
    assert "MirrorMaker" in said
    assert "up to 10 events count twice from its beginning" in said
    assert "and up to 4 from the committed offset 6" in said
    assert (
        f"has the time of the last counted one: a copy with the same offsets: use --adopt {OTHER}"
        in said
    )
    with pytest.raises(DynatomicError, match="use --adopt"):
        lab.run(EXECUTE)
    assert lab.stored() == (6, OTHER)
    said = lab.run(ADOPT)
    assert "skips no event" in said
    assert "MirrorMaker" not in said
    assert f"hits: --execute copies the fences of the topic with the id {OTHER}" in said
    assert lab.fences(lab.id) == []
    said = lab.run(ADOPTED)
    assert "table hits: 3 items read, the fences of 3 changed" in said
    assert lab.fences(lab.id) == lab.fences(OTHER) == [3, 5]
    assert lab.fences(lab.id, 1) == lab.fences(OTHER, 1) == [7]
    assert (lab.stored(), lab.stored(1)) == ((6, lab.id), (4, lab.id))
    assert "nothing to change" in lab.run(ADOPTED)


def test_at_least_once_adopts_the_offsets_alone() -> None:
    lab = Lab("at-least-once")
    lab.counted(OTHER, 6)
    lab.fenced(OTHER, 5)
    lab.run(ADOPTED)
    assert (lab.stored(), lab.fences(lab.id)) == ((6, lab.id), [])


def test_translated_offsets_are_not_adopted() -> None:
    lab = Lab()
    time_ms = lab.broker.messages(TOPIC)[-1].timestamp()[1] + 1  # of another event
    lab.commit(6, 0, CommitMetadata(OTHER, LastEvent(7, 0, time_ms)).encode())
    lab.fenced(OTHER, 5)
    said = lab.run(PLAN)
    assert "the event at offset 7 is not the last counted one" in said
    assert "it has events from before the last counted one, so it is a copy" in said
    with pytest.raises(DynatomicError, match="so it is a copy: see docs"):
        lab.run(EXECUTE)
    said = lab.run(ADOPT)
    assert "cannot be adopted" in said
    assert "fences" not in said
    with pytest.raises(DynatomicError, match=r"cannot be adopted: see docs/how-to/move-a-topic.md"):
        lab.run(ADOPTED)
    assert (lab.stored(), lab.fences(lab.id)) == ((6, OTHER), [])


def test_a_topic_that_was_made_again_has_only_newer_events() -> None:
    lab = Lab()
    lab.commit(6, 0, CommitMetadata(OTHER, LastEvent(7, 0, 1)).encode())
    lab.fenced(OTHER, 5)
    said = lab.run(EXECUTE)
    assert "reads up to 10 events" in said
    assert (lab.stored(), lab.fences(lab.id)) == ((0, lab.id), [])


def test_without_a_committed_offset_the_fences_tell_what_was_counted() -> None:
    lab = Lab()
    lab.fenced(OTHER, 5)
    assert "the fences show what was counted" in lab.run(ADOPTED)
    assert (lab.stored(), lab.fences(lab.id)) == ((0, lab.id), [5])
    lab = Lab("at-least-once")
    assert "choose with --to-offset" in lab.run(ADOPTED)
    assert lab.stored() == (None, "")


@pytest.mark.parametrize(
    ("offset", "topic_id", "part"),
    [(12, OTHER, "beyond the end of the copy, 10"), (4, "c" * 32, "not the one of --adopt")],
)
def test_what_is_no_copy_yet_is_not_adopted(offset: int, topic_id: str, part: str) -> None:
    lab = Lab()
    lab.commit(offset, 0, topic_id)
    with pytest.raises(DynatomicError, match=part):
        lab.run(ADOPTED)
    assert lab.stored() == (offset, topic_id)


def test_a_copy_that_lost_older_events_begins_where_it_begins() -> None:
    lab = Lab()
    lab.commit(4, 0, OTHER)
    lab.broker.delete_before(TOPIC, 0, 7)
    assert "retention removed offsets 4 to 6" in lab.run(ADOPTED)
    assert lab.stored() == (7, lab.id)


def test_the_id_to_adopt_is_checked() -> None:
    lab = Lab()
    with pytest.raises(ConfigError, match="no topic id"):
        lab.run(ResetOptions(adopt="6f3c09d2"))
    with pytest.raises(ConfigError, match="the id of this topic"):
        lab.run(ResetOptions(adopt=lab.id))
