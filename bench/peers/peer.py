"""What a peer is: a program that counts one topic as others would, in a process of its own."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Skip:
    """Why a peer cannot run here, in one line."""

    reason: str


@dataclass(frozen=True, slots=True)
class Peer:
    """One row of the table beside ours.

    ``events`` is the most it is given in a run, so that slow ones end. ``prepare`` installs what
    it needs, the first time, and returns the command that takes the plan (JSON) as its last
    argument; or a `Skip`. It raises nothing for what is missing on this machine. ``about`` says
    what it does otherwise than ours, and where its figures come from.
    """

    name: str
    label: str
    events: int
    prepare: Callable[[], list[str] | Skip]
    about: str = ""
