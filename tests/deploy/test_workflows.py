"""The workflows of .github, the hooks and the templates, checked by tools made for them."""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.children import REPOSITORY

GITHUB = REPOSITORY / ".github"
WORKFLOWS = sorted((GITHUB / "workflows").glob("*.yml"))
UNPINNED = {"pypa/gh-action-pypi-publish"}
"""Actions whose hash was not known; .github/zizmor.yml names them, too."""
TARGETS = set(re.findall(r"^([a-z]+):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE))
TRUSTED_PUBLISHING = {"id-token": "write"}


def jobs(name: str) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = yaml.safe_load((GITHUB / "workflows" / name).read_text())[
        "jobs"
    ]
    return found


def zizmor(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("zizmor")), "--offline", "--no-progress"]
    return subprocess.run(
        [*command, "--persona=pedantic", "--quiet", "."],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


def test_zizmor_finds_nothing() -> None:
    done = zizmor(GITHUB)
    assert done.returncode == 0, done.stdout + done.stderr


def test_zizmor_finds_a_token_that_a_step_could_read(tmp_path: Path) -> None:
    shutil.copytree(GITHUB, tmp_path / ".github")
    workflow = tmp_path / ".github" / "workflows" / "check.yml"
    workflow.write_text(workflow.read_text().replace("persist-credentials: false", "clean: true"))
    done = zizmor(tmp_path)
    assert done.returncode != 0
    assert "artipacked" in done.stdout


def test_actionlint_finds_nothing() -> None:
    actionlint = shutil.which("actionlint")
    if actionlint is None:
        pytest.skip("no actionlint: the workflow `check` installs it")
    done = subprocess.run(
        [actionlint, *map(str, WORKFLOWS)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_an_action_is_pinned_by_the_hash_of_a_named_version(path: Path) -> None:
    uses = re.findall(r"uses: ([\w./-]+)@(.+)", path.read_text())
    assert uses
    for action, reference in uses:
        version = r"v\d+\.\d+\.\d+"
        pinned = version if action in UNPINNED else rf"[0-9a-f]{{40}} # {version}"
        assert re.fullmatch(pinned, reference), action


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_calls_targets_that_exist(path: Path) -> None:
    called = re.findall(r"(?:run: |\" )make ([a-z ]+)$", path.read_text(), re.MULTILINE)
    assert called
    assert {target for line in called for target in line.split()} <= TARGETS


def test_the_tested_versions_of_python_are_those_of_the_classifiers() -> None:
    text = (REPOSITORY / "pyproject.toml").read_text()
    classified = set(re.findall(r'"Programming Language :: Python :: (3\.\d+)"', text))
    for job in ("check", "test"):
        assert classified <= set(jobs("check.yml")[job]["strategy"]["matrix"]["python"])


def test_only_the_job_that_publishes_can_publish_and_it_runs_no_code_of_ours() -> None:
    publishing = jobs("release.yml")["publish"]
    assert publishing["permissions"] == TRUSTED_PUBLISHING
    assert publishing["environment"] == "pypi"
    assert not [step for step in publishing["steps"] if "run" in step]
    assert publishing["needs"] == "provenance"
    assert jobs("release.yml")["provenance"]["needs"] == "build"
    assert jobs("release.yml")["build"]["permissions"] == {"contents": "read"}


def test_the_hooks_call_targets_that_exist() -> None:
    config = yaml.safe_load((REPOSITORY / ".pre-commit-config.yaml").read_text())
    (repository,) = config["repos"]
    assert repository["repo"] == "local"
    for hook in repository["hooks"]:
        program, target = hook["entry"].split()
        assert program == "make"
        assert target in TARGETS


@pytest.mark.parametrize("path", sorted((GITHUB / "ISSUE_TEMPLATE").glob("[!c]*.yml")))
def test_an_issue_template_has_what_the_form_needs(path: Path) -> None:
    form = yaml.safe_load(path.read_text())
    assert form.keys() >= {"name", "description", "body"}
    for element in form["body"]:
        assert element["type"] in {"markdown", "textarea", "input", "dropdown", "checkboxes"}
        assert element["attributes"].keys() & {"label", "value"}


def test_dependabot_watches_folders_that_exist() -> None:
    config = yaml.safe_load((GITHUB / "dependabot.yml").read_text())
    for update in config["updates"]:
        for folder in update.get("directories", [update.get("directory")]):
            assert (REPOSITORY / folder.strip("/")).is_dir()
