"""Writes the tables that the code defines into the pages: ``make docs``, or ``--check``.

A page holds the place of a table between ``<!-- name -->`` and ``<!-- /name -->``.
"""

import sys
from pathlib import Path

from dynatomic.config.catalogue import SETTINGS
from dynatomic.telemetry.log_events import LOG_EVENTS
from dynatomic.telemetry.metrics import METRICS, QUERIES
from dynatomic.worker.causes import Cause

ROOT = Path(__file__).parents[1]
REFERENCE = ROOT / "docs" / "reference"


def table(*rows: tuple[str, ...]) -> str:
    """Return a Markdown table, whose first row is the heading."""
    heading, *body = rows
    lines = [heading, *body]
    text = [f"| {' | '.join(cells)} |" for cells in lines]
    text.insert(1, "|" + "---|" * len(heading))
    return "\n".join(text) + "\n"


def settings() -> str:
    """Return the table of all settings."""
    return table(
        ("setting, flag", "environment", "default", "meaning"),
        *(
            (
                f"`{each.name}` {', '.join(f'`{flag}`' for flag in each.flags)}",
                f"`{each.env}`",
                f"`{each.shown_default}`",
                each.help,
            )
            for each in SETTINGS
        ),
    )


def metrics() -> str:
    """Return the table of all metrics, and the queries that are used most."""
    rows = (
        (
            f"`{each.name}`",
            each.kind.value,
            each.unit,
            ", ".join(f"`{label}`" for label in each.labels) or "-",
            each.help,
        )
        for each in METRICS
    )
    queries = ((each.name, f"`{each.promql}`") for each in QUERIES)
    return (
        table(("metric", "kind", "unit", "labels", "meaning"), *rows)
        + "\n"
        + table(("asked for", "query"), *queries)
    )


def causes() -> str:
    """Return the table of the causes of a consumer without progress."""
    rows = ((f"`{each.word}`", each.hint, "yes" if each.restart else "no") for each in Cause)
    return table(("cause", "what to do", "a restart helps"), *rows)


def logs() -> str:
    """Return the table of all log events."""
    rows = ((f"`{each.event}`", each.level, each.meaning, each.action) for each in LOG_EVENTS)
    return table(("event", "level", "meaning", "what to do"), *rows)


PAGES = {
    REFERENCE / "settings.md": {"settings": settings},
    REFERENCE / "metrics.md": {"metrics": metrics, "causes": causes},
    REFERENCE / "log-events.md": {"logs": logs},
}


def pages() -> dict[Path, str]:
    """Return the text that each page should have. Raises ValueError where a mark is missing."""
    made = {}
    for path, tables in PAGES.items():
        text = path.read_text(encoding="utf-8")
        for name, make in tables.items():
            start, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
            if text.count(start) != 1 or text.count(end) != 1:
                raise ValueError(f"{path.name}: the marks of the table {name} must be there once")
            before, _, rest = text.partition(start)
            after = rest.partition(end)[2]
            text = before + start + make() + end + after
        made[path] = text
    return made


def main(arguments: list[str]) -> int:
    """Write the pages; with ``--check`` only name those that are stale, and return 1."""
    stale = [path for path, text in pages().items() if path.read_text(encoding="utf-8") != text]
    if arguments == ["--check"]:
        for path in stale:
            sys.stderr.write(f"{path.relative_to(ROOT)} is stale: run `make docs`\n")
        return bool(stale)
    for path, text in pages().items():
        path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
