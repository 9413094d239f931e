"""Why a declared counter cannot count an event."""

from enum import StrEnum

from dynatomic.errors import RowError


class RejectReason(StrEnum):
    """Reasons in dead-letter headers and metrics; `Reason` has those of row events."""

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


class EventRejected(RowError):  # noqa: N818 - a result for an event, not an error of this program
    """An event that a counter of the file cannot count.

    ``detail`` names the counter and the path, and never holds a value of the event.
    """
