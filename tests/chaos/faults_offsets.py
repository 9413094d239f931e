"""Faults of offsets and topics: what an operator, or retention, does to a group that is stopped.

Where the product has to stop with a message, the fault waits for it and then does what it says.
"""

import signal
from random import Random
from typing import Final

from confluent_kafka import Consumer, KafkaException, TopicPartition

from dynatomic.kafka.topics import topic_id
from tests.chaos.kinds import fault
from tests.chaos.round import Round

MESSAGE_S: Final = 20.0


def _set(round_: Round, offsets: dict[int, int], about: str = "") -> None:
    """Commit offsets while the group is empty, as Kafka's own tools do; ``about`` is metadata.

    The mock cluster takes commits of members only: there it is done as the only one.
    """
    if not offsets:
        return
    places = [TopicPartition(round_.topic, n, offset, about) for n, offset in offsets.items()]
    config = {
        "bootstrap.servers": round_.backend.bootstrap_servers,
        "group.id": round_.group,
        "group.protocol": round_.plan.protocol,
        "enable.auto.commit": "false",
        "log_level": "0",
    }
    if round_.plan.protocol == "classic":
        config["partition.assignment.strategy"] = "cooperative-sticky"
        config["session.timeout.ms"] = str(round_.backend.classic_ms)
    operator = Consumer(config)

    def owner() -> bool:
        operator.poll(0.05)
        return len(operator.assignment()) == round_.load.shape.partitions

    def done() -> bool:
        """Try until the group has no other members: killed ones stay for a session."""
        try:
            found = operator.commit(offsets=places, asynchronous=False)
        except KafkaException:
            return False
        return all(place.error is None for place in found or ())

    try:
        if round_.backend.name == "embedded":
            operator.subscribe([round_.topic])
            round_.must(owner, "the only member of the group")
        round_.must(done, "offsets set")
    finally:
        operator.close()


def _stopped(round_: Round, random_: Random) -> dict[int, int]:
    """End all members, in order or not, and return the committed offsets."""
    round_.must(lambda: bool(round_.committed()), "committed")
    round_.stop_members(random_.choice((signal.SIGTERM, signal.SIGKILL)))
    return round_.committed()


@fault(8, alone=True)
def offsets_rewound(round_: Round, random_: Random) -> int:
    """Committed offsets are set back, some to the beginning."""
    committed = _stopped(round_, random_)
    back = {n: random_.choice((0, random_.randint(0, o))) for n, o in committed.items()}
    _set(round_, back)
    round_.start_members()
    round_.must_write()
    return len(back)


@fault(8, alone=True)
def offsets_deleted(round_: Round, random_: Random) -> int:
    """The group's offsets are deleted; the mock cluster cannot: there the group gets a new name."""
    _stopped(round_, random_)
    if round_.backend.name == "embedded":
        round_.group += "-2"
    else:
        admin = round_.backend.admin

        def deleted() -> bool:
            (future,) = admin.delete_consumer_groups([round_.group]).values()
            return future.exception(10) is None

        round_.must(deleted, "the group deleted")
    round_.forget_group()
    round_.start_members()
    round_.must_write()
    return 1


@fault(8, alone=True)
def offsets_beyond_the_end(round_: Round, random_: Random) -> int:
    """Committed offsets stand beyond the end: members stop with a message until they are reset."""
    committed = _stopped(round_, random_)
    round_.load.pause()
    ends = round_.ends()
    number = random_.choice(sorted(committed))
    _set(round_, {number: ends[number] + random_.randint(1, 1000)})
    _stops(round_, "no longer has the committed offset")
    _set(round_, {number: random_.randint(0, committed[number])})
    round_.load.resume()
    round_.start_members()
    return 1


def _stops(round_: Round, message: str) -> None:
    """Start members, wait until one says why it stops a partition, and end them."""
    before = _said(round_, message)
    round_.start_members()
    round_.must(lambda: _said(round_, message) > before, f"told {message!r}", MESSAGE_S)
    round_.stop_members()


def _said(round_: Round, message: str) -> int:
    return sum(
        message in line and '"partition stopped"' in line
        for member in round_.members
        for line in member.text().splitlines()
    )


@fault(8, alone=True)
def retention_past_the_offset(round_: Round, random_: Random) -> int:
    """The topic loses events that were not counted: members stop with a message until reset.

    What was lost is taken out of the log; nothing else may be missing.
    """
    round_.load.pause()
    round_.must(lambda: not round_.behind(), "drained")
    round_.stop_members()
    round_.load.some(200)
    round_.load.flush()
    committed, ends = round_.committed(), round_.ends()
    number = max(ends, key=lambda n: ends[n] - committed.get(n, 0))
    start = committed.get(number, 0)
    low = random_.randint(start + 1, ends[number])
    round_.backend.delete_records(round_.topic, number, low)
    round_.lost += [
        index
        for index, row in enumerate(round_.load.stored)
        if index >= round_.since and row.partition == number and start <= row.offset < low
    ]
    if number in committed:
        _stops(round_, "no longer has the committed offset")
        _set(round_, {number: low})
    round_.load.resume()
    round_.start_members()
    return 1


@fault(8, alone=True)
def topic_recreated_longer(round_: Round, random_: Random) -> int:
    """The topic is deleted and made again, and grows past the committed offsets."""
    return _recreated(round_, random_, longer=True)


@fault(8, alone=True)
def topic_recreated_shorter(round_: Round, random_: Random) -> int:
    """The topic is deleted and made again, and does not reach the committed offsets."""
    return _recreated(round_, random_, longer=False)


@fault(8, alone=True)
def topic_recreated_while_read(round_: Round, random_: Random) -> int:
    """As before, but members read the topic while it goes, and go on reading the new one."""
    return _recreated(round_, random_, longer=random_.random() < 0.5, running=True)


def _recreated(round_: Round, random_: Random, *, longer: bool, running: bool = False) -> int:
    load, admin = round_.load, round_.backend.admin
    load.pause()
    round_.must(lambda: not round_.behind(), "drained")
    if not running:
        round_.stop_members()  # in order: what is counted is committed
        uncounted = len(load.stored)
        load.some(random_.randint(0, 100))
        load.flush()
        round_.lost += range(uncounted, len(load.stored))
    committed, old = round_.committed(), topic_id(admin, round_.topic)
    round_.backend.delete_topic(round_.topic)
    round_.backend.create(round_.topic, load.shape.partitions)
    round_.since = len(load.stored)
    if not longer:
        load.some(random_.randint(1, max(1, min(committed.values()) // 2)))
    while longer and any(round_.ends().get(n, 0) <= end for n, end in committed.items()):
        load.some(100)
        load.flush()
    load.flush()
    if running:
        notices = ("was deleted and created again", '"partition stopped"')
        round_.must(lambda: any(t in m.text() for m in round_.members for t in notices), "noticed")
        round_.stop_members()
        _set(round_, dict.fromkeys(committed, 0))
    elif random_.random() < 0.7:
        # Brokers delete a topic's offsets with it; those of a late commit stand there again.
        round_.must(lambda: not round_.committed(), "offsets deleted")
        _set(round_, committed, old or "")
        _stops(round_, "")
        _set(round_, dict.fromkeys(committed, 0))
    load.resume()
    round_.start_members()
    return 1


@fault(8, backends=("real",), alone=True)
def partitions_added(round_: Round, random_: Random) -> int:
    """The topic gets more partitions while events are produced."""
    shape = round_.load.shape
    total = shape.partitions + random_.randint(1, 3)
    round_.backend.add_partitions(round_.topic, total)
    round_.load.pause()
    shape.partitions = total
    round_.load.resume()
    round_.pause(2)
    return 1
