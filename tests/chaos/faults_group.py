"""Faults of the group: rebalances at bad moments, commits that fail, coordinators that move."""

from random import Random
from typing import Final

from confluent_kafka import KafkaError

from tests.chaos.backends import Mock
from tests.chaos.kinds import fault
from tests.chaos.round import Round
from tests.support.faults import DropRequest, server_error

COMMIT, COORDINATOR, HEARTBEAT, JOIN, NEW_HEARTBEAT = 8, 10, 12, 11, 68
MAX_POLL_MS: Final = 2500

COMMIT_ERRORS: Final = (
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError.REQUEST_TIMED_OUT,
    KafkaError.OFFSET_METADATA_TOO_LARGE,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.NOT_COORDINATOR,
    KafkaError.ILLEGAL_GENERATION,
    KafkaError.UNKNOWN_MEMBER_ID,
    KafkaError.REBALANCE_IN_PROGRESS,
    KafkaError.INVALID_COMMIT_OFFSET_SIZE,
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.UNKNOWN,
    KafkaError._TRANSPORT,
)


def _mock(round_: Round) -> Mock:
    assert round_.backend.mock is not None
    return round_.backend.mock


@fault(5, members=2)
def rebalance_storm(round_: Round, random_: Random) -> int:
    """Members join and leave each second."""
    hits = 0
    for _ in range(4):
        joined = round_.start()
        round_.pause(random_.uniform(0.3, 1))
        leaver = random_.choice([joined, *round_.alive()])
        round_.spare(leaver)
        leaver.signal(random_.choice((2, 15)))
        hits += 1
        round_.pause(random_.uniform(0, 0.5))
    return hits


@fault(
    5,
    members=2,
    partitions=4,
    arguments=("-X", f"max.poll.interval.ms={MAX_POLL_MS}"),
)
def poll_interval_exceeded(round_: Round, random_: Random) -> int:
    """The loop stops for longer than ``max.poll.interval.ms`` while its writes continue.

    The loop itself never waits for a write, and librdkafka does not count the time in callbacks:
    so the member is one that sleeps in its loop.
    """
    member = random_.choice(round_.alive())
    twist = f"loop-stalls:{MAX_POLL_MS / 1000 + random_.uniform(0.5, 1.5):.2f}"
    other = round_.replace(member, twist, round_.slot(member))
    notices = ("MAXPOLL", '"lost"')
    round_.until(lambda: any(t in other.text() for t in notices), 15)
    round_.more(2)
    return any(t in other.text() for t in notices)


@fault(5, members=2, partitions=6, arguments=("--shutdown-timeout-ms", "700"))
def flush_on_revoke_fails(round_: Round, random_: Random) -> int:
    """Writes fail while members have to give partitions up, for longer than their bound."""
    make = (DropRequest(), server_error(), server_error(applied=True))
    before = _told(round_, "revoked before it was written")
    with round_.rule(lambda _member, _request: random_.choice(make)):
        joined = round_.start()
        round_.spare(joined)
        round_.until(lambda: _told(round_, "revoked before it was written") > before, 4)
    joined.signal(15)
    return _told(round_, "revoked before it was written") - before


def _told(round_: Round, text: str) -> int:
    return sum(member.text().count(text) for member in round_.members)


@fault(6, backends=("embedded",), shared=True)
def commit_errors(round_: Round, random_: Random) -> int:
    """Commits fail with each error code in turn."""
    mock, codes = _mock(round_), list(COMMIT_ERRORS)
    random_.shuffle(codes)
    for code in codes:
        mock.broker.push_errors(COMMIT, [code] * random_.randint(1, 2))
        round_.pause(0.25)
    mock.broker.clear_errors(COMMIT)
    return len(codes)


@fault(6, backends=("embedded",), shared=True)
def commit_times_out(round_: Round, random_: Random) -> int:
    """Commits are answered seconds late."""
    _mock(round_).delay(COMMIT, random_.uniform(1, 3), 3)
    round_.pause(2)
    return 3


@fault(6, twist="commit-fails-for-one:2")
def commit_fails_for_one(round_: Round, random_: Random) -> int:
    """Each second commit succeeds for all partitions but one.

    The one is taken out of the request inside the process, and is answered with an error.
    """
    round_.pause(random_.uniform(1, 2))
    return _told(round_, "commit failed")


@fault(6, backends=("embedded",), shared=True)
def coordinator_moves(round_: Round, random_: Random) -> int:
    """Another broker becomes the group's coordinator."""
    mock = _mock(round_)
    other = mock.brokers[-1] if len(mock.brokers) > 1 else mock.add_broker()
    for broker in (other, 1):
        mock.move_coordinator(round_.group, broker)
        round_.pause(random_.uniform(0.3, 1))
    return 2


@fault(6, backends=("embedded",), shared=True)
def coordinator_gone(round_: Round, random_: Random) -> int:
    """There is no coordinator for a while."""
    return _no_coordinator(round_, random_.uniform(1, 3))


@fault(6, backends=("embedded",), shared=True, alone=True, long=True)
def coordinator_gone_60_s(round_: Round, random_: Random) -> int:
    """There is no coordinator for a minute."""
    return _no_coordinator(round_, random_.uniform(60, 61))


def _no_coordinator(round_: Round, seconds: float) -> int:
    broker = _mock(round_).broker
    keys = (COMMIT, HEARTBEAT, JOIN, NEW_HEARTBEAT)
    for key in keys:
        broker.push_errors(key, [KafkaError.NOT_COORDINATOR] * 5000)
    broker.push_errors(COORDINATOR, [KafkaError.COORDINATOR_NOT_AVAILABLE] * 5000)
    try:
        round_.pause(seconds)
    finally:
        for key in (*keys, COORDINATOR):
            broker.clear_errors(key)
    return 1
