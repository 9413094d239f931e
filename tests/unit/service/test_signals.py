"""The bound of a shutdown holds even when C keeps the interpreter to itself."""

import subprocess
import sys

SCRIPT = """
import ctypes, os, signal
from dynatomic.service.signals import Signals
with Signals(0.2) as signals:
    signals.ready()
    os.kill(os.getpid(), signal.SIGTERM)
    signals.stop.wait(5)
    ctypes.PyDLL(None).sleep(60)
"""


def test_a_process_whose_interpreter_is_held_ends_and_says_where() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 1
    assert "Timeout" in done.stderr
    assert "signals.py" in done.stderr


def test_the_first_signal_before_the_start_forces_nothing() -> None:
    early = """
import os, signal, time
from dynatomic.service.signals import Signals
from dynatomic.telemetry import logs
logs.setup()
with Signals(0.2):
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(60)
"""
    done = subprocess.run(
        [sys.executable, "-c", early], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 130
    assert '"event": "ended before the start", "signal": "SIGINT"' in done.stderr
    assert "forced" not in done.stderr
