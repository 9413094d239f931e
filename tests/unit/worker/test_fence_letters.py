"""The fence of a window waits for the dead letters of the window: it hides their events."""

import pytest

from dynatomic.worker.causes import Cause
from tests.support.fences import once
from tests.support.harness import world
from tests.support.health_checks import AFTER_S, status_of

OUT_OF_BOUNDS = 5_000


def test_promise_3_an_event_rejected_while_decoding_is_not_lost_when_a_setting_is_corrected() -> (
    None
):
    with world() as w:
        w.letters_held = True
        first = once(w, max_incr=1_000)
        w.emit("a", incr=1)
        w.emit("a", incr=OUT_OF_BOUNDS)
        w.emit("a", incr=2)
        w.window()
        assert w.dynamodb.items("hits") == [], "the fence hides an event that is not stored"
        first.kill()
        w.letters_held = False
        once(w)
        w.until(w.all_committed, step_s=1.0)
        stored = (0, 1) in w.letters()
        assert w.counts()["a"] + OUT_OF_BOUNDS * stored == OUT_OF_BOUNDS + 3


def test_a_window_is_written_when_its_dead_letters_are_stored() -> None:
    with world() as w:
        w.letters_held = True
        once(w, max_incr=1_000)
        w.emit("a", incr=1)
        w.emit("a", incr=OUT_OF_BOUNDS)
        w.window()
        assert w.sent == []
        w.letters_held = False
        w.until(w.all_committed, step_s=1.0)
        assert w.counts() == {"a": 1}
        assert list(w.letters()) == [(0, 1)]
        assert len(w.sent) > 0


def test_without_fences_a_window_does_not_wait_for_its_dead_letters() -> None:
    with world() as w:
        w.letters_held = True
        w.worker(max_incr=1_000)
        w.emit("a", incr=1)
        w.emit("a", incr=OUT_OF_BOUNDS)
        w.window()
        assert w.counts() == {"a": 1}
        assert w.committed() is None


@pytest.mark.parametrize("held", ["deliveries_held", "letters_held"])
def test_promise_10_a_window_that_waits_for_dead_letters_names_their_topic(held: str) -> None:
    with world() as w:
        setattr(w, held, True)
        member = once(w, max_incr=1_000)
        w.emit("a", incr=1)
        w.emit("a", incr=OUT_OF_BOUNDS)
        w.window()
        w.advance(AFTER_S + 10)
        w.turn()
        (stall,) = status_of(member).stalls()
        assert stall.cause is Cause.DEAD_LETTERS_DOWN
