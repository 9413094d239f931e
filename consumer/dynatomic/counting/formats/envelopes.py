"""Envelopes around the data of events: CloudEvents and Debezium.

CloudEvents 1.0 has two forms on Kafka: *structured*, where the payload is a JSON object with the
attributes and ``data``, and *binary*, where the attributes are headers that begin with ``ce_`` and
the payload is the data alone. Both give one event: the attributes, and ``data``. Debezium's JSON
converter puts the change into ``payload`` beside its ``schema``; without schemas, and in Avro, the
change is the event itself.
"""

from collections.abc import Callable
from typing import Any, Final, Literal

from dynatomic.counting.formats.framing import RecordHeaders
from dynatomic.counting.reasons import EventRejected, RejectReason

Envelope = Literal["none", "cloudevents", "debezium"]
Decode = Callable[[bytes, RecordHeaders], Any]

ENVELOPES: Final = ("none", "cloudevents", "debezium")
SKIPPED: Final = object()
"""Returned instead of an event for a tombstone."""

_PREFIX: Final = "ce_"


def cloudevents(decode: Decode, *, reads_data: bool, structured: bool) -> Decode:
    """Return the decoder of CloudEvents whose data ``decode`` reads.

    Data is decoded only if ``reads_data``, so it may be of any type if no counter needs it.
    ``structured`` says whether ``decode`` reads JSON, which the structured form is.
    """

    def decode_event(value: bytes, headers: RecordHeaders) -> Any:
        attributes = {
            name.removeprefix(_PREFIX): _text(content)
            for name, content in headers or ()
            if name.startswith(_PREFIX)
        }
        if "specversion" in attributes:
            content_type = [content for name, content in headers or () if name == "content-type"]
            if content_type:
                attributes["datacontenttype"] = _text(content_type[-1])
            return {**attributes, "data": decode(value, headers) if reads_data else None}
        if not structured:
            raise _no_event("CloudEvent: the header ce_specversion is missing")
        event = decode(value, headers)
        if type(event) is not dict or type(event.get("specversion")) is not str:
            raise _no_event("CloudEvent: specversion is neither in a header nor in the payload")
        return event

    return decode_event


def debezium(decode: Decode) -> Decode:
    """Return the decoder of Debezium's changes; `SKIPPED` for a tombstone with a schema."""

    def decode_change(value: bytes, headers: RecordHeaders) -> Any:
        event = decode(value, headers)
        if type(event) is dict and "payload" in event and "op" not in event:
            event = event["payload"]
            if event is None:
                return SKIPPED
        if type(event) is not dict or type(event.get("op")) is not str:
            raise _no_event("change of Debezium: op is missing")
        return event

    return decode_change


def _text(value: bytes | None) -> str | None:
    try:
        return None if value is None else value.decode()
    except UnicodeDecodeError:
        return None


def _no_event(what: str) -> EventRejected:
    return EventRejected(RejectReason.UNDECODABLE, f"no {what}")
