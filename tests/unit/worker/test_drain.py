"""When ``run --once`` ends: the topic is committed up to the end offsets of the start."""

from dynatomic.kafka.client import Watermarks
from dynatomic.service.exit_conditions import DrainCondition
from tests.support.clients import GROUP, TOPIC
from tests.support.harness import World, world


def ends_of(w: World) -> dict[int, Watermarks]:
    return {n: Watermarks(log.low, log.high) for n, log in enumerate(w.broker.logs[TOPIC])}


def test_a_drain_ends_though_events_keep_coming() -> None:
    with world() as w:
        member = w.worker()
        w.emit("a", "b")
        drain = DrainCondition(member.worker, member.worker.settings, ends_of(w), w.clock)
        for _ in range(200):
            w.emit("c")
            w.turn()
            if drain.done():
                break
            w.advance(0.05)
        assert drain.done()
        committed = w.committed()
        assert committed is not None
        assert 2 <= committed < w.broker.logs[TOPIC][0].high


def test_at_the_end_of_a_drain_the_window_is_closed_at_once() -> None:
    with world() as w:
        member = w.worker(window_ms=60_000)
        w.emit("a", "b")
        member.worker.drain_to = {0: 2}
        w.turn(6)
        assert w.committed() == 2
        w.emit("c")
        w.turn(6)
        assert w.committed() == 2, "windows after the end take their time"


def test_a_stopped_partition_does_not_keep_the_others_from_being_drained() -> None:
    with world(2) as w:
        w.emit("a", partition=0)
        w.emit("b", partition=1)
        group = w.broker.group(GROUP)
        group.offsets[TOPIC, 0], group.metadata[TOPIC, 0] = 1, "8" * 32
        member = w.worker()
        drain = DrainCondition(member.worker, member.worker.settings, ends_of(w), w.clock)
        assert not drain.done()
        w.until(drain.done, step_s=1)
        assert list(drain.blocked) == [0]
        assert w.broker.committed(GROUP, TOPIC, 1) == 1
        assert w.counts() == {"b": 1}
        member.worker.abandon(drain.blocked)
        assert member.worker.shut_down()


def test_a_drain_is_not_done_before_an_offset_beyond_the_end_is_noticed() -> None:
    with world() as w:
        w.emit("a", "b")
        w.broker.group(GROUP).offsets[TOPIC, 0] = 9
        member = w.worker()
        drain = DrainCondition(member.worker, member.worker.settings, ends_of(w), w.clock)
        w.until(drain.done, step_s=1)
        assert "no longer has the committed offset 9" in str(drain.error)
