"""Progress bars, tables, durations, and text for a terminal."""

import io

import pytest

from dynatomic.console import duration, printable, progress_bar, table_lines


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "-"),
        (0, "0.0s"),
        (9.94, "9.9s"),
        (9.96, "10s"),
        (59.4, "59s"),
        (59.6, "1m0s"),
        (3_600, "1h0m"),
        (7_210, "2h0m"),
        (86_399.9, "1d0h"),
        (400_000, "4d15h"),
    ],
)
def test_durations_have_their_largest_unit_and_the_next(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text


def test_numbers_stand_to_the_right() -> None:
    assert list(table_lines([("a", "n"), ("bb", "10")], {1})) == ["a    n", "bb  10"]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_pipe_sees_no_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    stderr = io.StringIO()
    monkeypatch.setattr("sys.stderr", stderr)
    with progress_bar("events", 10) as advance:
        advance(10)
    assert not stderr.getvalue()


@pytest.mark.parametrize("total", [10, None])
def test_a_terminal_sees_a_bar(monkeypatch: pytest.MonkeyPatch, total: int | None) -> None:
    stderr = Terminal()
    monkeypatch.setattr("sys.stderr", stderr)
    monkeypatch.setenv("TERM", "xterm")
    with progress_bar("events", total) as advance:
        advance(7)
    assert "events" in stderr.getvalue()
    assert "7/" in stderr.getvalue()


@pytest.mark.parametrize(
    ("text", "shown"),
    [("a b", "a b"), ("a\x1b[2J\n", "a?[2J?"), ("abcdefgh", "abc..."), ("é", "é")],
)
def test_text_for_a_terminal_has_no_control_characters_and_a_bound(text: str, shown: str) -> None:
    assert printable(text, 6) == shown
    assert len(printable(text)) == len(text)
