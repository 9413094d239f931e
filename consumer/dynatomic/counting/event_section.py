"""The section ``[event]`` of a file: the format, its schemas, the envelope, and the time."""

from pathlib import Path
from typing import Any, Final, cast
from urllib.parse import urlsplit

from dynatomic.counting.definition import EventDefinition, Format
from dynatomic.counting.formats.avro_schema import AvroSchema, SchemaRefusedError, read_schema
from dynatomic.counting.formats.envelopes import ENVELOPES, Envelope
from dynatomic.counting.formats.fingerprint import fingerprint
from dynatomic.counting.formats.framing import FRAMINGS, Framing
from dynatomic.counting.formats.schemas import SchemaKey
from dynatomic.counting.times import UNITS_PER_SECOND, utc_offset_ms
from dynatomic.counting.toml_values import Raw, at, check_names, choice, duration, expression, text
from dynatomic.errors import ConfigError

MAX_SCHEMA_FILES: Final = 100

_NAMES: Final = (
    *("format", "framing", "registry", "subject", "schema", "envelope"),
    *("time", "time_unit", "utc_offset", "max_age", "max_ahead"),
)
_FORMATS: Final = ("json", "avro")


def read_event(raw: Raw, folder: Path) -> EventDefinition:
    """Check the section; ``folder`` is where its schema files are. Raises ConfigError."""
    with at("[event]"):
        check_names(raw, _NAMES)
        unit = choice(raw, "time_unit", tuple(UNITS_PER_SECOND), None)
        time = expression(raw, "time")
        if unit and time is None:
            raise ConfigError("time_unit needs time, the path of a number")
        event_format = cast("Format", choice(raw, "format", _FORMATS, "json"))
        registry = _registry(raw)
        framing = cast(
            "Framing", choice(raw, "framing", FRAMINGS, "confluent" if registry else "none")
        )
        _check_schema_keys(raw, event_format, framing)
        return EventDefinition(
            format=event_format,
            framing=framing,
            registry=registry,
            subject=text(raw, "subject"),
            schemas=_schemas(raw, framing, folder),
            envelope=cast("Envelope", choice(raw, "envelope", ENVELOPES, "none")),
            time=time,
            time_unit=unit,
            utc_offset_ms=utc_offset_ms(text(raw, "utc_offset") or "UTC"),
            max_age_s=duration(raw, "max_age"),
            max_ahead_s=duration(raw, "max_ahead"),
        )


def _registry(raw: Raw) -> str | None:
    url = text(raw, "registry")
    if url is None:
        return None
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ConfigError("registry must be a URL such as https://registry:8081")
    if parts.username or parts.password:
        raise ConfigError(
            "registry has a password in it: give credentials in the environment, as "
            "SCHEMA_REGISTRY_USER and SCHEMA_REGISTRY_PASSWORD"
        )
    return url


def _check_schema_keys(raw: Raw, event_format: Format, framing: Framing) -> None:
    """Refuse keys that the format and the framing do not use, and ask for those that they need."""
    needs: str | None = None
    if event_format == "json":
        if framing not in {"none", "confluent"}:
            raise ConfigError(f'framing {framing!r} needs format = "avro"')
    elif framing == "confluent":
        needs = "registry"
    elif framing != "glue":
        needs = "schema"
    used = {needs, "subject"} if needs == "registry" else {needs}
    if needs is not None and needs not in raw:
        example = "https://registry:8081" if needs == "registry" else "event.avsc"
        raise ConfigError(f'framing {framing!r} needs {needs}, such as {needs} = "{example}"')
    for key in ("registry", "subject", "schema"):
        if key in raw and key not in used:
            why = "AWS Glue is reached with the AWS settings" if framing == "glue" else "not used"
            raise ConfigError(f"{key} with format {event_format!r}, framing {framing!r}: {why}")


def _schemas(raw: Raw, framing: Framing, folder: Path) -> dict[SchemaKey, AvroSchema]:
    value: Any = raw.get("schema")
    if value is None:
        return {}
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ConfigError("schema must be the name of a file, or an array of names")
    if framing == "none" and len(names) != 1:
        raise ConfigError("framing 'none' takes one schema, because payloads do not name theirs")
    if not 0 < len(names) <= MAX_SCHEMA_FILES:
        raise ConfigError(f"schema has {len(names)} files; 1 to {MAX_SCHEMA_FILES} are possible")
    schemas = {}
    for name in names:
        with at(f"schema {name}"):
            content = _content(folder / name)
            try:
                schema = read_schema([content])
                mark = fingerprint(content) if framing == "single-object" else ""
            except SchemaRefusedError as error:
                raise ConfigError(f"the schema cannot be used: {error}") from None
        schemas[SchemaKey("fingerprint" if mark else "file", mark)] = schema
    return schemas


def _content(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise ConfigError("not UTF-8") from None
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}") from None
