"""The list of faults: what each is called, where it can run, and with what."""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Final

from tests.chaos.backends import Name
from tests.chaos.round import Round

Inject = Callable[[Round, Random], int]
"""Injects a fault while events are produced; returns how often it hit."""

EVERYWHERE: Final[tuple[Name, ...]] = ("embedded", "real", "cluster")


@dataclass(frozen=True)
class Kind:
    """One fault.

    ``alone``: it cannot be mixed with others, for it decides who runs and when. ``shared``: it
    breaks what other rounds use too. ``long``: it takes long and is only played when named.
    ``members`` and ``partitions`` are the least that it needs.
    """

    name: str
    group: int
    inject: Inject
    backends: tuple[Name, ...]
    protocols: tuple[str, ...]
    alone: bool
    shared: bool
    long: bool
    members: int
    partitions: int
    arguments: tuple[str, ...]
    twist: str


KINDS: Final[dict[str, Kind]] = {}


def fault(
    group: int,
    *,
    backends: tuple[Name, ...] = EVERYWHERE,
    protocols: tuple[str, ...] = ("classic", "consumer"),
    alone: bool = False,
    shared: bool = False,
    long: bool = False,
    members: int = 1,
    partitions: int = 1,
    arguments: tuple[str, ...] = (),
    twist: str = "",
) -> Callable[[Inject], Inject]:
    """Put a function on the list, under its name with dashes."""

    def register(inject: Inject) -> Inject:
        name = inject.__name__.replace("_", "-")
        KINDS[name] = Kind(
            name,
            group,
            inject,
            backends,
            protocols,
            alone,
            shared,
            long,
            members,
            partitions,
            arguments,
            twist,
        )
        return inject

    return register
