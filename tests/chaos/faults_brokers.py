"""Faults of the brokers: restarts, moved leaders, failed fetches."""

from random import Random
from typing import Final

from confluent_kafka import KafkaError

from tests.chaos.kinds import fault
from tests.chaos.round import Round

FETCH: Final = 1
FETCH_ERRORS: Final = (
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.REQUEST_TIMED_OUT,
    KafkaError.UNKNOWN,
    KafkaError._TRANSPORT,
)


@fault(7, shared=True)
def brokers_away(round_: Round, random_: Random) -> int:
    """All brokers are gone and come back: the real one is killed and started again."""
    # Not while something is produced: the mock cluster would store a row that is sent again twice.
    round_.load.pause()
    with round_.backend.away(random_.uniform(0.3, 2.5)):
        pass
    round_.load.resume()
    round_.must_write()
    return 1


@fault(7, backends=("real",), shared=True)
def broker_restart(round_: Round, random_: Random) -> int:
    """The real broker is stopped in order and started again, while events are produced."""
    kafka = round_.backend.kafka
    assert kafka is not None
    round_.pause(random_.uniform(0, 0.5))
    kafka.stop()
    kafka.start()
    round_.must_write()
    return 1


@fault(7, backends=("real",), shared=True)
def broker_frozen(round_: Round, random_: Random) -> int:
    """The real broker is stopped by SIGSTOP: connections stay open and nothing answers."""
    kafka = round_.backend.kafka
    assert kafka is not None
    kafka.pause()
    round_.pause(random_.uniform(0.5, 3))
    kafka.resume()
    round_.must_write()
    return 1


@fault(7, backends=("embedded",), shared=True)
def fetch_errors(round_: Round, random_: Random) -> int:
    """Fetches fail with each of their error codes."""
    mock = round_.backend.mock
    assert mock is not None
    codes = list(FETCH_ERRORS) * 2
    random_.shuffle(codes)
    for code in codes:
        mock.broker.push_errors(FETCH, [code])
        round_.pause(0.1)
    mock.broker.clear_errors(FETCH)
    return len(codes)


@fault(7, backends=("embedded",), shared=True)
def leader_change(round_: Round, random_: Random) -> int:
    """Partitions change their leaders."""
    mock, topic = round_.backend.mock, round_.topic
    assert mock is not None
    other = mock.brokers[-1] if len(mock.brokers) > 1 else mock.add_broker()
    round_.load.pause()
    moved = 0
    for broker in (other, 1):
        for number in range(round_.load.shape.partitions):
            if random_.random() < 0.7:
                mock.move_leader(topic, number, broker)
                moved += 1
        round_.load.resume()
        round_.must_write()
        round_.load.pause()
    round_.load.resume()
    return moved
