"""What a test needs of this machine, and what it does where that is absent."""

import os
import shutil
from collections.abc import Callable
from typing import TypeVar

import pytest

from tests.support.apicurio import Apicurio
from tests.support.dynamodb_local import DynamoDBLocal
from tests.support.kafka_cluster import KafkaCluster
from tests.support.kafka_server import KafkaServer
from tests.support.process import MissingError

_Server = TypeVar("_Server", KafkaServer, KafkaCluster, DynamoDBLocal, Apicurio)
missing: dict[str, str] = {}
"""What this run could not test, with the reason."""

running: list[KafkaServer | KafkaCluster | DynamoDBLocal | Apicurio] = []
"""The real servers that tests share, for their logs in reports."""


def unless_missing(what: str, start: Callable[[], _Server]) -> _Server:
    """Start a real server; what it needs may be absent, but not where CI says it is there."""
    try:
        server = start()
    except MissingError as error:
        if os.environ.get("CI") == "true":
            pytest.fail(f"CI=true, but no {what}: {error}", pytrace=False)
        missing[what] = str(error)
        pytest.skip(f"no {what}: {error}")
    running.append(server)
    return server


def needs(program: str, *, in_ci: bool = True) -> str:
    """Find a program; the test is skipped without it, but not in CI, which installs it.

    A program that no Debian package has is not ``in_ci``.
    """
    found = shutil.which(program)
    if found is None:
        if in_ci and os.environ.get("CI") == "true":
            pytest.fail(f"CI=true, but no {program}", pytrace=False)
        missing[program] = f"{program} is not installed"
        pytest.skip(f"no {program}")
    return found
