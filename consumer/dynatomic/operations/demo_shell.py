"""A shell with the settings of the demo, so that no variables have to be pasted."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path


def on_terminal() -> bool:
    """Return whether a person can use a shell here."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def shell_beside(variables: Mapping[str, str], work: Callable[[threading.Event], None]) -> None:
    """Run the user's shell with these variables, and ``work`` beside it, until the shell ends.

    ``work`` gets an event that is set at the end. Its error is raised then. Ctrl-C is for the
    programs that run in the shell.
    """
    ended, errors = threading.Event(), list[BaseException]()

    def guarded() -> None:
        try:
            work(ended)
        except BaseException as error:  # noqa: BLE001 - raised below
            errors.append(error)

    thread = threading.Thread(target=guarded, name="demo")
    # Not SIG_IGN, which the shell would inherit.
    before = signal.signal(signal.SIGINT, lambda *_: None)
    thread.start()
    try:
        subprocess.run([_shell()], env=_environment(variables), check=False)  # noqa: S603 - the user's own shell
    finally:
        signal.signal(signal.SIGINT, before)
        ended.set()
        thread.join()
    if errors:
        raise errors[0]


def _shell() -> str:
    return os.environ.get("SHELL") or "/bin/sh"


def _environment(variables: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of the shell, in which `dynatomic` is this installation's command."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    return {**os.environ, **variables, "PATH": path}
