"""The consumer processes: ``python -m tests.chaos.member`` forks one for each line on stdin.

Each runs `cli.main.main`, which is the command ``dynatomic``, in a separate process that can be
killed or stopped. The imports are done once, before any client is made: a start costs a tenth of
what a new interpreter would. A line is a JSON object: ``argv``, ``env``, ``log`` (where stderr
goes), ``twist`` (see `tests.chaos.twists`) and an ``id``; lines on stdout contain the ``pid`` of
the id and, later, its exit ``code``.
"""

import contextlib
import gc
import json
import os
import select
import signal
import socket
import sys
import traceback
from typing import Any

import dynatomic.service.run  # noqa: F401 - so that no child needs to import it
from dynatomic.cli import main as cli
from tests.chaos import twists


def main() -> int:
    """Serve until stdin is closed."""
    ended, wake = socket.socketpair()
    for end in (ended, wake):
        end.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake.fileno())
    gc.freeze()
    lines = b""
    children: dict[int, int] = {}
    while True:
        readable, _, _ = select.select([sys.stdin.fileno(), ended], [], [])
        if ended in readable:
            ended.recv(4096)
            _report_ended(children)
        if sys.stdin.fileno() in readable:
            read = os.read(sys.stdin.fileno(), 1 << 16)
            if not read:
                return 0
            *whole, lines = (lines + read).split(b"\n")
            for line in whole:
                wanted = json.loads(line)
                pid = _fork(wanted)
                children[pid] = wanted["id"]
                _say({"id": wanted["id"], "pid": pid})


def _say(what: dict[str, int]) -> None:
    os.write(sys.stdout.fileno(), json.dumps(what).encode() + b"\n")


def _report_ended(children: dict[int, int]) -> None:
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            _say({"id": children.pop(pid), "code": os.waitstatus_to_exitcode(status)})


def _fork(wanted: dict[str, Any]) -> int:
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.setsid()
        nothing = os.open(os.devnull, os.O_RDWR)
        log = os.open(wanted["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        for number, file in enumerate((nothing, log, log)):
            os.dup2(file, number)
        os.environ.clear()
        os.environ.update(wanted["env"])
        twists.apply(wanted["twist"])
        code = cli.main(wanted["argv"])
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except BaseException:  # noqa: BLE001 - nothing of the parent may run in the child
        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    sys.exit(main())
