"""A running consumer on the embedded broker and table, with traffic, to look at.

::

    python -m tests.playground            # until Ctrl-C; prints the address of the page
    python -m tests.playground docs/page.png   # the same for 100 s, then takes its picture
"""

import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from consumer import Emitter, Row
from consumer.embedded import Embedded
from consumer.row import KeySchema

TABLE: Final = "usage"
PICTURE_S: Final = 100.0

CHROMIUM: Final = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--hide-scrollbars", "--disable-extensions", "--disable-dev-shm-usage"),
)


def chromium() -> str | None:
    """Find the browser."""
    return shutil.which("chromium") or shutil.which("chromium-browser")


def browse(*arguments: str, timeout: float = 60) -> str:
    """Run the headless browser once, with a profile of its own; return what it printed."""
    found = chromium()
    assert found is not None, "no chromium"
    with tempfile.TemporaryDirectory(prefix="dynatomic-chromium-") as profile:
        done = subprocess.run(
            [found, *CHROMIUM, f"--user-data-dir={profile}", *arguments],
            capture_output=True,
            text=True,
            timeout=timeout,
            check=True,
        )
    return done.stdout


def picture(url: str, path: Path, size: tuple[int, int], *, dark: bool = False) -> None:
    """Save what a browser window of this size shows."""
    browse(
        f"--screenshot={path}",
        f"--window-size={size[0]},{size[1]}",
        "--virtual-time-budget=4000",
        *(["--blink-settings=preferredColorScheme=0"] if dark else []),
        url,
    )


def main(arguments: Sequence[str]) -> None:
    """Play."""
    chance = random.Random(1)  # noqa: S311 - traffic
    with Embedded({"row-events": 6, "row-events.dlq": 1}, {TABLE: KeySchema("pk")}) as embedded:
        command = [sys.executable, "-m", "consumer", "run", "--table", TABLE]
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
            _traffic(embedded.bootstrap_servers, chance, PICTURE_S if arguments else 3600.0)
            if arguments:
                picture(url, Path(arguments[0]), (1180, 1000))
        finally:
            process.terminate()
            process.wait()


def _traffic(bootstrap_servers: str, chance: random.Random, seconds: float) -> None:
    """Send a few thousand events a second, up and down, and now and then a bad one."""
    end = time.monotonic() + seconds
    rate = 3000.0
    with Emitter(bootstrap_servers) as emit:
        while time.monotonic() < end:
            rate = min(6000.0, max(800.0, rate * chance.uniform(0.8, 1.25)))
            for _ in range(int(rate / 5)):
                key = f"customer-{int(chance.paretovariate(0.8)) % 400}"
                emit(Row(TABLE, key, incr=chance.randrange(1, 2000)))
            if chance.random() < 0.2:
                emit(Row(TABLE, "customer-1", incr=2_000_000))
            time.sleep(0.2)


if __name__ == "__main__":
    main(sys.argv[1:])
