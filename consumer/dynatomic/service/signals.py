"""SIGTERM and SIGINT of a process that has something to finish."""

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

NUMBERS = (signal.SIGTERM, signal.SIGINT)
GRACE_S = 1.0


class Signals:
    """SIGTERM and SIGINT: the first asks to stop, the second ends the process at once.

    A Python handler waits until the main thread is back from C, which a dead broker can delay;
    so the signals are read by a thread, from the pipe that Python's C handler writes to. It also
    ends the process when the shutdown takes longer than its bound. If C holds the interpreter, so
    that no thread of Python's can, a thread of C's does, and prints where all threads stand.
    """

    def __init__(self, bound_s: float) -> None:
        self.stop = threading.Event()
        self._bound_s = bound_s
        self._ready = False
        self._first = threading.Lock()
        self._read, self._write = socket.socketpair()
        self._write.setblocking(False)
        self._before: dict[int, Any] = {}
        self._fd = -1
        self._watcher = threading.Thread(target=self._watch, name="signals", daemon=True)
        self._late = threading.Timer(bound_s + GRACE_S, self._too_late)
        self._late.daemon = True

    def __enter__(self) -> Self:
        """Take the signals over."""
        # Somebody must listen before the handlers, which do nothing, take the defaults' place.
        self._fd = signal.set_wakeup_fd(self._write.fileno(), warn_on_full_buffer=False)
        self._watcher.start()
        for number in NUMBERS:
            self._before[number] = signal.signal(number, lambda *_: None)
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        """Give them back."""
        signal.set_wakeup_fd(self._fd)
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._late.cancel()
        faulthandler.cancel_dump_traceback_later()
        self._write.close()
        self._watcher.join()
        self._read.close()

    def ready(self) -> None:
        """Say that there may be something to finish; before that, one signal ends the process."""
        self._ready = True

    def bound(self) -> None:
        """End the process by force if it does not end within the bound from now; once."""
        if self._first.acquire(blocking=False):
            last = self._bound_s + 2 * GRACE_S
            faulthandler.dump_traceback_later(last, exit=True, file=sys.__stderr__ or 2)
            self._late.start()

    def _watch(self) -> None:
        while raw := self._read.recv(1):
            number = raw[0]
            if number not in NUMBERS:
                continue
            name = signal.Signals(number).name
            if self._ready and not self.stop.is_set():
                log.info("stopping", extra={"fields": {"signal": name, "bound_s": self._bound_s}})
                self.bound()
                self.stop.set()
            else:
                log.warning("forced to end", extra={"fields": {"signal": name}})
                os._exit(128 + number)

    def _too_late(self) -> None:
        log.error("not stopped in time; what was not committed will be read again")
        os._exit(1)
