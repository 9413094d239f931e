"""Builds the site of the documentation: ``make site``, or ``docs/site.py FOLDER``.

The pages keep their places of the repository below the root of the site, so that their links
lead to the same files in both. A link to a page or a heading that does not exist ends the build.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDERS = ("docs", "deploy", "schemas")


def copy_pages(folder: Path) -> None:
    """Copy the pages, and the files that they link to."""
    folder.mkdir(parents=True)
    for page in ROOT.glob("*.md"):
        shutil.copy(page, folder)
    for name in FOLDERS:
        ignored = shutil.ignore_patterns("*.py", "__pycache__", "zensical.toml")
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    for page in (ROOT / "bench").rglob("README.md"):
        copied = folder / page.relative_to(ROOT)
        copied.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(page, copied)


def build(site: Path) -> int:
    """Build the site into a folder, which it replaces; return the exit code."""
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        copy_pages(work / "pages")
        shutil.copy(ROOT / "docs" / "zensical.toml", work)
        command = [sys.executable, "-m", "zensical", "build", "--strict"]
        done = subprocess.run(command, cwd=work, check=False)
        if done.returncode == 0:
            shutil.rmtree(site, ignore_errors=True)
            shutil.copytree(work / "site", site)
        return done.returncode


if __name__ == "__main__":
    sys.exit(build(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "site"))
