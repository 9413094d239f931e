"""What ``dynatomic config`` prints: the settings in effect, and whether they can work."""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from consumer.errors import ConfigError
from consumer.settings import SETTINGS, Settings

MASK = "***"
_SECRET = re.compile(
    r"password|secret|token|key\.pem|\.jaas\.|private\.key|passphrase|credential"
    r"|sasl\.oauthbearer\.config",
    re.IGNORECASE,
)

_ONLINE = ("bootstrap.", "security.", "sasl.", "ssl.", "https.", "enable.sasl.", "enable.ssl.")


def show(settings: Settings, origins: Mapping[str, str] | None = None) -> Iterator[str]:
    """Yield the settings as lines of TOML, secrets masked.

    What is not set is a comment with what that means. With ``origins`` each line ends in a
    comment that says where the value came from.
    """

    def origin(name: str) -> str:
        return "" if origins is None else f"  # {_one_line(origins.get(name, 'default'))}"

    for setting in SETTINGS:
        value = getattr(settings, setting.name)
        if isinstance(value, dict):
            continue
        if value is None:
            unset = setting.shown_default.replace("<topic>", settings.topic)
            yield f"# {setting.name} = {_toml(unset)}{origin(setting.name)}"
        else:
            yield f"{setting.name} = {_toml(value)}{origin(setting.name)}"
    yield ""
    yield "[librdkafka]"
    for name, value in settings.librdkafka.items():
        text = MASK if _SECRET.search(name) else value
        yield f"{_toml(name)} = {_toml(text)}{origin(f'librdkafka.{name}')}"


def _toml(value: object) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, int | float):
        return str(value)
    # A JSON string is a TOML string, but for DEL, which TOML wants escaped.
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")


def _one_line(text: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in text)


def check(settings: Settings) -> Iterator[tuple[str, ConfigError | None]]:
    """Yield the name of every check and its error, if any. Nothing is asked of a server."""
    yield "settings", None  # they were checked as they were made
    checks: tuple[tuple[str, Callable[[Settings], object]], ...] = (
        ("tables", Settings.require_tables),
        ("writer schema", _writer_schema),
        ("librdkafka", _librdkafka),
    )
    for name, run in checks:
        try:
            run(settings)
        except ConfigError as error:
            yield name, error
        else:
            yield name, None


def _writer_schema(settings: Settings) -> None:
    from consumer.row import load_writer_schema  # noqa: PLC0415 -- only for who has one

    if isinstance(settings.writer_schema, Path):
        load_writer_schema(settings.writer_schema)


def _librdkafka(settings: Settings) -> None:
    from consumer import kafka  # noqa: PLC0415 -- takes a while to load

    # librdkafka knows its properties' names and values: it is made without a broker to talk to,
    # and without the logins, for which it might ask a server.
    for make, config in (
        (kafka.new_consumer, kafka.consumer_config(settings)),
        (kafka.new_producer, kafka.producer_config(settings)),
    ):
        make({name: value for name, value in config.items() if not name.startswith(_ONLINE)})
