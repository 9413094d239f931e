"""A progress bar on a terminal, nothing on a pipe."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager


@contextmanager
def progress_bar(title: str, total: int | None = None) -> Iterator[Callable[[int], None]]:
    """Give a function that advances the bar; ``total`` None if the end is not known.

    The bar is on stderr, and only if that is a terminal.
    """
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    # Here, for it takes a tenth of a second that a pipe need not wait.
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


UNKNOWN = "-"


_UNITS = ((86_400, "d"), (3_600, "h"), (60, "m"), (1, "s"))


def aligned(rows: Sequence[Sequence[str]], numbers: set[int]) -> Iterator[str]:
    """Yield the rows as lines, the columns of ``numbers`` to the right."""
    # Clients choose their ids: no control character of theirs reaches the terminal.
    plain = [["".join(c if c.isprintable() else "?" for c in cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*plain, strict=True)]
    for row in plain:
        cells = (
            cell.rjust(width) if index in numbers else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        yield "  ".join(cells).rstrip()


def duration(seconds: float | None) -> str:
    """Return a duration in its largest unit and the next; tenths below ten seconds."""
    if seconds is None:
        return UNKNOWN
    if seconds < 9.95:  # noqa: PLR2004 - it would be rounded to 10.0
        return f"{seconds:.1f}s"
    left = round(seconds)
    first = next(index for index, (size, _) in enumerate(_UNITS) if left >= size)
    counts = []
    for size, unit in _UNITS[first : first + 2]:
        count, left = divmod(left, size)
        counts.append(f"{count}{unit}")
    return "".join(counts)


Show = Callable[[list[str]], None]


@contextmanager
def display() -> Iterator[Show]:
    """Give a function that shows lines: in place on a terminal, else one table after the other."""
    if not sys.stdout.isatty():
        yield _print
        return
    # Here, for it takes a tenth of a second that a pipe need not wait.
    from rich.console import Console  # noqa: PLC0415
    from rich.live import Live  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    with Live(console=Console(), auto_refresh=False, vertical_overflow="ellipsis") as live:
        yield lambda shown: live.update(
            Text("\n".join(shown), no_wrap=True, overflow="crop"), refresh=True
        )


def _print(shown: list[str]) -> None:
    sys.stdout.write("\n".join([*shown, "", ""]))
    sys.stdout.flush()
