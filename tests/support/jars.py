"""Java and the jars of the real servers, fetched once by Maven into ``.servers/``."""

import hashlib
import re
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import Final

from tests.support.process import MissingError

POM: Final = Path(__file__).with_name("pom.xml")
CACHE: Final = Path(__file__).parents[1] / ".servers"
JAVA_VERSION: Final = 17
_FETCH_SECONDS: Final = 900.0
_PLUGIN: Final = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1"


def java() -> str:
    """Return the java command. Raises `MissingError` unless it runs and is 17 or newer."""
    command = shutil.which("java")
    if command is None:
        raise MissingError(f"no java command: install Java {JAVA_VERSION} or newer")
    run = subprocess.run([command, "-version"], capture_output=True, text=True, check=False)
    found = re.search(r'version "(\d+)', run.stderr)
    if run.returncode != 0 or found is None:
        raise MissingError(f"{command} does not run: install Java {JAVA_VERSION} or newer")
    if int(found[1]) < JAVA_VERSION:
        raise MissingError(f"{command} is Java {found[1]}: install Java {JAVA_VERSION} or newer")
    return command


def jars(profile: str) -> Path:
    """Return the folder with the jars of one profile of the pom, fetched if it is not there.

    Raises `MissingError` if there is no Maven or if it could not fetch them.
    """
    version = hashlib.sha256(POM.read_bytes()).hexdigest()[:12]
    folder = CACHE / f"{profile}-{version}"
    if folder.is_dir():
        return folder
    maven = shutil.which("mvn")
    if maven is None:
        raise MissingError("no mvn command: install Maven")
    CACHE.mkdir(exist_ok=True)
    # Only a complete download gets the folder's name, and it gets it in one step.
    with tempfile.TemporaryDirectory(prefix="fetching-", dir=CACHE) as unfinished:
        target = Path(unfinished) / profile
        _fetch(maven, profile, target)
        try:
            target.rename(folder)
        except OSError:
            if not folder.is_dir():  # else another run was faster, and its folder is as good
                raise
    return folder


def unpacked(artifact: str, name: str) -> Path:
    """Return the folder with the content of one archive of Maven, fetched if it is not there.

    ``artifact`` is GROUP:ARTIFACT:VERSION:TYPE:CLASSIFIER. Raises `MissingError` as `jars` does.
    """
    folder = CACHE / f"{name}-{artifact.split(':')[2]}"
    if folder.is_dir():
        return folder
    maven = shutil.which("mvn")
    if maven is None:
        raise MissingError("no mvn command: install Maven")
    CACHE.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="fetching-", dir=CACHE) as unfinished:
        command = [maven, "-B", "-ntp", "-q", f"{_PLUGIN}:copy", f"-Dartifact={artifact}"]
        run = subprocess.run(
            [*command, f"-DoutputDirectory={unfinished}"],
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
            timeout=_FETCH_SECONDS,
        )
        archives = list(Path(unfinished).iterdir())
        if run.returncode != 0 or len(archives) != 1:
            raise MissingError(f"Maven could not fetch {artifact}: {run.stdout[-300:]}")
        target = Path(unfinished) / name
        with tarfile.open(archives[0]) as archive:
            archive.extractall(target, filter="data")
        try:
            target.rename(folder)
        except OSError:
            if not folder.is_dir():
                raise
    return folder


def _fetch(maven: str, profile: str, target: Path) -> None:
    command = [maven, "-B", "-ntp", "-q", "-f", str(POM), "-P", profile]
    goal = ["dependency:copy-dependencies", f"-DoutputDirectory={target}"]
    run = subprocess.run(
        command + goal,
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
        timeout=_FETCH_SECONDS,
    )
    if run.returncode != 0 or not any(target.glob("*.jar")):
        lines = [line for line in (run.stdout + run.stderr).splitlines() if "ERROR" in line]
        raise MissingError(
            f"Maven could not fetch {profile}: {lines[0] if lines else run.stdout[-300:]}"
        )
