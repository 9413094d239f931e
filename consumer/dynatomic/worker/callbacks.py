"""Callbacks of librdkafka. An exception in one would lose messages and make close() hang."""

from collections.abc import Callable
from typing import Any


class CallbackErrors:
    """Keeps the first exception of the callbacks, for the loop to raise."""

    def __init__(self) -> None:
        self.first: BaseException | None = None

    def guard(self, callback: Callable[..., None]) -> Callable[..., None]:
        """Return a callback that never raises."""

        def guarded(*args: Any) -> None:
            try:
                callback(*args)
            except BaseException as error:  # noqa: BLE001 - `raise_first` raises it
                self.first = self.first or error

        return guarded

    def raise_first(self) -> None:
        """Raise the first exception of a callback, if there is one."""
        if self.first is not None:
            raise self.first
