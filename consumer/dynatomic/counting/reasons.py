"""Why a declared counter cannot count an event."""

from enum import StrEnum

from dynatomic.errors import RowError


class RejectReason(StrEnum):
    """The words of dead-letter headers and metrics, beside those of a row event."""

    FIELD_MISSING = "field-missing"
    FIELD_TYPE = "field-type"
    NOT_INTEGRAL = "not-integral"
    TIME_UNREADABLE = "time-unreadable"
    TIME_OUT_OF_RANGE = "time-out-of-range"
    UNDECODABLE = "undecodable"
    INCR_OUT_OF_BOUNDS = "incr-out-of-bounds"
    SCHEMA_UNKNOWN = "schema-unknown"
    NOT_FRAMED = "not-framed"
    KEY_EMPTY = "key-empty"
    KEY_TOO_LARGE = "key-too-large"


class EventRejected(RowError):  # noqa: N818 - it carries a verdict on an event, not a failure of ours
    """An event that a counter of the file cannot count.

    ``detail`` names the counter and the path, and never holds a value of the event.
    """
