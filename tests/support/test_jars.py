"""Java and the jars are found, fetched once, and what is missing is named."""

import os
import stat
from pathlib import Path

import pytest

from tests.support import jars as jars_module
from tests.support.jars import jars, java
from tests.support.process import MissingError


def write_script(folder: Path, name: str, text: str) -> None:
    script = folder / name
    script.write_text(f"#!/bin/sh\n{text}\n")
    script.chmod(script.stat().st_mode | stat.S_IXUSR)


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("exit 1", "does not run"),  # as the stub of a Mac does
        ("""echo 'openjdk version "11.0.2" 2019-01-15' >&2""", "is Java 11"),
        (None, "no java command"),
    ],
)
def test_java_is_tried_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str | None, why: str
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    if script is not None:
        write_script(tmp_path, "java", script)
    with pytest.raises(MissingError, match=why):
        java()


def test_java_that_is_new_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    write_script(tmp_path, "java", """echo 'openjdk version "21.0.1"' >&2""")
    assert java() == str(tmp_path / "java")


@pytest.fixture
def maven(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put a stand-in for Maven in the PATH that writes one jar and then runs ``after``."""
    monkeypatch.setattr(jars_module, "CACHE", tmp_path / "cache")
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    return tmp_path


WRITE_JAR = """for argument; do
  case $argument in -DoutputDirectory=*) folder=${argument#*=};; esac
done
mkdir "$folder"; touch "$folder/a.jar"
"""


def test_half_a_download_is_no_download(maven: Path) -> None:
    write_script(maven, "mvn", f"{WRITE_JAR} echo '[ERROR] the network went away'; exit 1")
    with pytest.raises(MissingError, match=r"could not fetch kafka: .*network went away"):
        jars("kafka")
    assert list((maven / "cache").iterdir()) == []
    write_script(maven, "mvn", WRITE_JAR)
    folder = jars("kafka")
    assert [file.name for file in folder.iterdir()] == ["a.jar"]
    (maven / "mvn").unlink()
    assert jars("kafka") == folder, "fetched once"


def test_a_download_that_gave_nothing_is_no_download(maven: Path) -> None:
    write_script(maven, "mvn", "exit 0")
    with pytest.raises(MissingError, match="could not fetch kafka"):
        jars("kafka")


def test_two_runs_fetch_at_once(maven: Path) -> None:
    write_script(
        maven,
        "mvn",
        f'{WRITE_JAR} test -z "$FOLDER" || {{ mkdir "$FOLDER"; touch "$FOLDER/b.jar"; }}',
    )
    version = jars("kafka").name
    other = maven / "cache" / version.replace("kafka", "dynamodb")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FOLDER", str(other))
        assert jars("dynamodb") == other
    assert [file.name for file in other.iterdir()] == ["b.jar"]


def test_no_maven(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jars_module, "CACHE", tmp_path / "cache")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingError, match="install Maven"):
        jars("kafka")
