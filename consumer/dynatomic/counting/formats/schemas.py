"""The schema of a payload, and the sources of schemas."""

from collections.abc import Mapping
from typing import Literal, NamedTuple, Protocol

from dynatomic.counting.formats.avro_schema import AvroSchema
from dynatomic.counting.reasons import EventRejected, RejectReason
from dynatomic.errors import UnavailableError

KeyKind = Literal["id", "guid", "glue", "fingerprint", "file"]


class SchemaKey(NamedTuple):
    """The permanent name of a schema: an id or GUID of a registry, a version of Glue, or a file.

    ``value`` is a decimal number for an id, a UUID in its usual form for a GUID and for Glue, and
    the CRC-64-AVRO fingerprint as 16 hex digits of the bytes in their order in the payload.
    """

    kind: KeyKind
    value: str

    def __str__(self) -> str:
        """Return the words for messages."""
        return f"schema {self.kind} {self.value}" if self.value else "the schema file"


class SchemaUnavailableError(UnavailableError):
    """A schema is not known now, because its registry does not answer or refuses the request.

    The event is not rejected: the partition waits, and the schema is requested again.
    """


class SchemaSource(Protocol):
    """Returns schemas by their keys, and requests each only once."""

    def schema(self, key: SchemaKey, /) -> AvroSchema:
        """Return a schema.

        Raises EventRejected if there is no such schema or if it is refused, and
        SchemaUnavailableError if that cannot be known now.
        """


class FileSchemas:
    """The schemas that the counters file names: one, or many by their fingerprints."""

    def __init__(self, schemas: Mapping[SchemaKey, AvroSchema]) -> None:
        self._schemas = schemas

    def schema(self, key: SchemaKey) -> AvroSchema:
        """Return a schema; raises EventRejected if no file has it."""
        try:
            return self._schemas[key]
        except KeyError:
            raise schema_unknown(key) from None


def schema_unknown(key: SchemaKey) -> EventRejected:
    """Return the error for an event whose schema does not exist."""
    return EventRejected(RejectReason.SCHEMA_UNKNOWN, f"there is no {key}")
