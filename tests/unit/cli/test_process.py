"""The command as a separate process."""

import io
import os
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dynatomic.cli import main as cli
from dynatomic.errors import UnavailableError

ROOT = Path(__file__).parents[3]


def dynatomic(*argv: str, **more: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "dynatomic", *argv],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        **more,
    )


def test_exit_codes_of_the_process() -> None:
    assert dynatomic("--help").returncode == 0
    misused = dynatomic("run", "--nonsense")
    assert (misused.returncode, misused.stdout) == (2, "")
    wrong = dynatomic("config", "show", "--window-ms", "1")
    assert (wrong.returncode, wrong.stdout) == (78, "")
    assert wrong.stderr.count("\n") == 1


def test_a_shell_s_words_arrive_as_they_were_quoted() -> None:
    done = dynatomic("config", "show", "-X", 'sasl.username=a\'b "c" é, =', "-g", "$HOME *")
    values = tomllib.loads(done.stdout)
    assert values["librdkafka"] == {"sasl.username": 'a\'b "c" é, ='}
    assert values["group_id"] == "$HOME *"


def test_an_interrupt_at_any_time_gives_no_traceback() -> None:
    for delay_s in (0.0, 0.05, 0.15, 0.3):
        child = subprocess.Popen(
            [sys.executable, "-c", _MAIN, "lag", "-b", "127.0.0.1:1"],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert child.stdout is not None
        assert child.stdout.readline() == "up\n"  # the interpreter has started
        time.sleep(delay_s)  # not a condition: any moment must do
        child.send_signal(signal.SIGINT)
        _, err = child.communicate(timeout=60)
        assert child.returncode in (130, -signal.SIGINT), delay_s
        assert "Traceback" not in err, delay_s


_MAIN = """
import signal, sys
from dynatomic.__main__ import main
signal.signal(signal.SIGINT, signal.default_int_handler)
set_handler = signal.signal


def noted(number, handler):
    set_handler(number, handler)
    if handler is signal.SIG_DFL:
        print("up", flush=True)


signal.signal = noted
sys.exit(main())
"""


def test_a_reader_that_leaves_is_no_traceback() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "dynatomic", "config", "show"],
            cwd=ROOT,
            stdout=writing,
            stderr=subprocess.PIPE,
            check=False,
            timeout=60,
        )
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (1, b"")


def test_produce_reads_stdin(tmp_path: Path) -> None:
    (tmp_path / "consumer_stub.py").write_text(
        "import sys, types\n"
        "fake = types.ModuleType('dynatomic.operations.produce')\n"
        "fake.produce_file = lambda s, stream, progress: print(ascii(stream.read()))\n"
        "fake.produce_samples = None\n"
        "sys.modules['dynatomic.operations.produce'] = fake\n"
        "from dynatomic.cli.main import main\n"
        "sys.exit(main(['produce', '-']))\n"
    )
    done = subprocess.run(
        [sys.executable, str(tmp_path / "consumer_stub.py")],
        input="é\n".encode(),
        capture_output=True,
        env=os.environ | {"PYTHONPATH": str(ROOT / "consumer"), "PYTHONIOENCODING": "latin-1"},
        check=False,
        timeout=60,
    )
    assert done.stdout == b"'\\xe9\\n'\n", done.stderr


@pytest.mark.parametrize("argv", [["--help"], ["run", "--help"], ["config", "show"]])
def test_help_loads_no_client(argv: list[str]) -> None:
    code = (
        "import sys\n"
        "from dynatomic.cli.main import main\n"
        f"main({argv!r})\n"
        "print(sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    loaded = set(done.stdout.splitlines()[-1].strip("[]").replace("'", "").split(", "))
    assert "cyclopts" in loaded
    assert not loaded & {"boto3", "botocore", "confluent_kafka", "fastavro", "ministack"}


def lines() -> Iterator[str]:
    yield "one"
    raise UnavailableError("then nothing")


def test_lines_are_printed_as_they_come(
    stub: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    stub("dynatomic.operations.init", lines(), initialise=None)
    assert cli.main(["init"]) == 75
    assert out.getvalue() == "one\n"
