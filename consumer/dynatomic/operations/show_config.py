"""``dynatomic config``: prints the settings in effect, and checks them."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from dynatomic.config.catalogue import SETTINGS
from dynatomic.config.properties import is_secret
from dynatomic.config.settings import Settings
from dynatomic.console import printable
from dynatomic.errors import DynatomicError

MASK = "***"
TICK, CROSS = "\N{CHECK MARK}", "\N{BALLOT X}"
_ONLINE = (
    "bootstrap.",
    "security.",
    "sasl.",
    "ssl.",
    "https.",
    "enable.sasl.",
    "enable.ssl.",
    "oauth",
)
# Otherwise the client would request a Kerberos ticket, by running kinit.
_NO_TICKET = {"sasl.kerberos.min.time.before.relogin": "0"}
_SOMEBODY = {"sasl.username": MASK, "sasl.password": MASK}
_SASL = {"security.protocol": "SASL_PLAINTEXT"}


def show(settings: Settings, origins: Mapping[str, str] | None = None) -> Iterator[str]:
    """Yield the settings as lines of TOML, secrets masked.

    A setting that is not set is a comment with its default. With ``origins`` each line ends in a
    comment that says where the value came from.
    """

    def origin(name: str) -> str:
        return "" if origins is None else f"  # {printable(origins.get(name, 'default'))}"

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
        text = MASK if is_secret(name) else value
        yield f"{_toml(name)} = {_toml(text)}{origin(f'librdkafka.{name}')}"


def _toml(value: object) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, int | float):
        return str(value)
    # A JSON string is a TOML string, except for DEL, which TOML requires to be escaped.
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The name of a check, a detail, and the error if the check failed."""

    name: str
    detail: str = ""
    error: DynatomicError | None = None

    def line(self) -> str:
        """Return the result as a line with a tick or a cross."""
        text = self.error or self.detail
        return f"{CROSS if self.error else TICK} {self.name}" + (f": {text}" if text else "")


def run_check(name: str, run: Callable[[], str | None]) -> CheckResult:
    """Return the result of one check; ``run`` returns the detail or raises."""
    try:
        return CheckResult(name, run() or "")
    except DynatomicError as error:
        return CheckResult(name, error=error)


def check(settings: Settings) -> Iterator[CheckResult]:
    """Yield the result of each check. No server is asked."""
    yield CheckResult("settings")  # `Settings` has checked them
    if settings.counters is not None:
        yield run_check("counters", lambda: _counters(settings))
    else:
        yield run_check("tables", lambda: ", ".join(settings.require_tables()))
    yield run_check("writer schema", lambda: _writer_schema(settings))
    yield run_check("librdkafka", lambda: _librdkafka(settings))


def _counters(settings: Settings) -> str:
    from dynatomic.counting.from_settings import load_counters  # noqa: PLC0415 -- only with a file

    settings, definition = load_counters(settings)
    if definition is None:
        return ""
    return (
        f"{definition.path}: {len(definition.counters)} counters, "
        f"{len(definition.examples)} examples as expected, "
        f"tables {', '.join(settings.tables)}, fingerprint {definition.fingerprint}"
    )


def _writer_schema(settings: Settings) -> None:
    from dynatomic.events.schema import load_writer_schema  # noqa: PLC0415 -- only for who has one

    if isinstance(settings.writer_schema, Path):
        load_writer_schema(settings.writer_schema)


def _librdkafka(settings: Settings) -> None:
    from dynatomic.kafka import client as kafka  # noqa: PLC0415 -- takes a while to load

    # librdkafka checks names and values of its properties when a client is created without brokers.
    for make, config in (
        (kafka.new_consumer, kafka.consumer_config(settings)),
        (kafka.new_producer, kafka.producer_config(settings)),
    ):
        make({name: value for name, value in config.items() if not name.startswith(_ONLINE)})
    login = kafka.admin_config(settings) | _NO_TICKET
    del login["bootstrap.servers"]
    mechanism = login.pop("sasl.mechanism", None) or login.pop("sasl.mechanisms", None)
    if mechanism and mechanism.upper() == "OAUTHBEARER":
        login = {name: value for name, value in login.items() if "oauth" not in name}
        mechanism, login = "PLAIN", login | _SOMEBODY
    if mechanism:
        # librdkafka ignores an unknown mechanism unless the protocol needs a login.
        kafka.new_admin({"sasl.mechanisms": mechanism, "logger": kafka.log} | _SASL | _SOMEBODY)
        login["sasl.mechanisms"] = mechanism
    kafka.new_admin(login)
