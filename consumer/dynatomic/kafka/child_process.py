"""Calls of librdkafka that may kill their process are made in a child process."""

import pickle
import subprocess
import sys
from typing import Any


def run_child(module: str, task: Any) -> subprocess.CompletedProcess[bytes]:
    """Run a module with a pickled task on stdin, and return what it wrote to stdout."""
    return subprocess.run(  # noqa: S603 - the module is ours
        [sys.executable, "-m", module],
        input=pickle.dumps(task),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        check=False,
    )
