"""One real DynamoDB Local without Docker."""

from typing import Final

from dynatomic.errors import DynatomicError
from dynatomic.testing.embedded import call_dynamodb, free_port
from tests.support.jars import jars, java
from tests.support.kafka_server import SHORT_LIVED
from tests.support.process import Server

ENDPOINT_VARIABLE: Final = "DYNATOMIC_TEST_ENDPOINT_URL"


class DynamoDBLocal(Server):
    """One DynamoDB Local, in memory, one database for all credentials and regions."""

    def __init__(self, heap: str = "512m") -> None:
        """Start it. Raises `MissingError` without Java or jars, else `UnavailableError`."""
        folder = jars("dynamodb")
        port = free_port()
        self.endpoint_url = f"http://127.0.0.1:{port}"
        command = [java(), f"-Xmx{heap}", *SHORT_LIVED]
        command += [f"-Djava.library.path={folder}", "-cp", f"{folder}/*"]
        main = "com.amazonaws.services.dynamodbv2.local.main.ServerRunner"
        super().__init__("dynamodb-local")
        command.insert(1, f"-Djava.io.tmpdir={self._process.folder}")
        options = ["-inMemory", "-sharedDb", "-disableTelemetry", "-port", str(port)]
        with self._starting():
            self._process.launch([*command, main, *options], self._is_ready)

    def _is_ready(self) -> bool:
        try:
            call_dynamodb(self.endpoint_url, "ListTables", {})
        except (OSError, DynatomicError):
            return False
        return True
