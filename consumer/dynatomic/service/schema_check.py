"""Checks a counters file with the schemas of its events when the consumer starts."""

import logging

from dynatomic.counting.definition import CountersFile
from dynatomic.errors import UnavailableError
from dynatomic.registry.open import WAIT_S, check_schemas

log = logging.getLogger(__name__)

SCHEMA_WAIT_S = WAIT_S
"""A read waits this long once; later reads do not wait until the registry answers."""


def check_at_start(definition: CountersFile | None, topic: str) -> None:
    """Log what may be wrong with the paths of a file; raises ConfigError for what is wrong.

    A registry that does not answer does not stop the start: partitions wait for it as they do
    later, with their cause in ``/livez``.
    """
    if definition is None:
        return
    try:
        warnings = check_schemas(definition, topic)
    except UnavailableError as error:
        warnings = [f"{error}; paths are not checked"]
    for warning in warnings:
        log.warning("counters file", extra={"fields": {"cause": warning}})
