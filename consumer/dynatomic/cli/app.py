"""Makes a function a command: it gets its settings and its flags, and logging is set up.

A command imports what it needs when it runs, so that ``--help`` does not load the clients of
Kafka and AWS.
"""

import inspect
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter

from dynatomic.cli.environment import warn_of_unknown_variables
from dynatomic.cli.sources import Sources, signature
from dynatomic.config.catalogue import SETTINGS
from dynatomic.config.settings import Settings
from dynatomic.telemetry import logs

ALL = tuple(setting.name for setting in SETTINGS)
BROKERS = ("bootstrap_servers", "kafka_auth", "tls_verification", "librdkafka")
KAFKA = (*BROKERS, "topic", "tables")
RULES = (
    "group_id",
    "counter",
    "allowed_counters",
    "processing_guarantee",
    "min_incr",
    "max_incr",
    "writer_schema",
    "counters",
    "max_payload_bytes",
)
"""The settings that decide whether an event is counted."""

EndpointUrl = Annotated[
    str | None,
    Parameter(
        name="--endpoint-url",
        metavar="URL",
        help="Address of DynamoDB, if it is not AWS. Default: AWS_ENDPOINT_URL_DYNAMODB, then "
        "AWS_ENDPOINT_URL. Region, profile and credentials are read as by every AWS client.",
    ),
]


def version() -> str:
    """Return the name and the installed version."""
    from importlib import metadata  # noqa: PLC0415 -- slow to load

    try:
        return f"dynatomic {metadata.version('dynatomic')}"
    except metadata.PackageNotFoundError:
        return "dynatomic, not installed"


sources = Sources()
app = App(
    name="dynatomic",
    help="Sums events from a Kafka topic into DynamoDB counters.",
    version=version,
    config=sources,
    help_format="plaintext",
    suppress_keyboard_interrupt=False,
)


def command(group: App, *names: str) -> Callable[[Callable[..., int]], Callable[..., int]]:
    """Return a decorator that makes a function a command of ``group``.

    The command has a flag for each setting in ``names``, and gets them as `Settings`.
    """

    def register(function: Callable[..., int]) -> Callable[..., int]:
        def call(*args: object, config: Path | None = None, **given: Any) -> int:  # noqa: ARG001
            # `Sources` has read the file of --config.
            settings = Settings(**{name: given.pop(name) for name in names if name in given})
            # The lines of a service are read by programs, those of a command by people.
            logs.setup(settings.log_level, for_people=function.__name__ != "run")
            warn_of_unknown_variables()
            return function(settings, *args, **given)

        call.__signature__ = signature(function, names)  # type: ignore[attr-defined]
        # cyclopts reads annotations before the signature.
        call.__annotations__ = {}
        name = function.__name__.replace("_", "-")
        group.command(call, name=name, help=inspect.getdoc(function))
        return function

    return register


def flag(text: str) -> Parameter:
    """Return the parameter of a flag without a value, which is off by default."""
    return Parameter(help=text, negative=(), show_default=False)


def say(lines: Iterable[str]) -> int:
    """Print each line when it arrives; return the exit code 0."""
    for line in lines:
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()
    return 0
