"""What a registry answers."""

from typing import Protocol

from dynatomic.counting.formats.schemas import SchemaKey


class SchemaMissingError(Exception):
    """The registry says that there is no such schema."""


class RegistryError(Exception):
    """The registry gave no answer about the schema. The message says why, without credentials."""


class Registry(Protocol):
    """Asks a registry. Calls block for a bounded time."""

    @property
    def name(self) -> str:
        """Return the words for messages, such as its URL."""

    def fetch(self, key: SchemaKey, /) -> list[str]:
        """Return the text of a schema, after the texts of the schemas that it refers to.

        Raises SchemaMissingError, RegistryError, and SchemaRefusedError for one that is no Avro
        schema or that refers to too many others.
        """

    def latest(self, subject: str, /) -> list[str]:
        """Return the newest schema of a subject, as `fetch` does; raises the same."""
