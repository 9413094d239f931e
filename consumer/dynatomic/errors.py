"""The errors, split by what the caller does about them.

::

    DynatomicError            exit code 1: it failed, and the message says what to do
    |-- ConfigError           78: mend the configuration; retrying cannot help
    |-- UnavailableError      75: a server was not there in time; try again later
    |-- RowError              a bad row: a dead letter, or back to whoever emits it
    |-- DeliveryError         a producer could not confirm that its rows are stored
    `-- IncrementError        a direct increment was refused or its outcome is unknown

Every message is one line: what happened, where, and what to do about it. It never holds a
key, a payload or a credential.
"""


class DynatomicError(Exception):
    """Base of every error that this package raises on purpose."""

    exit_code = 1


class ConfigError(DynatomicError):
    """The configuration cannot work: a wrong setting, a missing table, a denied permission."""

    exit_code = 78


class UnavailableError(DynatomicError):
    """A server did not answer within the time that it was given."""

    exit_code = 75


class RowError(DynatomicError):
    """A row that cannot be counted.

    ``reason`` is one of the fixed words of `events.row.Reason`: it goes into dead-letter
    headers and metrics. The message has the details, without the row's key.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class DeliveryError(DynatomicError):
    """Rows were handed to the producer and are not known to be in the topic."""


class IncrementError(DynatomicError):
    """A direct increment failed; ``applied`` is False when it surely did not happen, else None."""

    def __init__(self, message: str, *, applied: bool | None) -> None:
        super().__init__(message)
        self.applied = applied
