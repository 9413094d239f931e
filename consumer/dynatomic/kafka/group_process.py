"""Describes a group in a process of its own.

If the coordinator of a group goes away while it is asked, librdkafka 2.16.0 can abort the process:
the assertion of rd_kafka_enq_once_del_source_return fails, also in a client that is used once. So
the consumer asks in a child process.
"""

import pickle
import sys

from dynatomic.config.settings import Settings
from dynatomic.errors import DynatomicError, UnavailableError
from dynatomic.kafka.child_process import run_child
from dynatomic.kafka.client import admin_config, new_admin
from dynatomic.kafka.groups import GroupDescription, describe_group


def describe_group_apart(settings: Settings) -> GroupDescription | None:
    """Return what `describe_group` returns, and raise what it raises.

    Raises UnavailableError if the other process was aborted too.
    """
    child = run_child("dynatomic.kafka.group_process", settings)
    if child.returncode:
        raise UnavailableError(f"group {settings.group_id} cannot be described now; try again")
    answer: GroupDescription | DynatomicError | None = pickle.loads(child.stdout)  # noqa: S301 - from our own child
    if isinstance(answer, DynatomicError):
        raise answer
    return answer


def main() -> int:
    """Describe the group of the settings on stdin; write the answer, or the error."""
    settings: Settings = pickle.load(sys.stdin.buffer)  # noqa: S301 - from the process that started this
    answer: GroupDescription | DynatomicError | None
    try:
        answer = describe_group(new_admin(admin_config(settings)), settings)
    except DynatomicError as error:
        answer = error
    sys.stdout.buffer.write(pickle.dumps(answer))
    return 0


if __name__ == "__main__":
    sys.exit(main())
