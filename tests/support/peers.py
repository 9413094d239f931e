"""The peers of the benchmark, by name."""

from bench.peers import PEERS, Peer


def peer(name: str) -> Peer:
    return next(p for p in PEERS if p.name == name)
