"""Consumed messages turned into what they add to which counter, whatever their format is.

The worker, `verify` and `dlq` read events only this way, so they always agree on an event.
"""

from collections.abc import Collection, Sequence
from typing import Any, Protocol

from dynatomic.events.decoder import Decoded, Decoder
from dynatomic.events.row import CounterRef
from dynatomic.kafka.messages import value_of


class EventReader(Protocol):
    """Reads what messages add. A pure function of the messages and the settings.

    ``decodes`` counts the payloads that no memo had. ``reads_only_payloads`` says that messages
    with equal payloads always add the same.
    """

    @property
    def decodes(self) -> int:
        """How many payloads were decoded."""

    @property
    def reads_only_payloads(self) -> bool:
        """Whether nothing but the payload of a message matters."""

    def read(self, messages: Sequence[Any], /) -> Decoded:
        """Return what each message adds, in order."""

    def refused_counters(
        self, message: Any, refs: Collection[CounterRef], /
    ) -> tuple[str, ...] | None:
        """Return the names by which a message adds to some counters; None if these are all.

        ``refs`` are counters that a table refused.
        """


class RowReader:
    """Reads row events: each adds to one counter, which its payload names."""

    reads_only_payloads = True

    def __init__(self, decoder: Decoder) -> None:
        self._decoder = decoder

    @property
    def decodes(self) -> int:
        """How many payloads Avro decoded."""
        return self._decoder.decodes

    def read(self, messages: Sequence[Any]) -> Decoded:
        """Return what each message adds, in order."""
        return self._decoder.decode(list(map(value_of, messages)))

    def refused_counters(
        self, message: Any, refs: Collection[CounterRef]
    ) -> tuple[str, ...] | None:
        """Return None: a row has one counter."""
