"""A running consumer on the embedded broker and table, with traffic, to look at.

::

    python -m tests.support.playground            # until Ctrl-C; prints the address of the page
    python -m tests.support.playground docs/page.png   # the same for 100 s, then takes its picture
"""

import random
import re
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from dynatomic import Emitter, Row
from dynatomic.events.row import KeySchema
from dynatomic.testing.embedded import Embedded
from tests.support.browser import Browser

TABLE: Final = "usage"
PICTURE_S: Final = 100.0


def main(arguments: Sequence[str]) -> None:
    """Play."""
    chance = random.Random(1)  # noqa: S311 - traffic
    with Embedded({"row-events": 6, "row-events.dlq": 1}, {TABLE: KeySchema("pk")}) as embedded:
        command = [sys.executable, "-m", "dynatomic", "run", "--table", TABLE]
        command += ["--processing-guarantee", "exactly-once", "--max-incr", "1000000"]
        process = subprocess.Popen(
            command, env=embedded.environment(), stderr=subprocess.PIPE, text=True
        )
        try:
            assert process.stderr is not None
            url = next(
                found[1]
                for line in process.stderr
                if (found := re.search(r'"url": "(http[^"]+)"', line))
            )
            print(url, flush=True)  # noqa: T201 - what it is for
            ended = threading.Event()
            traffic = threading.Thread(
                target=_traffic, args=(embedded.bootstrap_servers, chance, ended)
            )
            traffic.start()
            try:
                if not arguments:
                    process.wait()
                time.sleep(PICTURE_S)
                with Browser((1180, 932)) as browser:
                    browser.open(url)
                    browser.wait("document.querySelector('polyline')")
                    browser.picture(Path(arguments[0]))
            finally:
                ended.set()
                traffic.join()
        finally:
            process.terminate()
            process.wait()


def _traffic(bootstrap_servers: str, chance: random.Random, ended: threading.Event) -> None:
    """Send a few thousand events a second, up and down, and now and then a bad one."""
    rate = 3000.0
    with Emitter(bootstrap_servers) as emit:
        while not ended.wait(0.2):
            rate = min(6000.0, max(800.0, rate * chance.uniform(0.8, 1.25)))
            for _ in range(int(rate / 5)):
                key = f"customer-{int(chance.paretovariate(0.8)) % 400}"
                emit(Row(TABLE, key, incr=chance.randrange(1, 2000)))
            if chance.random() < 0.2:
                emit(Row(TABLE, "customer-1", incr=2_000_000))


if __name__ == "__main__":
    main(sys.argv[1:])
