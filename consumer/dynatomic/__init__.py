"""Turns DynamoDB into a counter you can bill from.

::

    from dynatomic import Emitter, Row, increment

    with Emitter("localhost:9092") as emit:        # many, summed and written by the group
        emit(Row("usage", "customer-7", incr=512))

    increment("usage", "customer-7")               # one, now; returns the new value

The consumer itself is the command ``dynatomic run``.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dynatomic.dynamodb.increment import aincrement, increment
    from dynatomic.dynamodb.increment_many import IncrementManyError, increment_many
    from dynatomic.errors import (
        ConfigError,
        DeliveryError,
        DynatomicError,
        IncrementError,
        LimitExceededError,
        RowError,
        UnavailableError,
    )
    from dynatomic.events.payload import decode
    from dynatomic.events.row import Row
    from dynatomic.kafka.async_emitter import AsyncEmitter
    from dynatomic.kafka.emitter import Emitter
    from dynatomic.testing.dynamodb.client import FakeDynamoDB
    from dynatomic.testing.kafka.broker import FakeBroker

__all__ = [
    "AsyncEmitter",
    "ConfigError",
    "DeliveryError",
    "DynatomicError",
    "Emitter",
    "FakeBroker",
    "FakeDynamoDB",
    "IncrementError",
    "IncrementManyError",
    "LimitExceededError",
    "Row",
    "RowError",
    "UnavailableError",
    "aincrement",
    "decode",
    "increment",
    "increment_many",
]

# Imported on demand: `dynatomic --help` must not wait for boto3 and librdkafka.
_MODULES = {
    "AsyncEmitter": "kafka.async_emitter",
    "Emitter": "kafka.emitter",
    "FakeBroker": "testing.kafka.broker",
    "FakeDynamoDB": "testing.dynamodb.client",
    "IncrementManyError": "dynamodb.increment_many",
    "Row": "events.row",
    "aincrement": "dynamodb.increment",
    "decode": "events.payload",
    "increment": "dynamodb.increment",
    "increment_many": "dynamodb.increment_many",
}


if not TYPE_CHECKING:  # a type checker would take every name for one of this module

    def __getattr__(name):  # noqa: ANN001, ANN202 - not seen by type checkers
        if name not in __all__:
            raise AttributeError(f"module 'dynatomic' has no attribute {name!r}")
        return getattr(import_module(f"dynatomic.{_MODULES.get(name, 'errors')}"), name)
