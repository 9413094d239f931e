"""SIGTERM and SIGINT: a shutdown that finishes the open windows, within a bound."""

import faulthandler
import logging
import os
import signal
import socket
import sys
import threading
from types import TracebackType
from typing import Any, Self

log = logging.getLogger(__name__)

SIGNAL_NUMBERS = (signal.SIGTERM, signal.SIGINT)
GRACE_S = 1.0
"""How long after its bound a shutdown is ended by force."""


class Signals:
    """The first signal sets ``stop``; the second one ends the process at once.

    Python runs a signal handler only after the main thread returns from C, which can take long
    while brokers are down. So a thread reads the signals from the pipe that Python's C handler
    writes to. A timer ends the process if the shutdown takes longer than ``bound_s``. If C code
    holds the interpreter lock, no thread of Python can run; then faulthandler's C thread prints
    the stack of each thread and ends the process.
    """

    def __init__(self, bound_s: float) -> None:
        self.stop = threading.Event()
        self._bound_s = bound_s
        self._ready = False
        self._bound_started = threading.Lock()
        self._read_socket, self._write_socket = socket.socketpair()
        self._write_socket.setblocking(False)
        self._previous_handlers: dict[int, Any] = {}
        self._previous_fd = -1
        self._reader = threading.Thread(target=self._read_signals, name="signals", daemon=True)
        self._force_timer = threading.Timer(bound_s + GRACE_S, self._end_by_force)
        self._force_timer.daemon = True

    def __enter__(self) -> Self:
        """Install the handlers."""
        # The reader starts first: from here on the handlers do nothing, and only it reacts.
        self._previous_fd = signal.set_wakeup_fd(
            self._write_socket.fileno(), warn_on_full_buffer=False
        )
        self._reader.start()
        for signal_number in SIGNAL_NUMBERS:
            handler = signal.signal(signal_number, lambda *_: None)
            self._previous_handlers[signal_number] = handler
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        """Restore the handlers that were there before."""
        signal.set_wakeup_fd(self._previous_fd)
        for signal_number, handler in self._previous_handlers.items():
            signal.signal(signal_number, handler)
        self._force_timer.cancel()
        faulthandler.cancel_dump_traceback_later()
        self._write_socket.close()
        self._reader.join()
        self._read_socket.close()

    def ready(self) -> None:
        """From now on the first signal stops the loop; until now it ended the process at once."""
        self._ready = True

    def bound(self) -> None:
        """End the process by force if it has not ended within the bound from now. Starts once."""
        if self._bound_started.acquire(blocking=False):
            timeout_s = self._bound_s + 2 * GRACE_S
            faulthandler.dump_traceback_later(timeout_s, exit=True, file=sys.__stderr__ or 2)
            self._force_timer.start()

    def _read_signals(self) -> None:
        while raw := self._read_socket.recv(1):
            signal_number = raw[0]
            if signal_number not in SIGNAL_NUMBERS:
                continue
            name = signal.Signals(signal_number).name
            if self._ready and not self.stop.is_set():
                log.info("stopping", extra={"fields": {"signal": name, "bound_s": self._bound_s}})
                self.bound()
                self.stop.set()
            elif not self._ready:
                log.info("ended before the start", extra={"fields": {"signal": name}})
                os._exit(128 + signal_number)
            else:
                log.warning("forced to end", extra={"fields": {"signal": name}})
                os._exit(128 + signal_number)

    def _end_by_force(self) -> None:
        log.error("not stopped in time; what was not committed will be read again")
        os._exit(1)
