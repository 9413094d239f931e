"""An Emitter that was not closed sends its rows when the interpreter ends."""

import subprocess
import sys

SCRIPT = """
import warnings
from dynatomic import Emitter, FakeBroker, Row
broker = FakeBroker()
broker.create_topic("row-events")
emit = Emitter(producer=broker.producer())
emit(Row("usage", "customer-7"))
{close}
import atexit
"""


def run(close: str) -> str:
    script = SCRIPT.format(close=close)
    done = subprocess.run(
        [sys.executable, "-W", "always", "-c", script],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    return done.stderr


def test_an_emitter_that_was_not_closed_warns_and_flushes_at_exit() -> None:
    stderr = run(
        "producer = emit._delivery.producer; original = producer.flush\n"
        "import sys\n"
        "def flush(timeout):\n"
        "    print('flushed', file=sys.stderr)\n"
        "    return original(timeout)\n"
        "producer.flush = flush"
    )
    assert "ResourceWarning: an Emitter of topic 'row-events' was not closed" in stderr
    assert "flushed" in stderr


def test_a_closed_emitter_says_nothing_at_exit() -> None:
    assert run("emit.close()") == ""


SUMS = """
import os, sys, time, warnings
warnings.simplefilter("ignore")  # of an Emitter that is not closed, and of a fork beside threads
import atexit
late = []  # hooks run in the reverse order
os.register_at_fork(before=lambda: [call() for call in late])
from dynatomic import Emitter, FakeBroker, Row
broker = FakeBroker()
broker.create_topic("row-events")
atexit.register(lambda: print("exit", broker.logs["row-events"][0].high, flush=True))
emit = Emitter(producer=broker.producer(), sum_ms=60_000)
emit(Row("usage", "customer-7"))
emit(Row("usage", "customer-7"))
{then}
"""

FORK = """
if os.fork() == 0:
    for call in (lambda: emit(Row("usage", "customer-8")), emit.flush):
        try:
            call()
        except RuntimeError as error:
            print(error, flush=True)
    sys.exit()
os.wait()
print("parent", broker.logs["row-events"][0].high, flush=True)
emit(Row("usage", "customer-7"))
emit.close()
"""

LATE = """
late.append(lambda: (emit(Row("usage", "customer-9")), emit._sums._lock.acquire()))
if os.fork() == 0:
    try:
        emit(Row("usage", "customer-9"))
    except RuntimeError as error:
        print(error, flush=True)
    sys.exit()
emit._sums._lock.release()
os.wait()
emit.close()
"""
"""Another thread adds a row after the sums were sent, and holds the lock during the fork."""


def printed(then: str) -> list[str]:
    script = SUMS.format(then=then)
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=30
    )
    return done.stdout.splitlines()


def test_sums_are_sent_at_exit() -> None:
    assert printed("") == ["exit 1"]
    assert printed("emit.close()") == ["exit 1"]


def test_sums_are_sent_before_a_fork_and_by_the_parent_only() -> None:
    refused = "this Emitter belongs to the parent process: make one after fork"
    assert printed(FORK) == [refused, refused, "exit 1", "parent 1", "exit 2"]
    assert printed(LATE) == [refused, "exit 1", "exit 2"]
