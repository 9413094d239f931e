"""Turns DynamoDB into a counter you can bill from.

::

    from consumer import Emitter, Row, increment

    with Emitter("localhost:9092") as emit:        # many, summed and written by the group
        emit(Row("usage", "customer-7", incr=512))

    increment("usage", "customer-7")               # one, now; returns the new value

The consumer itself is the command ``dynatomic run``.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from consumer.counters import increment
    from consumer.emit import Emitter
    from consumer.errors import (
        ConfigError,
        DeliveryError,
        DynatomicError,
        IncrementError,
        RowError,
        UnavailableError,
    )
    from consumer.fakes import FakeBroker, FakeDynamoDB
    from consumer.row import Row

__all__ = [
    "ConfigError",
    "DeliveryError",
    "DynatomicError",
    "Emitter",
    "FakeBroker",
    "FakeDynamoDB",
    "IncrementError",
    "Row",
    "RowError",
    "UnavailableError",
    "increment",
]

# Imported on demand: `dynatomic --help` must not wait for boto3 and librdkafka.
_WHERE = {
    "Emitter": "emit",
    "FakeBroker": "fakes",
    "FakeDynamoDB": "fakes",
    "Row": "row",
    "increment": "counters",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'consumer' has no attribute {name!r}")
    return getattr(import_module(f"consumer.{_WHERE.get(name, 'errors')}"), name)
