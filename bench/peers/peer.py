"""A peer: another program that counts a topic, in a separate process."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Skip:
    """Why a peer cannot run here, in one line."""

    reason: str


@dataclass(frozen=True, slots=True)
class Peer:
    """One row of the table beside ours.

    ``events`` is the maximum number in a run, so that slow peers end. ``prepare`` installs the peer
    at the first call, and returns a command that takes the plan (JSON) as its last argument. If a
    tool is missing on this machine, it returns a `Skip` and raises nothing. ``about`` says how the
    peer differs from ours.
    """

    name: str
    label: str
    events: int
    prepare: Callable[[], list[str] | Skip]
    about: str = ""
