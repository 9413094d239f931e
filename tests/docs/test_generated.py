"""The tables of the pages are those of the code, and `make docs` writes them."""

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
_spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
assert _spec is not None
assert _spec.loader is not None
generate = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(generate)


def test_no_page_is_stale(capsys: pytest.CaptureFixture[str]) -> None:
    assert generate.main(["--check"]) == 0, capsys.readouterr().err


def test_a_stale_page_is_named_and_written_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- settings -->\nold\n<!-- /settings -->\nafter\n")
    monkeypatch.setattr(generate, "ROOT", tmp_path)
    monkeypatch.setattr(generate, "PAGES", {page: {"settings": generate.settings}})
    assert generate.main(["--check"]) == 1
    assert capsys.readouterr().err == "page.md is stale: run `make docs`\n"
    assert generate.main([]) == 0
    text = page.read_text()
    assert "| `window_ms` `--window-ms` | `DYNATOMIC_WINDOW_MS` | `1000` |" in text
    assert text.startswith("before\n<!-- settings -->\n| setting, flag |")
    assert text.endswith("|\n<!-- /settings -->\nafter\n")
    assert generate.main(["--check"]) == 0


def test_a_missing_mark_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "page.md"
    page.write_text("nothing\n")
    monkeypatch.setattr(generate, "PAGES", {page: {"settings": generate.settings}})
    with pytest.raises(ValueError, match="the marks of the table settings"):
        generate.pages()
