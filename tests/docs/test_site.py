"""The site of the documentation is built without a broken link, and shows every page."""

import importlib.util
import re
from pathlib import Path
from urllib.parse import unquote

import pytest

ROOT = Path(__file__).parents[2]
_spec = importlib.util.spec_from_file_location("site_of_docs", ROOT / "docs" / "site.py")
assert _spec is not None
assert _spec.loader is not None
site = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(site)


def target_of(page: Path, link: str, root: Path) -> Path:
    found = root / link.lstrip("/") if link.startswith("/") else page.parent / unquote(link)
    return found / "index.html" if found.is_dir() else found


def test_the_site_is_built_and_its_links_lead_somewhere(tmp_path: Path) -> None:
    built = tmp_path / "site"
    assert site.build(built) == 0
    pages = [page for page in built.rglob("*.html") if page.name != "404.html"]
    checked = 0
    for page in pages:
        for link in re.findall(r'(?:href|src)="([^"#?]+)', page.read_text()):
            if not re.match(r"[a-z]+:|//", link):
                assert target_of(page, link, built).is_file(), f"{page}: {link}"
                checked += 1
    assert checked > 500
    for page in (ROOT / "docs").rglob("*.md"):
        name = "" if page.stem == "index" else page.stem
        assert (built / page.parent.relative_to(ROOT) / name / "index.html").is_file()


def test_every_page_is_in_the_navigation() -> None:
    listed = re.findall(
        r'= "((?:docs/)?[\w/-]+\.md)"', (ROOT / "docs" / "zensical.toml").read_text()
    )
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    assert sorted(listed) == sorted(str(page.relative_to(ROOT)) for page in pages)


def test_a_broken_link_ends_the_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def copy_pages(folder: Path) -> None:
        original(folder)
        (folder / "docs" / "sizing.md").write_text("# Sizing\n\n[gone](gone.md)\n")

    original = site.copy_pages
    monkeypatch.setattr(site, "copy_pages", copy_pages)
    assert site.build(tmp_path / "site") != 0
    assert not (tmp_path / "site").exists()
