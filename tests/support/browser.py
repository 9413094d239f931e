"""A headless Chromium, controlled over the HTTP of WebDriver without a library.

Source: W3C WebDriver, and ChromeDriver's `goog:` extensions for device sizes and the console.
"""

import base64
import json
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from dynatomic.testing.embedded import free_port
from tests.support.process import reaper

START_S: Final = 30.0

_FLAGS: Final = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--hide-scrollbars", "--disable-extensions", "--disable-dev-shm-usage"),
)


class Browser:
    """One browser window with its own profile, as a context manager."""

    def __init__(self, size: tuple[int, int] = (1180, 960), *, dark: bool = False) -> None:
        """Start it, with a viewport of this size in CSS pixels."""
        self._folder = tempfile.TemporaryDirectory(prefix="dynatomic-browser-")
        port = free_port()
        self._url = f"http://127.0.0.1:{port}"
        command = ["chromedriver", f"--port={port}", "--log-level=OFF"]
        self._driver = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        reaper().add(self._driver.pid)
        try:
            self._start(size)
            if dark:
                self.dark()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        """Return it."""
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        """End it."""
        self.close()

    def _start(self, size: tuple[int, int]) -> None:
        flags = [*_FLAGS, f"--user-data-dir={self._folder.name}"]
        width, height = size
        metrics = {"width": width, "height": height, "pixelRatio": 1, "mobile": False}
        options: dict[str, Any] = {"args": flags, "mobileEmulation": {"deviceMetrics": metrics}}
        wanted = {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
        deadline = time.monotonic() + START_S
        while True:
            try:
                self._call("GET", "/status")
                break
            except OSError:
                assert time.monotonic() < deadline, "chromedriver does not answer"
                time.sleep(0.05)
        made = self._call("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})
        self._url += f"/session/{made['sessionId']}"

    def close(self) -> None:
        """End the browser and its driver."""
        try:
            if "/session/" in self._url:
                self._call("DELETE", "")
        finally:
            self._driver.terminate()
            self._driver.wait()
            reaper().remove(self._driver.pid)
            self._folder.cleanup()

    def dark(self) -> None:
        """Use the dark colour scheme."""
        feature = {"name": "prefers-color-scheme", "value": "dark"}
        self._cdp("Emulation.setEmulatedMedia", {"features": [feature]})

    def resize(self, size: tuple[int, int]) -> None:
        """Give the window another size."""
        width, height = size
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self._cdp("Emulation.setDeviceMetricsOverride", metrics)

    def open(self, url: str) -> None:
        """Go to a page, and wait until it is loaded."""
        self._call("POST", "/url", {"url": url})

    def run(self, script: str) -> Any:
        """Return what a script returns."""
        return self._call("POST", "/execute/sync", {"script": script, "args": []})

    def wait(self, condition: str, seconds: float = 20) -> None:
        """Wait until an expression is true in the page."""
        deadline = time.monotonic() + seconds
        while not self.run(f"return Boolean({condition})"):
            assert time.monotonic() < deadline, f"not so: {condition}\n{self.text()}"
            time.sleep(0.05)

    def text(self) -> str:
        """Return the visible text."""
        return str(self.run("return document.body.innerText"))

    def complaints(self) -> list[str]:
        """Return the messages of the browser: errors, and violations of the policy."""
        return [entry["message"] for entry in self._call("POST", "/se/log", {"type": "browser"})]

    def picture(self, path: Path) -> None:
        """Save a screenshot of the window."""
        path.write_bytes(base64.b64decode(self._call("GET", "/screenshot")))

    def _cdp(self, command: str, params: dict[str, Any]) -> None:
        self._call("POST", "/goog/cdp/execute", {"cmd": command, "params": params})

    def _call(self, method: str, path: str, body: object = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self._url}{path}", data, method=method)  # noqa: S310 - ours
        with urllib.request.urlopen(request, timeout=60) as response:  # noqa: S310 - as above
            return json.load(response)["value"]
