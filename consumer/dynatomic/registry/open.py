"""The schemas of a counters file: from its files, or from the registry that it names."""

import os
from collections.abc import Iterator, Mapping
from typing import Final

from dynatomic.counting.check_schema import check_schema
from dynatomic.counting.definition import CountersFile
from dynatomic.counting.formats.avro_schema import AvroSchema, SchemaRefusedError, read_schema
from dynatomic.counting.formats.schemas import FileSchemas, SchemaSource
from dynatomic.errors import ConfigError, UnavailableError
from dynatomic.registry.answers import Registry, RegistryError, SchemaMissingError
from dynatomic.registry.cached import CachedSchemas

WAIT_S: Final = 2.0
"""How long a reader waits for the first answer about a schema before it continues without it."""


def open_schemas(
    definition: CountersFile,
    *,
    wait_s: float = WAIT_S,
    environment: Mapping[str, str] = os.environ,
) -> SchemaSource | None:
    """Return where the schemas of a file come from, None if its events need none.

    A registry is not asked yet. Raises ConfigError if it cannot be used as it is configured.
    """
    registry = _registry(definition, environment)
    if registry is not None:
        return CachedSchemas(registry, wait_s)
    return FileSchemas(definition.event.schemas) if definition.event.schemas else None


def check_schemas(
    definition: CountersFile, topic: str, *, environment: Mapping[str, str] = os.environ
) -> list[str]:
    """Check the paths of a file with its schemas, and return warnings.

    With a registry, they are checked with the newest schema of its subject. A subject that does
    not exist yet is a warning. Raises ConfigError for a path that cannot work, and
    UnavailableError if the registry does not answer.
    """
    return list(_checked(definition, topic, environment))


def _checked(definition: CountersFile, topic: str, environment: Mapping[str, str]) -> Iterator[str]:
    event = definition.event
    for key, schema in event.schemas.items():
        yield from check_schema(definition, schema, str(key))
    if event.registry is None:
        return
    registry = _registry(definition, environment)
    subject = event.subject or f"{topic}-value"
    if registry is None:
        return
    location = f"{definition.path}: [event]: {registry.name}: subject {subject}"
    try:
        schema = _latest(registry, subject)
    except SchemaMissingError:
        yield (
            f"{location} does not exist: paths are not checked; set subject if it has another name"
        )
    except SchemaRefusedError as error:
        raise ConfigError(f"{location}: the schema cannot be used: {error}") from None
    except RegistryError as error:
        raise UnavailableError(f"{location}: {error}") from None
    else:
        yield from check_schema(definition, schema, f"subject {subject}")


def _latest(registry: Registry, subject: str) -> AvroSchema:
    return read_schema(registry.latest(subject))


def _registry(definition: CountersFile, environment: Mapping[str, str]) -> Registry | None:
    event = definition.event
    if event.format != "avro":
        return None
    if event.registry is not None:
        from dynatomic.registry.confluent import ConfluentRegistry  # noqa: PLC0415 - takes 0.3 s

        return ConfluentRegistry(event.registry, environment)
    if event.framing == "glue":
        from dynatomic.registry.glue import GlueRegistry  # noqa: PLC0415 - brings botocore

        return GlueRegistry()
    return None
