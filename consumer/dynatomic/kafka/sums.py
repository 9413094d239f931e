"""Sums rows in the producer's process: one row for each counter and interval.

A thread sends the sums when the first of them is ``interval_s`` old, also if no further row
arrives. The sums are also sent when there are too many, before a ``fork``, and by `Sums.send`. A
process that is killed loses those of its last interval.
"""

import os
import threading
import weakref
from collections.abc import Callable

from dynatomic.errors import DeliveryError
from dynatomic.events.payload import Names
from dynatomic.events.row import Row, check

MAX_SUMS = 100_000
MAX_BYTES = 32 * 1024 * 1024
"""The largest number of waiting counters, and about how many bytes they may take."""

_LOWEST, _HIGHEST = -(2**61), 2**61
"""The limits of a sum. A row beyond them is sent alone."""

_COUNTER_BYTES = 300  # the objects of a counter without the characters of its names


class Sums:
    """Rows that wait to be sent as sums. Thread-safe.

    ``send`` sends one row and may raise DeliveryError. ``lost`` is called with the number of sums
    that were not sent because of it, and they are discarded. ``check_usable`` raises RuntimeError
    after `close` was called and in a child process. It is called for each new counter. After
    `close` and in a child process no sums are left, so every row is a new counter and is checked.
    """

    def __init__(
        self,
        send: Callable[[Row], None],
        lost: Callable[[int, DeliveryError], None],
        check_usable: Callable[[], None],
        interval_s: float,
    ) -> None:
        self._send_row = send
        self._lost = lost
        self._check_usable = check_usable
        self._interval_s = interval_s
        self._sums: dict[Names, int] = {}
        self._bytes = 0
        self._lock = threading.Lock()
        self._sending = threading.Lock()
        self._filled, self._ending = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None
        self._process = os.getpid()
        _ALL.add(self)

    def add(self, row: Row, *, wait: bool = True) -> bool:
        """Add a row; raises RowError if no consumer could count it.

        If the sums must be sent first, and that could block, this waits or returns False.
        """
        names, incr = row[:4], row.incr
        try:
            with self._lock:
                total = self._sums.get(names)
                # All sums are below the limit, so a sum below it proves that incr is an int64.
                if total is not None and type(incr) is int and _LOWEST <= total + incr <= _HIGHEST:
                    self._sums[names] = total + incr
                    return True
        except TypeError:  # a name of a wrong type
            check(row)
            raise
        check(row)
        if not _LOWEST <= incr <= _HIGHEST:
            if wait:
                self._check_usable()
                self._send_row(row)
            return wait
        while not self._put(names, incr):
            if not wait:
                return False
            self.send()
        return True

    def _put(self, names: Names, incr: int) -> bool:
        """Add to a counter; return False if the sums must be sent first."""
        size = _COUNTER_BYTES + sum(map(len, filter(None, names)))
        with self._lock:
            self._check_usable()
            total = self._sums.get(names, 0) + incr
            is_new = names not in self._sums
            is_full = len(self._sums) >= MAX_SUMS or self._bytes + size > MAX_BYTES
            if not _LOWEST <= total <= _HIGHEST or (is_new and is_full):
                return False
            if not self._sums:
                self._start()
            self._sums[names] = total
            self._bytes += size if is_new else 0
        return True

    def send(self) -> None:
        """Send all sums, and return when they are sent. What cannot be sent is reported as lost."""
        if os.getpid() != self._process:
            return
        with self._sending:
            with self._lock:
                taken, self._sums, self._bytes = self._sums, {}, 0
            for sent_count, (names, total) in enumerate(taken.items()):
                try:
                    self._send_row(Row._make((*names, total)))
                except DeliveryError as error:
                    self._lost(len(taken) - sent_count, error)
                    return

    def discard(self) -> None:
        """Drop all sums, in a child process. A thread of the parent may hold the lock."""
        self._lock, self._sums, self._bytes = threading.Lock(), {}, 0

    def close(self) -> None:
        """Send all sums, and end the thread. `check_usable` must raise from now on."""
        self.send()
        self._ending.set()
        self._filled.set()
        if self._thread is not None:
            self._thread.join()

    def _start(self) -> None:
        if self._thread is None:
            thread = threading.Thread(target=self._run, name="emitter-sums", daemon=True)
            thread.start()  # raises RuntimeError while the interpreter ends, and no row is taken
            self._thread = thread
        self._filled.set()

    def _run(self) -> None:
        # `close` sets both events, and `clear` may undo the second: the first ends the loop.
        while not self._ending.is_set():
            self._filled.wait()
            if self._ending.wait(self._interval_s):
                return
            self._filled.clear()
            self.send()


_ALL: "weakref.WeakSet[Sums]" = weakref.WeakSet()


def _send_before_fork() -> None:
    """Send what waits: the copies in the child process must not be sent a second time."""
    for sums in list(_ALL):
        sums.send()


def _discard_in_child() -> None:
    """Drop what another thread added just before the fork: the parent has it."""
    for sums in list(_ALL):
        sums.discard()


os.register_at_fork(before=_send_before_fork, after_in_child=_discard_in_child)
