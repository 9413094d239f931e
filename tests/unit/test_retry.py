"""Waiting for a server, and what is said meanwhile."""

import time

import pytest

from dynatomic.errors import UnavailableError
from dynatomic.retry import WaitNotice, until
from dynatomic.telemetry import logs


def test_a_wait_is_said_after_two_seconds_and_then_at_intervals(
    caplog: pytest.LogCaptureFixture,
) -> None:
    now = [100.0]
    notice = WaitNotice("Kafka at x:9092", 29.9, lambda: now[0])
    said = []
    for now[0] in (100.0, 101.9, 103.1, 108.0, 108.2, 120.0):
        notice.check()
        said.append(len(caplog.records))
    assert said == [0, 0, 1, 1, 2, 3]
    assert [record.sentence for record in caplog.records] == [  # type: ignore[attr-defined]
        "waiting for Kafka at x:9092, 3 of 30 s",
        "waiting for Kafka at x:9092, 8 of 30 s",
        "waiting for Kafka at x:9092, 20 of 30 s",
    ]
    assert caplog.messages[0] == "waiting for a server"


def test_a_request_is_repeated_until_it_is_answered_or_the_time_is_over() -> None:
    answers = iter([UnavailableError("not yet"), UnavailableError("not yet"), 5])

    def ask() -> object:
        answer = next(answers)
        if isinstance(answer, UnavailableError):
            raise answer
        return answer

    assert until(time.monotonic() + 60, ask, "x") == 5
    answers = iter([UnavailableError("too late")])
    with pytest.raises(UnavailableError, match="too late"):
        until(time.monotonic(), ask, "x")


def test_people_get_the_sentence_and_programs_the_fields(
    capsys: pytest.CaptureFixture[str],
) -> None:
    logs.setup(for_people=True)
    notice = WaitNotice("Kafka at x:9092", 30, iter([0.0, 3.0, 9.0]).__next__)
    notice.check()
    assert "waiting for Kafka at x:9092, 3 of 30 s\n" in capsys.readouterr().err
    logs.setup()
    notice.check()
    line = capsys.readouterr().err
    assert '"event": "waiting for a server", "server": "Kafka at x:9092", "seconds": 9' in line
