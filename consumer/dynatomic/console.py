"""Text for people: a progress bar, a table, a duration, and a table that is shown live."""

import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager


@contextmanager
def progress_bar(title: str, total: int | None = None) -> Iterator[Callable[[int], None]]:
    """Return a function that advances the bar by a count; ``total`` is None if it is not known.

    The bar is on stderr. If stderr is not a terminal, there is none.
    """
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    # Imported here: rich takes 0.1 s to load, and output to a pipe does not need it.
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import (  # noqa: PLC0415
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(title, total=total)
        yield lambda count: bar.advance(task, count)
        # What was to be done is done, also where the total was not known, or was an upper bound.
        bar.update(task, total=bar.tasks[task].completed)


UNKNOWN = "-"
"""Shown in a table for a value that is not known."""

_UNITS = ((86_400, "d"), (3_600, "h"), (60, "m"), (1, "s"))


def printable(text: str, max_length: int | None = None) -> str:
    """Return the text with ``?`` for each control character and each character without a glyph.

    Keys, and names that clients choose, may contain control characters. A text that is longer
    than ``max_length`` is cut, and ends in three dots.
    """
    shown = "".join(character if character.isprintable() else "?" for character in text)
    return (
        shown if max_length is None or len(shown) <= max_length else f"{shown[: max_length - 3]}..."
    )


def plural(count: int, one: str, more: str | None = None) -> str:
    """Return the form of a noun for a count; ``more`` is the plural if it is not ``one`` with s."""
    if count == 1:
        return one
    return f"{one}s" if more is None else more


def table_lines(rows: Sequence[Sequence[str]], right: Collection[int]) -> Iterator[str]:
    """Yield the printable rows as lines of one table; columns in ``right`` are right-aligned."""
    shown = [list(map(printable, row)) for row in rows]
    widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
    for row in shown:
        cells = (
            cell.rjust(width) if index in right else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        yield "  ".join(cells).rstrip()


def duration(seconds: float | None) -> str:
    """Return a duration in its largest unit and the next one; below 10 s in tenths of a second."""
    if seconds is None:
        return UNKNOWN
    if seconds < 9.95:  # noqa: PLR2004 - larger values would be rounded to 10.0
        return f"{seconds:.1f}s"
    remaining_s = round(seconds)
    first = next(index for index, (size, _) in enumerate(_UNITS) if remaining_s >= size)
    counts = []
    for size, unit in _UNITS[first : first + 2]:
        count, remaining_s = divmod(remaining_s, size)
        counts.append(f"{count}{unit}")
    return "".join(counts)


ShowLines = Callable[[list[str]], None]


@contextmanager
def live_display() -> Iterator[ShowLines]:
    """Return a function that shows lines.

    On a terminal they replace those shown before; elsewhere they follow them.
    """
    if not sys.stdout.isatty():
        yield _print
        return
    # Imported here: rich takes 0.1 s to load, and output to a pipe does not need it.
    from rich.console import Console  # noqa: PLC0415
    from rich.live import Live  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    with Live(console=Console(), auto_refresh=False, vertical_overflow="ellipsis") as live:
        yield lambda lines: live.update(
            Text("\n".join(lines), no_wrap=True, overflow="crop"), refresh=True
        )


def _print(lines: list[str]) -> None:
    sys.stdout.write("\n".join([*lines, "", ""]))
    sys.stdout.flush()
