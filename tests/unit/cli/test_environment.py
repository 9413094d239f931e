"""Environment variables with our prefix that are no setting."""

import pytest

from dynatomic.cli import main as cli
from dynatomic.cli.environment import unknown_variables


def test_an_unknown_variable_is_warned_about_with_a_suggestion(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("DYNATOMIC_WINDOW_MSS", "5")
    assert cli.main(["config", "show"]) == 0
    (record,) = caplog.records
    assert (record.levelname, record.getMessage()) == ("WARNING", "unknown variable")
    assert record.sentence == (  # type: ignore[attr-defined]
        "DYNATOMIC_WINDOW_MSS is no setting and has no effect; did you mean 'DYNATOMIC_WINDOW_MS'?"
    )


@pytest.mark.parametrize(
    ("name", "value", "is_unknown"),
    [
        ("DYNATOMIC_SERVICE_HOST", "10.0.0.1", False),
        ("DYNATOMIC_SERVICE_PORT", "9108", False),
        ("DYNATOMIC_SERVICE_PORT_METRICS", "9108", False),
        ("DYNATOMIC_PORT", "tcp://10.0.0.1:9108", False),
        ("DYNATOMIC_PORT_9108_TCP", "tcp://10.0.0.1:9108", False),
        ("DYNATOMIC_PORT_9108_TCP_PROTO", "tcp", False),
        ("DYNATOMIC_METRICS_SERVICE_HOST", "10.0.0.1", False),
        ("DYNATOMIC_METRICS_PORT_9108_TCP_ADDR", "10.0.0.1", False),
        ("DYNATOMIC_CONFIG", "", False),
        ("DYNATOMIC_WINDOW_MS", "5", False),
        ("DYNATOMICS", "1", False),
        ("DYNATOMIC_HTTP_PORT", "9108", True),
        ("DYNATOMIC_", "", True),
        ("DYNATOMIC_window_ms", "5", True),
    ],
)
def test_the_variables_of_kubernetes_and_the_settings_are_known(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, *, is_unknown: bool
) -> None:
    monkeypatch.setenv(name, value)
    assert list(unknown_variables()) == ([name] if is_unknown else [])
