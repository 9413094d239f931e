"""Changes to what is read, and to what is recorded of the events that were read."""

from typing import Any

import pytest

from dynatomic.config.settings import Settings
from dynatomic.kafka import client
from dynatomic.worker import settlement
from dynatomic.worker.event_counts import EventCounts
from dynatomic.worker.health import ProgressMonitor
from dynatomic.worker.in_flight import InFlightWindow
from dynatomic.worker.offsets import Offsets
from dynatomic.worker.partition import Partition
from tests.support import harness
from tests.support.mutation_registry import AT_LEAST_ONCE, EXACTLY_ONCE, found_by, found_by_model


@found_by_model(EXACTLY_ONCE)
def reads_events_of_transactions_that_are_aborted(patch: pytest.MonkeyPatch) -> None:
    config = client.consumer_config

    def uncommitted(settings: Settings, *, eof: bool) -> dict[str, Any]:
        return config(settings, eof=eof) | {"isolation.level": "read_uncommitted"}

    patch.setattr(harness, "consumer_config", uncommitted)


@found_by_model(AT_LEAST_ONCE, EXACTLY_ONCE)
def starts_at_the_end_where_the_offsets_have_expired(patch: pytest.MonkeyPatch) -> None:
    made = Offsets.__init__

    def latest(self: Offsets, *args: Any, **named: Any) -> None:
        made(self, *args, **(named | {"reset": "latest"}))

    patch.setattr(Offsets, "__init__", latest)


@found_by_model(EXACTLY_ONCE)
def records_no_event_that_a_fence_kept_out(patch: pytest.MonkeyPatch) -> None:
    count = settlement._count_outcomes

    def without(counts: EventCounts, done: InFlightWindow) -> None:
        before = counts.suppressed
        count(counts, done)
        counts.suppressed = before

    patch.setattr(settlement, "_count_outcomes", without)


@found_by_model(AT_LEAST_ONCE, EXACTLY_ONCE)
def records_no_event_that_is_abandoned(patch: pytest.MonkeyPatch) -> None:
    abandon = Partition.abandon

    def without(self: Partition) -> list[InFlightWindow]:
        before = self.counts.abandoned
        windows = abandon(self)
        self.counts.abandoned = before
        return windows

    patch.setattr(Partition, "abandon", without)


@found_by_model(AT_LEAST_ONCE, EXACTLY_ONCE)
def takes_a_part_of_a_slice_for_the_whole(patch: pytest.MonkeyPatch) -> None:
    end_reread = InFlightWindow.end_reread
    patch.setattr(InFlightWindow, "end_reread", lambda window, _unread: end_reread(window, ()))


@found_by("test_promise_10_a_spare_is_logged_once_and_a_member_without_an_answer_is_a_stall")
def takes_a_member_without_an_answer_for_a_spare(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(
        ProgressMonitor, "has_joined", property(lambda _: True, lambda *_: None), raising=False
    )
