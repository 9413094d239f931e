"""Metrics: each is listed once, exposed with its labels, and counts what happened."""

import json
import re

import pytest
from prometheus_client.parser import text_string_to_metric_families

from dynatomic.events.row import Row
from dynatomic.events.schema import encode
from dynatomic.service.prometheus import Metrics
from dynatomic.telemetry import metrics as telemetry
from dynatomic.telemetry.durations import Durations
from dynatomic.telemetry.metrics import METRICS, Metric, MetricKind
from tests.support.harness import world
from tests.support.member import Member


def exposed(member: Member) -> dict[str, list[tuple[str, dict[str, str], float]]]:
    """Return the samples by metric, as Prometheus reads them."""
    metrics = Metrics("1.2.3", "exactly-once", "events", "group")
    metrics.status = member.status
    page, content_type = metrics.page("")
    assert content_type.startswith("text/plain")
    found: dict[str, list[tuple[str, dict[str, str], float]]] = {}
    everywhere = {"topic": "events", "group": "group"}
    for family in text_string_to_metric_families(page.decode()):
        name = f"{family.name}_total" if family.type == "counter" else family.name
        if name.startswith("dynatomic_"):
            assert all(everywhere.items() <= s.labels.items() for s in family.samples)
        found[name] = [
            (s.name, {n: v for n, v in s.labels.items() if n not in everywhere}, s.value)
            for s in family.samples
        ]
    return found


def numbers(member: Member) -> set[str]:
    return {labels["partition"] for _, labels, _ in exposed(member)["dynatomic_lag_events"]}


def value(member: Member, name: str, **labels: str) -> float:
    (found,) = [v for n, have, v in exposed(member)[name] if have == labels and n == name]
    return found


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_a_name_is_as_prometheus_wants_it(metric: Metric) -> None:
    assert re.fullmatch(r"dynatomic_[a-z0-9_]+", metric.name)
    assert metric.name.endswith("_total") == (metric.kind is MetricKind.COUNTER)
    assert not re.search(r"_(ms|milliseconds|minutes|kb|percent)(_|$)", metric.name)
    assert (metric.unit == "seconds") == ("_seconds" in metric.name)
    assert metric.help.endswith(".")


def test_every_metric_of_the_module_is_in_the_list_once() -> None:
    made = [each for each in vars(telemetry).values() if isinstance(each, Metric)]
    assert sorted(m.name for m in made) == sorted(m.name for m in METRICS)
    assert len({m.name for m in METRICS}) == len(METRICS)


def test_exactly_the_listed_metrics_are_exposed_with_their_labels() -> None:
    with world(2) as w:
        member = w.worker()
        w.emit("a")
        w.put(b"bad")
        w.window()
        found = exposed(member)
        ours = {name: samples for name, samples in found.items() if name.startswith("dynatomic_")}
        assert set(ours) == {metric.name for metric in METRICS}
        for metric in METRICS:
            labels = {frozenset(has) - {"le"} for _, has, _ in ours[metric.name]}
            assert labels == {frozenset(metric.labels)}, metric.name
        assert "process_cpu_seconds_total" in found


def test_the_metrics_count_what_happened() -> None:
    with world(2) as w:
        member = w.worker(processing_guarantee="exactly-once")
        w.emit("a", "a", "a", "b", partition=0)
        w.put(b"bad", partition=1)
        w.put(b"", partition=1)
        w.window()
        assert value(member, "dynatomic_events_total") == 6
        assert value(member, "dynatomic_windows_total") == 2
        assert value(member, "dynatomic_window_events_total") == 6
        assert value(member, "dynatomic_window_counters_total") == 2
        assert value(member, "dynatomic_payloads_decoded_total") == 4, "each payload once"
        assert value(member, "dynatomic_dead_letters_total", reason="undecodable") == 1
        assert value(member, "dynatomic_dead_letters_total", reason="empty-payload") == 1
        assert value(member, "dynatomic_commits_total", outcome="ok") >= 1
        assert value(member, "dynatomic_commits_total", outcome="failed") == 0
        assert value(member, "dynatomic_last_commit_timestamp_seconds") > 0
        assert value(member, "dynatomic_assigned_partitions") == 2
        assert value(member, "dynatomic_rebalances_total", event="assigned") == 1
        assert value(member, "dynatomic_dynamodb_requests_total", table="hits", outcome="ok") == 2
        # Two updates of items that are not there, and two inserts.
        assert value(member, "dynatomic_dynamodb_write_units_total", table="hits") == 4
        counts = {
            have["phase"]: v
            for n, have, v in exposed(member)["dynatomic_phase_duration_seconds"]
            if n.endswith("_count")
        }
        assert counts["write"] == 2
        assert all(counts.values())


def test_what_fences_keep_out_is_counted() -> None:
    with world() as w:
        first = w.worker(processing_guarantee="exactly-once")
        w.emit("a", "a", "b")
        w.broker.faults.fail_commits(1, 100)
        w.window()
        first.kill()
        w.broker.faults.commits.clear()
        second = w.worker(processing_guarantee="exactly-once")
        w.until(w.all_committed, step_s=1)
        assert value(second, "dynatomic_fence_suppressed_events_total") == 3
        assert w.counts() == {"a": 2, "b": 1}


@pytest.mark.parametrize(
    ("code", "outcome", "throttles"),
    [
        ("ThrottlingException", "throttled", 2),
        ("ProvisionedThroughputExceededException", "throttled", 2),
        ("AccessDeniedException", "refused", 0),
        ("InternalServerError", "failed", 0),
        ("TransactionConflictException", "failed", 0),
    ],
)
def test_requests_are_counted_by_outcome(code: str, outcome: str, throttles: int) -> None:
    from tests.support.refusals import failing  # noqa: PLC0415 - its parametrized tests are not ours

    with world() as w:
        member = w.worker()
        w.refuse = failing(code)
        w.emit("a", "b")
        w.window()
        named = {"table": "hits", "outcome": outcome}
        assert value(member, "dynatomic_dynamodb_requests_total", **named) == 1
        assert value(member, "dynatomic_dynamodb_throttles_total", table="hits") == throttles


def test_labels_of_partitions_that_are_given_up_go_away() -> None:
    with world(2) as w:
        first = w.worker()
        w.window()
        assert numbers(first) == {"0", "1"}
        second = w.worker()
        w.until(lambda: len(second.owned) == 1)
        w.window()
        assert numbers(first) == {str(n) for n in first.owned}
        assert numbers(second) == {str(n) for n in second.owned}
        assert value(first, "dynatomic_rebalances_total", event="revoked") == 1
        first.expire()
        first.turn()
        assert value(first, "dynatomic_rebalances_total", event="lost") == 1


def test_an_age_that_is_not_known_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    with world() as w:
        member = w.worker()
        w.window()
        assert value(member, "dynatomic_lag_seconds", partition="0") == 0
        monkeypatch.setattr(member.consumer, "consume", lambda _most, _timeout: [])
        w.emit("a")
        assert member.status is not None
        for _ in range(10):
            w.window()
            member.status.after_tick()
        assert value(member, "dynatomic_lag_events", partition="0") == 1
        assert exposed(member)["dynatomic_lag_seconds"] == []


def test_no_label_holds_what_an_event_says() -> None:
    with world() as w:
        member = w.worker()
        w.emit("key-of-a-customer", counter="counter-of-a-customer")
        w.put(encode(Row("table-of-nobody", "x")))
        w.put(b"payload-of-a-customer")
        w.window()
        page = Metrics("1", "at-least-once", "events", "group")
        page.status = member.status
        assert b"customer" not in page.page("")[0]
        assert b"nobody" not in page.page("")[0]
        assert member.status is not None
        member.status.after_tick()
        told = json.dumps(member.status.report())
        assert "customer" not in told
        assert "nobody" not in told


def test_a_histogram_counts_into_the_first_bucket_that_holds_it() -> None:
    durations = Durations()
    for seconds in (0.0, 0.001, 0.0011, 29.0, 31.0):
        durations.add(seconds)
    counts, total = durations.read()
    assert (counts[0], counts[1], counts[-2], counts[-1]) == (2, 1, 1, 1)
    assert total == pytest.approx(60.0021)


def test_a_stopped_partition_is_counted_and_grows_old() -> None:
    with world() as w:
        member = w.worker()
        w.emit("a")
        w.window()
        assert value(member, "dynatomic_stopped_partitions") == 0
        partition = member.worker.partitions[0]
        w.emit("a")
        partition.stop("its offset does not exist any more")
        assert value(member, "dynatomic_stopped_partitions") == 1
        assert member.status is not None
        ages = []
        for _ in range(3):
            w.advance(60)
            member.status.after_tick()
            ages.append(value(member, "dynatomic_lag_seconds", partition="0"))
        assert ages[2] - ages[1] == pytest.approx(60, abs=5)
        assert ages[2] >= 60
