"""Changes to how events of a counters file are taken in, refused and replayed."""

from collections.abc import Iterator
from typing import Any

import pytest

from dynatomic.dynamodb.write import WindowWrite
from dynatomic.dynamodb.writer import Writer
from dynatomic.events.window import Window
from dynatomic.kafka import counters_reader
from dynatomic.kafka.counters_reader import CountersReader
from dynatomic.worker import intake, rejected
from dynatomic.worker.in_flight import InFlightWindow
from tests.support.mutation_registry import found_by


@found_by("test_an_event_adds_to_all_counters_that_take_it")
def counts_an_event_by_its_first_counter_only(patch: pytest.MonkeyPatch) -> None:
    read = CountersReader.read

    def first(self: CountersReader, messages: Any) -> Any:
        decoded = read(self, messages)
        units, multipliers, position = [], [], 0
        for count in decoded.counts or []:
            units += decoded.unit_increments[position : position + min(count, 1)]
            multipliers += (decoded.multipliers or [])[position : position + min(count, 1)]
            position += count
        counts = [min(count, 1) for count in decoded.counts or []]
        return decoded._replace(unit_increments=units, multipliers=multipliers, counts=counts)

    patch.setattr(CountersReader, "read", first)


@found_by("test_an_event_adds_to_all_counters_that_take_it")
def takes_an_event_of_no_counter_for_counted(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Window, "pass_over", lambda self, first, last, **_: self._cover(first, last))


@found_by("test_only_the_refused_counters_of_an_event_are_replayed")
def does_not_name_the_refused_counters(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(CountersReader, "refused_counters", lambda *_: None)


@found_by("test_only_the_refused_counters_of_an_event_are_replayed")
def does_not_honour_the_refused_counters(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(counters_reader, "counters_of_replay", lambda _: None)


@found_by("test_only_the_refused_counters_of_an_event_are_replayed")
def counts_a_replay_at_its_own_time(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(counters_reader, "original_timestamp_ms", lambda _, timestamp_ms: timestamp_ms)


@found_by("test_counters_refused_together_have_one_letter")
def stores_a_letter_for_each_refused_counter(patch: pytest.MonkeyPatch) -> None:
    def alone(increments: Any) -> Iterator[Any]:
        for offset, ref, incr in increments:
            yield offset, [(ref, incr)]

    patch.setattr(rejected, "_by_event", alone)


@found_by("test_counters_refused_one_after_the_other_have_a_letter_each")
def counts_the_second_letter_of_an_event_too(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(InFlightWindow, "letter_of_rejected", lambda *_: True)


@found_by("test_events_that_all_items_had_are_suppressed_and_others_are_counted")
def takes_an_event_that_one_item_had_for_suppressed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(
        WindowWrite, "suppressed_events", property(lambda self: self.suppressed_increments)
    )


@found_by("test_a_bucket_expires_and_takes_no_event_after_that")
def revives_an_item_that_has_expired(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(counters_reader, "_may_expire", lambda _: False)


@found_by("test_a_bucket_expires_and_takes_no_event_after_that")
def leaves_the_time_to_live_out(patch: pytest.MonkeyPatch) -> None:
    submit = Writer.submit

    def without(self: Writer, window: Window, *args: Any) -> WindowWrite:
        window.expires_s.clear()
        return submit(self, window, *args)

    patch.setattr(Writer, "submit", without)


@found_by("test_a_partition_waits_for_a_schema_and_the_others_go_on")
def takes_an_event_without_its_schema_for_unmatched(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(intake, "_first_unavailable", lambda *_: None)


@found_by("test_a_new_attribute_of_old_items_is_refused_when_it_is_to_be_filled")
def does_not_see_that_an_item_hides_a_counter(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(WindowWrite, "record_hidden", lambda *_: None)
