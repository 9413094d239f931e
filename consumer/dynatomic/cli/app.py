"""How a function becomes a command: its settings, its flags, the logs; and what it prints.

What a command does is imported when it runs: ``--help`` must not wait for the clients of Kafka
and AWS.
"""

import inspect
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter

from dynatomic.cli.sources import Sources, signature
from dynatomic.config.settings import SETTINGS, Settings
from dynatomic.telemetry import logs

ALL = tuple(setting.name for setting in SETTINGS)
BROKERS = ("bootstrap_servers", "kafka_auth", "tls_verification", "librdkafka")
KAFKA = (*BROKERS, "topic", "tables")
RULES = ("group_id", "counter", "processing_guarantee", "min_incr", "max_incr", "writer_schema")
"""The settings by which an event counts or does not."""

EndpointUrl = Annotated[
    str | None,
    Parameter(
        name="--endpoint-url",
        metavar="URL",
        help="DynamoDB, if not AWS's. Else AWS_ENDPOINT_URL_DYNAMODB or AWS_ENDPOINT_URL, and "
        "region, profile and credentials as for every AWS client.",
    ),
]


def version() -> str:
    """Return the name and the version of what is installed."""
    from importlib import metadata  # noqa: PLC0415 -- slow to load

    try:
        return f"dynatomic {metadata.version('dynatomic')}"
    except metadata.PackageNotFoundError:
        return "dynatomic, not installed"


sources = Sources()
app = App(
    name="dynatomic",
    help="Sums row events from a Kafka topic into DynamoDB counters.",
    version=version,
    config=sources,
    help_format="plaintext",
    suppress_keyboard_interrupt=False,
)


def command(group: App, *names: str) -> Callable[[Callable[..., int]], Callable[..., int]]:
    """Make a function a command that has the named settings, and gets them as `Settings`."""

    def register(function: Callable[..., int]) -> Callable[..., int]:
        def call(*args: object, config: Path | None = None, **given: Any) -> int:  # noqa: ARG001
            # The file has been read by now: see Sources.
            settings = Settings(**{name: given.pop(name) for name in names if name in given})
            logs.setup(settings.log_level)
            return function(settings, *args, **given)

        call.__signature__ = signature(function, names)  # type: ignore[attr-defined]
        # cyclopts would rather believe these than the signature.
        call.__annotations__ = {}
        group.command(call, name=function.__name__, help=inspect.getdoc(function))
        return function

    return register


def flag(text: str) -> Parameter:
    """Return what stands behind a switch: off unless given."""
    return Parameter(help=text, negative=(), show_default=False)


def say(lines: Iterable[str]) -> int:
    """Print lines as they come, and return the exit code 0."""
    for line in lines:
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()
    return 0
