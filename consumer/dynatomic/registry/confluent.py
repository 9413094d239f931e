"""A schema registry with Confluent's API, through Confluent's own client.

The client brings authentication, TLS, and the API. It has no limit for the size and the whole time
of an answer, so those are set here. Source: Confluent, *Schema Registry API Reference*.
"""

import time
from collections.abc import Iterator, Mapping
from typing import Any, Final

from dynatomic.counting.formats.avro_schema import MAX_SCHEMA_CHARACTERS, SchemaRefusedError
from dynatomic.counting.formats.schemas import SchemaKey
from dynatomic.errors import ConfigError
from dynatomic.registry.answers import RegistryError, SchemaMissingError

CONNECT_S: Final = 5.0
ANSWER_S: Final = 10.0
MAX_ANSWER_BYTES: Final = 4 * MAX_SCHEMA_CHARACTERS
MAX_REFERENCES: Final = 50

_NOT_FOUND: Final = 404
_MISSING_CODES: Final = range(40400, 40500)
_USER, _PASSWORD = "SCHEMA_REGISTRY_USER", "SCHEMA_REGISTRY_PASSWORD"
_TOKEN, _TOKEN_URL = "SCHEMA_REGISTRY_TOKEN", "SCHEMA_REGISTRY_OAUTH_TOKEN_URL"
_OAUTH: Final = {
    "SCHEMA_REGISTRY_OAUTH_CLIENT_ID": "bearer.auth.client.id",
    "SCHEMA_REGISTRY_OAUTH_CLIENT_SECRET": "bearer.auth.client.secret",
    "SCHEMA_REGISTRY_OAUTH_SCOPE": "bearer.auth.scope",
}
_TLS: Final = {
    "SCHEMA_REGISTRY_CA_FILE": "ssl.ca.location",
    "SCHEMA_REGISTRY_CERTIFICATE_FILE": "ssl.certificate.location",
    "SCHEMA_REGISTRY_KEY_FILE": "ssl.key.location",
    "SCHEMA_REGISTRY_KEY_PASSWORD": "ssl.key.password",
}


class ConfluentRegistry:
    """Asks a registry at a URL; credentials are in ``environment``. Raises ConfigError."""

    def __init__(self, url: str, environment: Mapping[str, str]) -> None:
        self.name = f"schema registry {url}"
        try:
            from confluent_kafka.schema_registry import (  # noqa: PLC0415 - an extra, 0.3 s
                SchemaRegistryClient,
            )
        except ImportError:
            raise ConfigError(
                "registry needs an extra; pip install 'dynatomic[registry]'"
            ) from None
        try:
            self._client = SchemaRegistryClient(
                {
                    "url": url,
                    "timeout": CONNECT_S,
                    "max.retries": 0,
                    **credentials(environment),
                }
            )
        except (OSError, ValueError, TypeError) as error:
            raise ConfigError(f"{self.name}: {_first_line(error)}") from None
        # httpx reads an answer of any size for any time, unless its stream ends. A compressed
        # answer could be larger than its stream, so none is asked for.
        session = self._client._rest_client.session  # noqa: SLF001
        session.headers["accept-encoding"] = "identity"
        session.event_hooks = {"response": [_bound]}

    def fetch(self, key: SchemaKey) -> list[str]:
        """Return the texts of a schema; see `answers.Registry`."""
        if key.kind == "guid":
            return self._texts(lambda: self._client.get_schema_by_guid(key.value))
        return self._texts(lambda: self._client.get_schema(int(key.value)))

    def latest(self, subject: str) -> list[str]:
        """Return the texts of the newest schema of a subject."""
        return self._texts(lambda: self._client.get_latest_version(subject).schema)

    def _texts(self, ask: Any) -> list[str]:
        texts: dict[tuple[str, int], str] = {}
        schema = _asked(ask)
        self._add_references(schema, texts, ())
        return [*texts.values(), _text(schema)]

    def _add_references(
        self, schema: Any, texts: dict[tuple[str, int], str], path: tuple[tuple[str, int], ...]
    ) -> None:
        for reference in _references(schema):
            if reference in path:
                raise SchemaRefusedError("its references form a cycle")
            if reference in texts:
                continue
            if len(path) + len(texts) >= MAX_REFERENCES:
                raise SchemaRefusedError(f"it has more than {MAX_REFERENCES} references")
            referred = _asked(
                lambda reference=reference: self._client.get_version(*reference).schema
            )
            self._add_references(referred, texts, (*path, reference))
            texts[reference] = _text(referred)
            if sum(map(len, texts.values())) > MAX_SCHEMA_CHARACTERS:
                raise SchemaRefusedError(f"it has more than {MAX_SCHEMA_CHARACTERS} characters")


def credentials(environment: Mapping[str, str]) -> dict[str, Any]:
    """Return the client's properties for what the environment has; raises ConfigError."""
    given = {name: value for name, value in environment.items() if value}
    properties = {target: given[name] for name, target in _TLS.items() if name in given}
    ways = [name for name in (_USER, _TOKEN, _TOKEN_URL) if name in given]
    if len(ways) > 1:
        raise ConfigError(f"{' and '.join(ways)} are set: give one way to log in to the registry")
    if _USER in given:
        properties["basic.auth.user.info"] = f"{given[_USER]}:{given.get(_PASSWORD, '')}"
    if _TOKEN in given or _TOKEN_URL in given:
        properties["bearer.auth.logical.cluster"] = given.get("SCHEMA_REGISTRY_LOGICAL_CLUSTER", "")
        if "SCHEMA_REGISTRY_IDENTITY_POOL" in given:
            properties["bearer.auth.identity.pool.id"] = given["SCHEMA_REGISTRY_IDENTITY_POOL"]
    if _TOKEN in given:
        properties["bearer.auth.credentials.source"] = "STATIC_TOKEN"
        properties["bearer.auth.token"] = given[_TOKEN]
    if _TOKEN_URL in given:
        missing = [name for name in _OAUTH if name not in given]
        if missing:
            raise ConfigError(f"{_TOKEN_URL} is set: {missing[0]} is missing")
        properties["bearer.auth.credentials.source"] = "OAUTHBEARER"
        properties["bearer.auth.issuer.endpoint.url"] = given[_TOKEN_URL]
        properties |= {target: given[name] for name, target in _OAUTH.items()}
    return properties


def _asked(ask: Any) -> Any:
    try:
        return ask()
    except Exception as error:  # noqa: BLE001 - whatever the client raises, there is no answer
        status = getattr(error, "http_status_code", None)
        if status == _NOT_FOUND and getattr(error, "error_code", None) in _MISSING_CODES:
            raise SchemaMissingError from None
        raise RegistryError(_problem(error, status)) from None


def _problem(error: Exception, status: int | None) -> str:
    if isinstance(error, RegistryError):
        return str(error)
    if status == _NOT_FOUND:
        return "HTTP 404 without an error code of a schema registry: check the path of the URL"
    if status is not None:
        return f"HTTP {status}"
    if type(error).__name__ == "OAuthTokenError":
        return "no OAuth token"
    if type(error).__module__.partition(".")[0] in {"httpx", "httpx2", "httpcore"}:
        return _first_line(error) or type(error).__name__
    return f"an answer that is not from a schema registry ({type(error).__name__})"


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), "")[:200]


def _text(schema: Any) -> str:
    if schema.schema_type not in {None, "AVRO"}:
        raise SchemaRefusedError("it is no Avro schema")
    if not isinstance(schema.schema_str, str):
        raise SchemaRefusedError("it has no text")
    return schema.schema_str


def _references(schema: Any) -> Iterator[tuple[str, int]]:
    for reference in schema.references or ():
        if not isinstance(reference.subject, str) or type(reference.version) is not int:
            raise SchemaRefusedError("a reference of it names no subject and version")
        yield reference.subject, reference.version


class _BoundedStream:
    """The stream of an answer, which ends with an error where it is too long or too slow."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._deadline = time.monotonic() + ANSWER_S

    def __iter__(self) -> Iterator[bytes]:
        size = 0
        for chunk in self._stream:
            size += len(chunk)
            if size > MAX_ANSWER_BYTES:
                raise RegistryError(f"an answer of more than {MAX_ANSWER_BYTES} bytes")
            if time.monotonic() > self._deadline:
                raise RegistryError(f"an answer that is not complete after {ANSWER_S:.0f} s")
            yield chunk

    def close(self) -> None:
        self._stream.close()


def _bound(response: Any) -> None:
    if response.headers.get("content-encoding", "identity") != "identity":
        raise RegistryError("a compressed answer, which was not asked for")
    response.stream = _bounded(response.stream)


def _bounded(stream: Any) -> Any:
    # httpx asks whether the stream is an instance of its own class, which it exports.
    kind = next(base for base in type(stream).__mro__ if base.__name__ == "SyncByteStream")
    return type("BoundedStream", (_BoundedStream, kind), {})(stream)
