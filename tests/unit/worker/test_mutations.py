"""The suite can fail: each of these changes to the product turns a test of a promise red.

What is changed, and why it would be wrong, stands in `tests.support.mutations`.
"""

import inspect
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from _pytest.outcomes import Failed

from dynatomic.dynamodb import client
from dynatomic.dynamodb.counters import Counters
from dynatomic.dynamodb.statements import Change, Step
from dynatomic.events.row import KeySchema
from tests.support.model import FoundError, schedule
from tests.support.mutations import HARMLESS, MUTATIONS, NAMED, Mutation

pytestmark = pytest.mark.no_cover  # as all tests of many examples: see conftest

SEEDS = 900
"""Schedules that are tried until one finds the change; nearly all are found by the first 30."""
FIRST_SEEDS = {
    ("at-least-once", "commits_before_the_dead_letters_are_stored"): 80,
    ("exactly-once", "commits_before_the_dead_letters_are_stored"): 105,
    ("at-least-once", "writes_lost_partitions_like_revoked_ones"): 44,
    ("exactly-once", "writes_lost_partitions_like_revoked_ones"): 44,
    ("at-least-once", "takes_other_keys_of_a_table_for_a_defect_of_the_event"): 54,
    ("exactly-once", "takes_other_keys_of_a_table_for_a_defect_of_the_event"): 54,
    ("at-least-once", "goes_on_with_cancelled_windows"): 277,
    ("exactly-once", "goes_on_with_cancelled_windows"): 277,
    ("exactly-once", "writes_before_the_dead_letters_of_decoding_are_stored"): 304,
    ("at-least-once", "believes_the_offsets_of_a_deleted_topic"): 352,
    ("exactly-once", "believes_the_offsets_of_a_deleted_topic"): 335,
    ("at-least-once", "writes_before_it_knows_the_offsets_to_be_of_this_topic"): 253,
    ("exactly-once", "writes_before_it_knows_the_offsets_to_be_of_this_topic"): 896,
    ("at-least-once", "seeks_without_the_leader_epoch"): 31,
    ("exactly-once", "seeks_without_the_leader_epoch"): 31,
    ("at-least-once", "validates_before_anything_was_read"): 157,
    ("exactly-once", "validates_before_anything_was_read"): 157,
    ("exactly-once", "repairs_the_offset_and_not_the_fences"): 31,
    ("exactly-once", "lowers_fences_to_the_cut_and_not_below_it"): 31,
}
"""Tried before the others, because they found the change once; a change of the model moves them."""
CLEAN = 30
NAMED_TESTS = [
    import_module(f"{__package__}.{path.stem}") for path in Path(__file__).parent.glob("test_*.py")
]


def of(entry: Any) -> str:
    return entry.__name__ if callable(entry) else str(entry)


@pytest.mark.parametrize(("guarantee", "mutation"), MUTATIONS, ids=of)
def test_the_model_finds(
    guarantee: str, mutation: Mutation, monkeypatch: pytest.MonkeyPatch
) -> None:
    mutation(monkeypatch)
    with pytest.raises(FoundError) as found:
        _play(SEEDS, guarantee, FIRST_SEEDS.get((guarantee, mutation.__name__), 0))
    print(f"\n{mutation.__name__}: {found.value}")  # noqa: T201 - shown by pytest -s


@pytest.mark.parametrize(("guarantee", "mutation"), HARMLESS, ids=of)
def test_the_model_does_not_find(
    guarantee: str, mutation: Mutation, monkeypatch: pytest.MonkeyPatch
) -> None:
    mutation(monkeypatch)
    _play(CLEAN, guarantee)


def _play(schedules: int, guarantee: str, first: int = 0) -> None:
    for seed in (first, *range(schedules)):
        schedule(seed, guarantee)


def _call(test: Callable[..., None], caplog: pytest.LogCaptureFixture) -> None:
    given = {"caplog": caplog, "guarantee": "at-least-once", "events": 9}
    test(**{name: given[name] for name in inspect.signature(test).parameters})


@pytest.mark.parametrize(("name", "mutation"), NAMED, ids=of)
def test_the_named_test_finds(
    name: str,
    mutation: Mutation,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    (test,) = [vars(module)[name] for module in NAMED_TESTS if name in vars(module)]
    _call(test, caplog)
    caplog.clear()
    mutation(monkeypatch)
    with pytest.raises((AssertionError, Failed)) as found:
        _call(test, caplog)
    print(f"\n{mutation.__name__}: {found.value}")  # noqa: T201 - shown by pytest -s


# --- the client of DynamoDB ------------------------------------------------------------------


@pytest.fixture
def failing_server() -> Iterator[tuple[str, list[str]]]:
    """Start a server that fails every request with an unknown outcome."""
    requests: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            requests.append(self.headers["x-amz-target"])
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(500)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", requests
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("attempts", [1, 2])
def test_a_client_that_sends_again_by_itself_is_found(
    attempts: int,
    failing_server: tuple[str, list[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: Any = vars(client)["Config"]
    changed = {"total_max_attempts": attempts, "mode": "standard"}
    if attempts > 1:
        monkeypatch.setattr(client, "Config", lambda **k: made(**(k | {"retries": changed})))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    url, requests = failing_server
    counters = Counters(client.make_client(url), {"hits": KeySchema("pk")})
    counters.execute(Step.UPDATE_ITEM, [Change("hits", "a", None, {"count": 1})])
    assert len(requests) == attempts, "one sum is one request, unless a mutation says otherwise"
