"""Draws the plots of the results."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter, NullLocator

Results = dict[str, Any]
Row = dict[str, Any]

RAW: Final = "#6b7280"
COLOURS: Final = {"": RAW, "at-least-once": "#0f62a8", "exactly-once": "#c2410c"}
SIZES: Final = {"": (1.8, 6), "at-least-once": (3.0, 8), "exactly-once": (1.4, 4)}
"""Widths of lines and sizes of marks, so that two lines on each other can both be seen."""
PEERS: Final = ("#15803d", "#7e22ce", "#a16207", "#be185d", "#0e7490", "#4d7c0f", "#1f2937")
MARKS: Final = ("p", "D", "^", "v", "P", "X", "*")
GOAL_MB: Final = 250
LATE_S: Final = 0.3
PACED: Final = 20_000
"""The load, in events/s, that is measured with windows of several lengths."""

_STYLE: Final[Any] = {
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "bench",  # the same results give the same file
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e5e7eb",
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "lines.markersize": 6,
}


def draw(results: Results, folder: Path) -> list[Path]:
    """Draw the plots that have data into a folder; return the files.

    The background is white, so they can be read on a dark page too.
    """
    drawn = []
    with mpl.rc_context(_STYLE):
        for name, make in FIGURES.items():
            figure = make(results)
            if figure is not None:
                folder.mkdir(parents=True, exist_ok=True)
                path = folder / f"{name}.svg"
                figure.savefig(
                    path, facecolor="white", bbox_inches="tight", metadata={"Date": None}
                )
                drawn.append(path)
    return drawn


def counters(results: Results) -> Figure | None:
    """Draw throughput against the number of distinct counters."""
    rows = [row for row in _rows(results, "counters") if row["window_ms"] in {0, 1000}]
    if not rows:
        return None
    figure, axes = _figure("Throughput against distinct counters")
    for line, distribution in (("-o", "zipf"), (":s", "uniform")):
        same = [row for row in rows if row["workload"]["distribution"] == distribution]
        _lines(axes, line, same, lambda row: row["workload"]["counters"], "median", distribution)
    _peers(axes, results, lambda row: row["workload"]["counters"], "median")
    xlabel = "distinct counters (windows: ours 1 s, peers as long as our longest)"
    axes.set(xscale="log", yscale="log", xlabel=xlabel, ylabel="events/s")
    return _finished(figure)


def windows(results: Results) -> Figure | None:
    """Draw throughput and events per write against the length of a window."""
    rows = _rows(results, "windows")
    if not rows:
        return None
    figure, upper = _figure("Throughput and events per write against the length of a window", 2)
    lower = figure.axes[1]
    ours = [row for row in rows if row["kind"] == "run"]
    for row in rows:
        if row["kind"] == "raw":
            upper.axhline(row["median"], color=RAW, label=row["consumer"])
    for axes, value in ((upper, "median"), (lower, "events_per_write")):
        _lines(axes, "-o", ours, lambda row: row["window_ms"] / 1000, value)
        _peers(axes, results, lambda row: row["window_ms"] / 1000, value)
        axes.set(xscale="log")
        _ticks(axes, {row["window_ms"] / 1000 for row in ours})
    caught_up = sorted(
        (row["window_ms"] / 1000, row["events_per_write"])
        for row in results["freshness"]
        if row["load"] == PACED
    )
    if caught_up:
        paced: Any = {"color": "#15803d", "label": f"caught up, {_number(PACED)} events/s"}
        upper.plot([], [], "--^", **paced)  # for the legend in the upper plot
        lower.plot(*zip(*caught_up, strict=True), "--^", **paced)
    upper.set(ylabel="events/s", yscale="log")
    lower.set(ylabel="events per write", xlabel="window, s")
    _from_nothing(lower)
    return _finished(figure)


def backlog(results: Results) -> Figure | None:
    """Draw the largest memory against the size of the backlog."""
    rows = _rows(results, "backlog")
    if not rows:
        return None
    figure, axes = _figure("Peak memory against backlog")
    _lines(axes, "-o", rows, lambda row: row["events"], "peak_mb")
    axes.axhline(GOAL_MB, color="black", linestyle="--", linewidth=1, label=f"goal: {GOAL_MB} MB")
    axes.set(xscale="log", xlabel="events in the topic", ylabel="resident memory, MB")
    _ticks(axes, {row["events"] for row in rows})
    _from_nothing(axes)
    return _finished(figure)


def freshness(results: Results) -> Figure | None:
    """Draw the percentiles of freshness against load."""
    rows: list[Row] = results["freshness"]
    if not rows:
        return None
    figure, axes = _figure("From produce to visible in the table, against load")
    window_ms = rows[0]["window_ms"]
    rows = [row for row in rows if row["window_ms"] == window_ms]
    for line, name in (("-o", "p99_s"), (":s", "p50_s")):
        _lines(axes, line, rows, lambda row: row["load"], name, name[:3])
    window_s = window_ms / 1000
    axes.axhline(window_s, color=RAW, linewidth=1, label=f"window: {window_s:g} s")
    goal = window_s + LATE_S
    label = f"goal for p99: {goal:g} s"
    axes.axhline(goal, color="black", linestyle="--", linewidth=1, label=label)
    axes.set(xscale="log", xlabel="events/s", ylabel="age when visible, s")
    _ticks(axes, {row["load"] for row in rows})
    _from_nothing(axes)
    return _finished(figure)


FIGURES: Final[dict[str, Callable[[Results], Figure | None]]] = {
    "counters": counters,
    "windows": windows,
    "backlog": backlog,
    "freshness": freshness,
}


def _rows(results: Results, figure: str) -> list[Row]:
    """Return the rows of the cases that a figure is made of, each with its workload."""
    cases = results["cases"]
    return [
        row | {"workload": cases[row["case"]]["workload"]}
        for row in results["rows"]
        if figure in cases[row["case"]]["figures"] and row["kind"] != "peer"
    ]


def _lines(  # noqa: PLR0913 - data and style
    axes: Axes,
    style: str,
    rows: Iterable[Row],
    x: Callable[[Row], float],
    y: str,
    note: str = "",
) -> None:
    """Draw a line for raw and one for each guarantee."""
    for guarantee, colour in COLOURS.items():
        points = sorted((x(row), row[y]) for row in rows if row["guarantee"] == guarantee)
        if points:
            label = guarantee or "raw consume()"
            width, size = SIZES[guarantee]
            axes.plot(
                *zip(*points, strict=True),
                style,
                color=colour,
                label=f"{label}, {note}" if note else label,
                linewidth=width,
                markersize=size,
            )


def _peers(axes: Axes, results: Results, x: Callable[[Row], float], y: str) -> None:
    """Draw a mark for each peer."""
    peers = [row for row in results["rows"] if row["kind"] == "peer"]
    for row, colour, mark in zip(peers, PEERS, MARKS, strict=False):
        workload = results["cases"][row["case"]]["workload"]
        where = x(row | {"workload": workload})
        axes.plot([where], [row[y]], mark, color=colour, label=row["consumer"])


def _figure(title: str, rows: int = 1) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(10, 4.2 if rows == 1 else 6.6), layout="constrained")
    figure.suptitle(title, x=0.01, ha="left", fontsize=13, fontweight="bold")
    axes = figure.subplots(rows, 1, sharex=True, squeeze=False)
    return figure, axes[0, 0]


def _ticks(axes: Axes, places: Iterable[float]) -> None:
    axes.set_xticks(sorted(places))
    axes.xaxis.set_minor_locator(NullLocator())


def _from_nothing(axes: Axes) -> None:
    """Begin at 0 and leave room above what is highest."""
    axes.set_ylim(0, axes.dataLim.y1 * 1.1)


def _number(value: float, _place: object = None) -> str:
    for unit, size in (("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{value / size:g}{unit}"
    return f"{value:g}"


def _finished(figure: Figure) -> Figure:
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(FuncFormatter(_number))
            low, high = axis.get_view_interval()
            # If no power of ten is in the range, the ticks between them need labels.
            short = 0 < low < high < 20 * low
            axis.set_minor_formatter(FuncFormatter(_number) if short else NullFormatter())
    # Each label is shown once, with any number of axes.
    labelled = dict(zip(*reversed(figure.axes[0].get_legend_handles_labels()), strict=True))
    figure.legend(labelled.values(), labelled.keys(), loc="outside right center")
    return figure
