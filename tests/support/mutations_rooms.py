"""Changes to the rules of other rooms than the worker, each found by a test of its room."""

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import pytest

from dynatomic.events.payload import PayloadReader
from dynatomic.events.row import KeySchema
from dynatomic.service import prometheus, server, status
from dynatomic.service.exit_conditions import DrainCondition
from dynatomic.verify import comparison
from dynatomic.verify.comparison import Comparison
from dynatomic.worker import settlement, waits
from dynatomic.worker.event_counts import EventCounts
from dynatomic.worker.in_flight import InFlightWindow
from dynatomic.worker.partition import Partition
from dynatomic.worker.waits import WaitMonitor
from tests.support.mutation_registry import Mutation

ROOMS: Final[list[tuple[str, Mutation]]] = []
"""The test, as a path below tests/unit with ``::`` and its name, and what it must find."""


def found_in(*tests: str) -> Callable[[Mutation], Mutation]:
    """Add a mutation that each of these tests must find."""

    def add(mutation: Mutation) -> Mutation:
        ROOMS.extend((test, mutation) for test in tests)
        return mutation

    return add


# What became of the events that were read.


@found_in(
    "service/test_conservation.py::test_counted_events_and_dead_letters_are_all_that_was_read",
)
def takes_dead_letters_for_counted_events(patch: pytest.MonkeyPatch) -> None:
    def stored(self: InFlightWindow) -> None:
        self.letters_pending -= 1

    patch.setattr(InFlightWindow, "letter_stored", stored)


@found_in(
    "service/test_conservation.py::test_events_that_a_fence_kept_out_are_told_from_counted_ones",
)
def takes_what_a_fence_kept_out_for_counted(patch: pytest.MonkeyPatch) -> None:
    def outcomes(counts: EventCounts, done: InFlightWindow) -> None:
        counts.dead_letters += done.letters_stored
        counts.counted += len(done.window) - done.letters_stored

    patch.setattr(settlement, "_count_outcomes", outcomes)


@found_in("service/test_conservation.py::test_a_sum_that_is_never_written_is_seen")
def takes_counters_without_an_answer_for_finished(patch: pytest.MonkeyPatch) -> None:
    def outcomes(counts: EventCounts, done: InFlightWindow) -> None:
        suppressed = done.write.suppressed_events if done.write is not None else 0
        counts.suppressed += suppressed
        counts.dead_letters += done.letters_stored
        counts.counted += len(done.window) - suppressed - done.letters_stored

    patch.setattr(settlement, "_count_outcomes", outcomes)


# Which counters an event may name.


@found_in("events/test_writer_schema_forms.py::test_a_counter_may_not_be_the_ttl_attribute")
def lets_events_name_the_ttl_attribute(patch: pytest.MonkeyPatch) -> None:
    _change_tables(patch, lambda keys: replace(keys, ttl_name=None))


@found_in(
    "events/test_writer_schema_forms.py::test_a_counter_may_not_have_the_name_of_an_index_key"
)
def lets_events_name_a_key_of_an_index(patch: pytest.MonkeyPatch) -> None:
    _change_tables(patch, lambda keys: replace(keys, index_names=frozenset()))


@found_in(
    "events/test_writer_schema_forms.py::test_with_a_list_of_counters_a_row_may_name_these_and_the_default_only"
)
def lets_events_name_counters_that_are_not_on_the_list(patch: pytest.MonkeyPatch) -> None:
    made = PayloadReader.__init__

    def without(self: PayloadReader, *args: Any, **named: Any) -> None:
        made(self, *args, **(named | {"allowed_counters": ()}))

    patch.setattr(PayloadReader, "__init__", without)


def _change_tables(patch: pytest.MonkeyPatch, change: Callable[[KeySchema], KeySchema]) -> None:
    made = PayloadReader.__init__

    def changed(self: PayloadReader, tables: Any, **named: Any) -> None:
        made(self, {name: change(keys) for name, keys in tables.items()}, **named)

    patch.setattr(PayloadReader, "__init__", changed)


# Verify while consumers run.


@found_in(
    "verify/test_counted_meanwhile.py::test_a_table_that_is_counted_meanwhile_is_ok_at_any_moment"
)
def reads_the_letters_before_the_committed_offsets(patch: pytest.MonkeyPatch) -> None:
    run = Comparison.run

    def early(self: Comparison) -> Any:
        self._refresh_letters()
        patch.setattr(self, "_refresh_letters", lambda: None)
        return run(self)

    patch.setattr(Comparison, "run", early)


@found_in(
    "verify/test_counted_meanwhile.py::test_a_table_that_is_counted_meanwhile_is_ok_at_any_moment"
)
def reads_no_letters_after_the_tables(patch: pytest.MonkeyPatch) -> None:
    refresh, seen = Comparison._refresh_letters, set[int]()

    def once(self: Comparison) -> None:
        if id(self) not in seen:
            seen.add(id(self))
            refresh(self)

    patch.setattr(Comparison, "_refresh_letters", once)


@found_in(
    "verify/test_counted_meanwhile.py::test_a_table_that_is_counted_meanwhile_is_ok_at_any_moment"
)
def compares_counters_whose_events_are_not_committed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(comparison, "BASE", -(10**9))


# The end of `run --once`.


@found_in("worker/test_drain.py::test_a_drain_ends_though_events_keep_coming")
def drains_until_nothing_is_held(patch: pytest.MonkeyPatch) -> None:
    def idle(self: DrainCondition) -> bool:
        partitions = self._worker.partitions.values()
        return bool(partitions) and not any(p.is_waiting or not p.is_empty for p in partitions)

    patch.setattr(DrainCondition, "done", idle)


@found_in("worker/test_drain.py::test_at_the_end_of_a_drain_the_window_is_closed_at_once")
def waits_for_the_time_of_the_last_window(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Partition, "reaches", lambda _self, _end: False)


@found_in(
    "worker/test_drain.py::test_a_stopped_partition_does_not_keep_the_others_from_being_drained",
)
def waits_for_partitions_that_cannot_go_on(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("dynatomic.service.exit_conditions._blocking_error", lambda _partition: None)


# The endpoint.


@found_in("service/test_disclosure.py::test_metrics_answer_any_accept_header")
def passes_any_accept_header_to_the_library(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(prometheus, "_known_formats", lambda accept: accept)


@found_in(
    "service/test_disclosure.py::test_a_foreign_name_that_resolves_to_the_loopback_gets_nothing",
    "service/test_disclosure.py::test_a_second_host_header_does_not_hide_the_first",
)
def answers_to_any_host_header(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(server._Server, "answers_to", lambda _self, _hosts: True)


@found_in("service/test_disclosure.py::test_the_names_of_the_loopback_are_answered")
def answers_to_no_host_header(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(server._Server, "answers_to", lambda _self, _hosts: False)


@found_in("service/test_disclosure.py::test_no_response_names_the_role_of_the_caller")
def shows_the_role_of_the_caller(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(status, "_ARN", re.compile("(?!)"))


# What a consumer waits for.


@found_in(
    "service/test_waiting.py::test_a_table_with_a_problem_is_reported_within_seconds_and_so_is_its_end"
)
def tells_nothing_before_the_probes_fail(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(WaitMonitor, "update", lambda *_: None)


@found_in("service/test_waiting.py::test_brokers_that_do_not_answer_are_told_within_seconds")
def stays_ready_for_a_minute_without_a_broker(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(status, "NOT_READY_AFTER_S", 60.0)


@found_in("service/test_waiting.py::test_a_wait_that_comes_and_goes_is_one_wait")
def ends_a_wait_at_the_first_moment_without_it(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(waits, "ENDED_AFTER_S", 0.0)
