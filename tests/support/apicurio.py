"""Apicurio Registry, a schema registry that has Confluent's API too."""

from pathlib import Path
from typing import Final

import urllib3

from dynatomic.testing.embedded import free_port
from tests.support.jars import java, unpacked
from tests.support.kafka_server import SHORT_LIVED
from tests.support.process import Server

# Newer versions are not on Maven Central as something that runs.
ARTIFACT: Final = "io.apicurio:apicurio-registry-app:2.6.13.Final:tar.gz:all"


class Apicurio(Server):
    """One registry that keeps its schemas in memory. ``url`` is that of Confluent's API."""

    def __init__(self, heap: str = "256m") -> None:
        """Start it. Raises `MissingError` without Java or the archive, else `UnavailableError`."""
        folder = unpacked(ARTIFACT, "apicurio")
        (runner,) = Path(folder).glob("apicurio-*-runner.jar")
        self._port = free_port()
        self.url = f"http://127.0.0.1:{self._port}/apis/ccompat/v7"
        super().__init__("apicurio")
        command = [java(), f"-Xmx{heap}", *SHORT_LIVED, f"-Dquarkus.http.port={self._port}"]
        command += ["-Dquarkus.http.host=127.0.0.1", "-jar", str(runner)]
        with self._starting():
            self._process.launch(command, self._is_ready)

    def _is_ready(self) -> bool:
        try:
            answer = urllib3.request("GET", f"{self.url}/subjects", timeout=2, retries=False)
        except urllib3.exceptions.HTTPError:
            return False
        return answer.status == 200
