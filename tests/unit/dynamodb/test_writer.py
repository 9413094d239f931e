"""The writer cuts windows into requests and completes them: batches, order, cancelling, closing."""

import threading
from collections import Counter
from collections.abc import Sequence

import pytest

from dynatomic.dynamodb.answers import (
    Answer,
    PartiallyRejected,
    Refused,
    TryStep,
)
from dynatomic.dynamodb.statements import Change, Step
from dynatomic.dynamodb.write import WindowWrite
from dynatomic.dynamodb.writer import Writer
from dynatomic.events.row import CounterRef
from tests.support.writing import (
    SECONDS,
    THROTTLED,
    Requests,
    Settled,
    applied,
    submit,
    sums,
    wait_for,
    writing,
)


def ended(writer: Writer) -> None:
    """Wait for the end of the only thread."""
    (thread,) = writer._threads
    thread.join(SECONDS)
    assert not thread.is_alive()


def test_a_window_goes_in_batches_of_25_and_each_item_once() -> None:
    requests, settled = Requests(), Settled()
    with writing(requests, max_requests=3) as writer:
        write = submit(writer, sums(60), settled)
        assert settled.get() is write
    assert sorted(len(batch) for _, batch in requests.calls) == [10, 25, 25]
    assert {step for step, _ in requests.calls} == {Step.UPDATE}
    assert Counter(c.key for c in requests.sent) == Counter(f"k{i}" for i in range(60))
    assert write.requests == 3
    assert write.is_complete


def test_counters_of_one_item_go_together_and_tables_apart() -> None:
    refs = [
        CounterRef("tab", "k", None, "hits"),
        CounterRef("tab", "k", None, "bytes"),
        CounterRef("other", "k", None, "hits"),
    ]
    requests, settled = Requests(), Settled()
    with writing(requests) as writer:
        submit(writer, dict.fromkeys(refs, 7), settled)
        settled.get()
    assert sorted(requests.calls, key=str) == sorted(
        [
            (Step.UPDATE, (Change("tab", "k", None, {"hits": 7, "bytes": 7}),)),
            (Step.UPDATE, (Change("other", "k", None, {"hits": 7}),)),
        ],
        key=str,
    )


def test_single_mode_sends_an_item_a_request() -> None:
    requests, settled = Requests(), Settled()
    with writing(requests, first_step=Step.UPDATE_ITEM) as writer:
        submit(writer, sums(30), settled)
        settled.get()
    assert [(step, len(batch)) for step, batch in requests.calls] == [(Step.UPDATE_ITEM, 1)] * 30


def test_one_thread_sends_in_the_order_of_submission() -> None:
    requests, settled = Requests(), Settled()
    with writing(requests, max_requests=1) as writer:
        writes = [submit(writer, sums(30, start=i * 30), settled) for i in range(4)]
        assert [settled.get() for _ in writes] == writes
    assert [c.key for c in requests.sent] == [f"k{i}" for i in range(120)]


def test_an_empty_window_is_settled_at_once() -> None:
    requests, settled = Requests(), Settled()
    with writing(requests) as writer:
        write = submit(writer, {}, settled)
        assert settled.get() is write
    assert (requests.calls, settled.more) == ([], 0)


def test_settled_is_said_once_and_only_when_nothing_is_open() -> None:
    requests, settled = Requests(), Settled()
    last = "k249"
    requests.hold(lambda batch: any(c.key == last for c in batch))
    with writing(requests, max_requests=4) as writer:
        write = submit(writer, sums(250), settled)
        wait_for(writer, lambda: write.open_tasks == 1)
        assert (settled.more, write.is_complete) == (0, False)
        requests.release()
        assert settled.get() is write
    assert settled.more == 0


def test_a_cancelled_window_sends_nothing_more_and_is_never_settled() -> None:
    requests, settled = Requests(), Settled()
    requests.hold()
    with writing(requests, max_requests=2) as writer:
        gone = submit(writer, sums(250), settled)
        requests.wait_for(lambda: requests.running == 2)
        writer.cancel(gone)
        requests.release()
        other = submit(writer, sums(50, start=1000), settled)
        assert settled.get() is other
    assert len(requests.calls) == 4
    assert settled.more == 0


@pytest.mark.parametrize(
    "after", [TryStep(Step.INSERT), THROTTLED, Refused("AccessDenied"), PartiallyRejected()]
)
def test_a_cancelled_window_is_not_followed_up(after: Answer) -> None:
    requests, settled = Requests(lambda *_: after), Settled()
    requests.hold()
    with writing(requests, max_requests=1) as writer:
        gone = submit(writer, sums(1), settled)
        requests.wait_for(lambda: requests.running == 1)
        writer.cancel(gone)
        requests.release()
        wait_for(writer, lambda: gone.requests == 1)
        requests.script = applied
        other = submit(writer, sums(1, start=5), settled)
        assert settled.get() is other
    assert [c.key for c in requests.sent] == ["k0", "k5"]
    assert settled.more == 0


def test_the_last_answer_of_a_cancelled_window_does_not_settle_it() -> None:
    requests, settled = Requests(), Settled()
    requests.hold()
    with writing(requests, max_requests=1) as writer:
        gone = submit(writer, sums(1), settled)
        requests.wait_for(lambda: requests.running == 1)
        writer.cancel(gone)
        requests.release()
        wait_for(writer, lambda: gone.requests == 1)
    assert settled.more == 0


def test_close_waits_for_what_is_on_its_way_and_sends_no_more() -> None:
    requests, settled = Requests(), Settled()
    requests.hold()
    writer = Writer(requests, max_requests=2)
    submit(writer, sums(250), settled)
    requests.wait_for(lambda: requests.running == 2)
    closing = threading.Thread(target=writer.close)
    closing.start()
    wait_for(writer, lambda: writer._closed)
    assert closing.is_alive()
    requests.release()
    closing.join(SECONDS)
    assert not closing.is_alive()
    assert not any(thread.is_alive() for thread in writer._threads)
    assert len(requests.calls) == 2
    assert (requests.running, writer.failure, settled.more) == (0, None, 0)


def test_close_does_not_wait_for_pauses() -> None:
    requests, settled = Requests(lambda *_: Refused("AccessDenied")), Settled()
    with writing(requests, clock=lambda: 0.0) as writer:
        submit(writer, sums(1), settled)
        wait_for(writer, lambda: bool(writer._delayed))
    assert len(requests.calls) == 1


def test_an_exception_of_a_request_surfaces() -> None:
    def broken(_step: Step, _change: Change) -> Answer:
        raise RuntimeError("a defect")

    requests, settled = Requests(broken), Settled()
    with writing(requests, fails=True, max_requests=1) as writer:
        write = submit(writer, sums(1), settled)
        ended(writer)
    assert isinstance(writer.failure, RuntimeError)
    assert not write.is_complete
    assert settled.more == 0


def test_an_answer_too_few_is_a_defect_not_a_loss() -> None:
    class Short(Requests):
        def __call__(self, step: Step, batch: Sequence[Change]) -> list[Answer]:
            return super().__call__(step, batch)[:-1]

    settled = Settled()
    with writing(Short(), fails=True, max_requests=1) as writer:
        write = submit(writer, sums(25), settled)
        ended(writer)
    assert isinstance(writer.failure, ValueError)
    assert not write.is_complete


def test_an_exception_of_the_one_who_is_told_surfaces() -> None:
    def told(_write: WindowWrite) -> None:
        raise RuntimeError("a defect")

    with writing(Requests(), fails=True, max_requests=1) as writer:
        submit(writer, sums(1), told)
        ended(writer)
    assert isinstance(writer.failure, RuntimeError)
