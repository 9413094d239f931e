"""Faults of a cluster of three brokers: killed leaders, lost tails, unclean elections."""

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from random import Random
from typing import Final

from dynatomic.testing.embedded import environment
from tests.chaos.kinds import fault
from tests.chaos.plan import StuckError
from tests.chaos.round import DRAIN_S, Round
from tests.support.kafka_cluster import BROKERS, KafkaCluster, Node

_COMMAND: Final = re.compile(
    r"(?:log was cut|no longer has the)[^\n]*?then `dynatomic (offsets [^`]*)`"
)


def _cluster(round_: Round) -> KafkaCluster:
    assert round_.backend.cluster is not None
    return round_.backend.cluster


def _heal(round_: Round) -> None:
    """Wait until all replicas are in sync: the next broker may go."""
    cluster, topics = _cluster(round_), (round_.topic, "__consumer_offsets")
    round_.must(lambda: all(cluster.in_sync(t) == len(BROKERS) for t in topics), "in sync", 90)


@contextmanager
def _without(round_: Round, number: int) -> Iterator[Node]:
    """Kill a broker for the block, which must not last: two replicas have to be in sync."""
    cluster = _cluster(round_)
    with cluster.one_at_a_time:
        broker = cluster.brokers[number]
        broker.kill()
        try:
            # Until the controller knows that it is gone, it could lead again without its tail.
            topics = (round_.topic, "__consumer_offsets")
            round_.must(lambda: all(cluster.in_sync(t) == 2 for t in topics), "noticed")
            yield broker
        finally:
            cluster.restart(number)
            _heal(round_)


@fault(7, backends=("cluster",), shared=True)
def broker_killed_and_tail_cut(round_: Round, random_: Random) -> int:
    """Each broker in turn is killed, loses the tails of its logs, and comes back.

    The others have all that was acknowledged, so nothing may be missing.
    """
    hits = 0
    for number in random_.sample(BROKERS, len(BROKERS)):
        with _without(round_, number) as broker:
            round_.must_write()
            hits += broker.cut_tails(round_.topic, random_) > 0
            broker.cut_tails("__consumer_offsets", random_)
    return hits


@fault(7, backends=("cluster",), shared=True)
def leader_killed(round_: Round, random_: Random) -> int:
    """The leader of a partition is killed while events are produced, three times."""
    for _ in range(3):
        partition = random_.randrange(round_.load.shape.partitions)
        with _without(round_, _cluster(round_).leader(round_.topic, partition)):
            round_.pause(random_.uniform(0.2, 2))
            round_.must_write()
    return 3


@fault(7, backends=("cluster",), shared=True, alone=True, long=True)
def unclean_election(round_: Round, random_: Random) -> int:
    """Each broker in turn comes back without its tail before the controller noticed its end.

    It may lead again at once: then the cluster loses events that it had acknowledged, and gives
    their offsets to others. Members stop such partitions, and the fault does what they say. Lost
    events may be counted; each event that the topic has at the end must be.
    """
    cluster, hits, done = _cluster(round_), 0, set[str]()
    round_.has_lost_events = True
    for number in random_.sample(BROKERS, len(BROKERS)):
        broker = cluster.brokers[number]
        with cluster.one_at_a_time:
            broker.kill()
            hits += broker.cut_tails(round_.topic, random_) > 0
            cluster.restart(number)
            _heal(round_)
        _repair(round_, done)
    round_.load.pause()
    round_.must(lambda: _repair(round_, done) or not round_.behind(), "drained", DRAIN_S)
    round_.load.resume()
    return hits


def _repair(round_: Round, done: set[str]) -> bool:
    """Run the commands of partitions that stopped since, with the group stopped.

    Returns False, so that it can be called until something else is true.
    """
    text = "".join(member.text() for member in round_.members)
    commands = {c for c in _COMMAND.findall(text) if f"{c} {text.count(c)}" not in done}
    if commands:
        round_.stop_members()
        text = "".join(member.text() for member in round_.members)
        env = environment(round_.backend.bootstrap_servers, round_.backend.endpoint_url)
        for command in sorted(commands):
            done.add(f"{command} {text.count(command)}")
            argv = [sys.executable, "-m", "dynatomic", *shlex.split(command)]
            ended = subprocess.run(argv, env=env, capture_output=True, text=True, check=False)
            (round_.folder / "repairs.log").open("a").write(
                f"{command}\n{ended.stdout}{ended.stderr}"
            )
            if ended.returncode:
                raise StuckError(f"{command}: {ended.stderr[-500:]}")
        round_.start_members()
    return False
