"""The reader of a file's format: from the bytes of a record to dicts and lists."""

from collections.abc import Callable
from typing import Any

from dynatomic.counting.compiler import Tree
from dynatomic.counting.definition import EventDefinition
from dynatomic.counting.formats.avro import avro_decoder
from dynatomic.counting.formats.envelopes import Decode, cloudevents, debezium
from dynatomic.counting.formats.framing import RecordHeaders, unframed
from dynatomic.counting.formats.schemas import SchemaSource


def is_plain_json(event: EventDefinition) -> bool:
    """Return whether the payload alone is the event, as JSON."""
    return event.format == "json" and event.framing == "none" and event.envelope == "none"


def reader_of(
    event: EventDefinition,
    tree: Tree,
    read_json: Callable[[bytes], Any],
    schemas: SchemaSource | None,
) -> Decode:
    """Return the function from a payload and its headers to the event, or `SKIPPED`.

    ``tree`` has the fields that the file reads. The function raises EventRejected, and
    SchemaUnavailableError where ``schemas`` does.
    """
    decode: Decode
    if event.format == "avro":
        if schemas is None:
            raise ValueError("a file of Avro events needs schemas")
        decode = avro_decoder(event.framing, schemas)
    elif event.framing == "none":

        def decode(value: bytes, _: RecordHeaders) -> Any:
            return read_json(value)

    else:

        def decode(value: bytes, headers: RecordHeaders) -> Any:
            return read_json(unframed(event.framing, value, headers)[1])

    if event.envelope == "cloudevents":
        reads_data = tree.variable is not None or "data" in tree.children
        return cloudevents(decode, reads_data=reads_data, structured=event.format == "json")
    return debezium(decode) if event.envelope == "debezium" else decode


def uses_headers(event: EventDefinition) -> bool:
    """Return whether the reader reads headers."""
    return event.envelope == "cloudevents" or event.framing == "confluent"
