"""The documents say what the code says."""

import re
from pathlib import Path

import pytest

from bench import sizing

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
LINK = re.compile(r"\]\((?!https?:|mailto:|#)([^)#\s]+)(?:#([^)\s]+))?\)")


def marked(document: Path, name: str) -> list[str]:
    """Return the lines between the marks of a generated table."""
    found = re.search(rf"<!-- {name} -->\n(.*?)<!-- /{name} -->", document.read_text(), re.DOTALL)
    assert found, f"{document.name} has no table {name}"
    return found[1].splitlines()


def anchors(document: Path) -> set[str]:
    """Return what a link may point at: the headings, as GitHub names them."""
    heads = re.findall(r"^#+ (.+)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head).strip().lower().replace(" ", "-") for head in heads}


def test_the_tables_of_sizing_are_computed() -> None:
    document = ROOT / "docs" / "sizing.md"
    assert marked(document, "events per write") == list(sizing.events_per_write())
    assert marked(document, "prices") == list(sizing.prices())


def test_events_per_write_of_one_counter_are_all_events() -> None:
    assert sizing.written([1.0], 1000) == pytest.approx(1)
    assert sizing.written([1.0], 1000, partitions=4) == pytest.approx(4)
    assert sizing.written(sizing.shares(1000, 0), 1) == pytest.approx(1, rel=1e-3)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    for name, anchor in LINK.findall(document.read_text()):
        target = document.parent / name
        assert target.exists(), f"{document.name} links to {name}"
        if anchor:
            assert anchor in anchors(target), f"{document.name} links to {name}#{anchor}"
