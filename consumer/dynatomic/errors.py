"""The errors, by what the caller can do about them.

::

    DynatomicError            exit code 1: the operation failed; the message says what to do
    |-- ConfigError           78: the configuration must be corrected; a retry cannot help
    |-- UnavailableError      75: a server did not answer in time; try again later
    |-- RowError              a row is invalid: it becomes a dead letter, or is not emitted
    |-- DeliveryError         a producer could not confirm that its rows are stored
    `-- IncrementError        a direct increment was refused, or its outcome is unknown

Every message is one line: what happened, where, and what to do. It never contains a key, a payload
or a credential.
"""


class DynatomicError(Exception):
    """Base of every error that this package raises on purpose."""

    exit_code = 1


class ConfigError(DynatomicError):
    """The configuration cannot work: an invalid setting, a missing table, a denied permission."""

    exit_code = 78


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
