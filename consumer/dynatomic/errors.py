"""The errors, by what the caller can do about them.

::

    DynatomicError            exit code 1: the operation failed; the message says what to do
    |-- ConfigError           78: the configuration must be corrected; a retry cannot help
    |   `-- GroupRefusedError     the consumer group does not take this member
    |-- UnavailableError      75: a server did not answer in time; try again later
    |-- RowError              a row is invalid: it becomes a dead letter, or is not emitted
    |-- DeliveryError         a producer could not confirm that its rows are stored
    `-- IncrementError        a direct increment was refused, or its outcome is unknown
        |-- LimitExceededError    it would have exceeded its limit; nothing was counted
        `-- IncrementManyError    some rows of a list were not added, or perhaps not

Every message is one line: what happened, where, and what to do. It never contains a key, a payload
or a credential.
"""

from collections.abc import Iterable


def suggestion(given: str, known: Iterable[str]) -> str:
    """Return ``; did you mean 'x'?`` with the known name that is most similar, else nothing."""
    import difflib  # noqa: PLC0415 -- slow to load

    close = difflib.get_close_matches(given, list(known), n=1, cutoff=0.7)
    return f"; did you mean {close[0]!r}?" if close else ""


class DynatomicError(Exception):
    """Base of every error that this package raises on purpose."""

    exit_code = 1


class ConfigError(DynatomicError):
    """The configuration cannot work: an invalid setting, a missing table, a denied permission."""

    exit_code = 78


class GroupRefusedError(ConfigError):
    """The consumer group does not take this member: another assignor or group protocol."""


class UnavailableError(DynatomicError):
    """A server did not answer within the time limit."""

    exit_code = 75


class RowError(DynatomicError):
    """A row that cannot be counted.

    ``reason`` is a value of `events.row.Reason`. Dead-letter headers and metrics contain it.
    ``detail`` says more, without the row's key.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class DeliveryError(DynatomicError):
    """Rows were given to the producer, but the brokers did not confirm that they are stored."""


class IncrementError(DynatomicError):
    """A direct increment failed; ``applied`` is False if it was not applied, None if unknown."""

    def __init__(self, message: str, *, applied: bool | None) -> None:
        super().__init__(message)
        self.applied = applied


class LimitExceededError(IncrementError):
    """An increment would have raised the counter above its limit; nothing was counted.

    ``value`` is the value that the counter has, ``limit`` the limit of the call. In a time bucket,
    ``retry_after_s`` is the number of seconds until the next bucket starts; otherwise it is None.
    """

    def __init__(
        self, message: str, *, value: int, limit: int, retry_after_s: float | None
    ) -> None:
        super().__init__(message, applied=False)
        self.value = value
        self.limit = limit
        self.retry_after_s = retry_after_s
