"""Installs Flink SQL: PyFlink in a virtual environment, and its connectors by Maven."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Final

from bench.peers.peer import Peer, Skip
from bench.peers.prepare import attempt, is_prepared, mark_prepared, own_folder, python_up_to

JAVA_VERSIONS: Final = range(11, 22)
"""The Java versions that Flink 1.19 supports."""

_POM: Final = Path(__file__).with_name("flink-pom.xml")

# These are enough to submit SQL. The other dependencies of PyFlink (Beam, Arrow, pandas) are for
# functions in Python, and some of their old versions would have to be compiled.
_REQUIREMENTS: Final = (
    "apache-flink==1.19.3",
    "apache-flink-libraries==1.19.3",
    "py4j==0.10.9.7",
    "ruamel.yaml==0.18.17",
)


def prepare() -> list[str] | Skip:
    """Return the command of the job."""
    maven = shutil.which("mvn")
    python = python_up_to((3, 11))
    missing = _java_is_missing() or (python if isinstance(python, Skip) else None)
    if missing:
        return missing
    folder = own_folder("flink")
    if isinstance(folder, Skip):
        return folder
    own, jars = folder / "bin" / "python", folder / "jars"
    command = [str(own), "-m", "bench.peers.flink_job", str(jars)]
    wanted = "\n".join((str(python), *_REQUIREMENTS, _POM.read_text()))
    if is_prepared(folder, wanted):
        return command
    if maven is None:
        return Skip("no mvn command: install Maven")
    pip = ["-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-deps"]
    fetch = [maven, "-B", "-ntp", "-q", "-f", str(_POM), "dependency:copy-dependencies"]
    return (
        attempt("a virtual environment", [str(python), "-m", "venv", "--clear", str(folder)])
        or attempt(_REQUIREMENTS[0], [str(own), *pip, *_REQUIREMENTS])
        or attempt(
            "Flink's connectors", [*fetch, "-DincludeScope=runtime", f"-DoutputDirectory={jars}"]
        )
        or mark_prepared(folder, wanted, command)
    )


def _java_is_missing() -> Skip | None:
    if not Path("/proc/self/stat").exists():
        return Skip("no /proc: the CPU time of the Java process is read there")
    java = shutil.which("java")
    wanted = f"install Java 17: Flink runs on {JAVA_VERSIONS[0]} to {JAVA_VERSIONS[-1]}"
    if java is None:
        return Skip(f"no java command: {wanted}")
    run = subprocess.run([java, "-version"], capture_output=True, text=True, check=False)
    found = re.search(r'version "(\d+)', run.stderr)
    if run.returncode != 0 or found is None:
        return Skip(f"{java} does not run: {wanted}")
    if int(found[1]) not in JAVA_VERSIONS:
        return Skip(f"{java} is Java {found[1]}: {wanted}")
    return None


FLINK: Final = Peer(
    "flink",
    "Flink SQL, overwrites totals",
    10_000_000,
    prepare,
    "It keeps the totals in its own state and overwrites the items with them, so no other program "
    "may add to them. It runs in Java and uses all cores. Its start takes about ten seconds, which "
    "are not counted.",
)
