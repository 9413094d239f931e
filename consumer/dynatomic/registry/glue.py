"""The AWS Glue Schema Registry. Source: AWS, *Glue API*, ``GetSchemaVersion``."""

from typing import Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from dynatomic.counting.formats.avro_schema import SchemaRefusedError
from dynatomic.counting.formats.schemas import SchemaKey
from dynatomic.errors import ConfigError
from dynatomic.registry.answers import RegistryError, SchemaMissingError

_TIMEOUT_S: Final = 5


class GlueRegistry:
    """Asks Glue with the AWS settings of the process: region, credentials, endpoint.

    Needs the action ``glue:GetSchemaVersion``. Raises ConfigError without a region.
    """

    def __init__(self, client: Any = None) -> None:
        self.name = "AWS Glue"
        try:
            self._client = _client() if client is None else client
        except BotoCoreError as error:
            raise ConfigError(f"{self.name}: {error}") from None

    def fetch(self, key: SchemaKey) -> list[str]:
        """Return the text of a schema version; see `answers.Registry`."""
        try:
            answer = self._client.get_schema_version(SchemaVersionId=key.value)
        except ClientError as error:
            code = error.response.get("Error", {}).get("Code", "")
            if code == "EntityNotFoundException":
                raise SchemaMissingError from None
            raise RegistryError(f"GetSchemaVersion: {code}") from None
        except BotoCoreError as error:
            raise RegistryError(f"GetSchemaVersion: {type(error).__name__}") from None
        if answer.get("DataFormat") != "AVRO":
            raise SchemaRefusedError("it is no Avro schema")
        return [answer["SchemaDefinition"]]

    def latest(self, subject: str) -> list[str]:
        """Raise RegistryError: Glue has no subjects."""
        raise RegistryError(f"there is no subject {subject}")


def _client() -> Any:
    import boto3  # noqa: PLC0415 - only where a file names Glue
    from botocore.config import Config  # noqa: PLC0415

    config = Config(
        connect_timeout=_TIMEOUT_S,
        read_timeout=_TIMEOUT_S,
        retries={"total_max_attempts": 1},
    )
    return boto3.client("glue", config=config)
