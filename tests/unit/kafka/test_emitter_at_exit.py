"""An Emitter that nobody closed sends its rows when the interpreter ends."""

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
        "producer = emit._producer; original = producer.flush\n"
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
