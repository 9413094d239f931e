"""A topic that is deleted and made again: another topic, though the name is the same."""

import pytest

from dynatomic.kafka.commit_metadata import parse
from tests.support.children import Child
from tests.support.events import Event
from tests.support.stack import REAL, Stack, made_again
from tests.support.tables import Table
from tests.support.waiting import wait_until

ONCE = ("--processing-guarantee", "exactly-once")


@REAL
@pytest.mark.parametrize("protocol", ["classic", "consumer"])
@pytest.mark.parametrize("count", [3, 30])  # shorter and longer than the old one, of 10
def test_under_a_running_consumer(stack: Stack, table: Table, protocol: str, count: int) -> None:
    topic, name = stack.topic(), table()
    log = stack.produce(topic, [Event(name, f"k{n % 4}") for n in range(10)])
    arguments = (*ONCE, "--group-protocol", protocol)
    child = stack.run(topic, [name], *arguments)
    wait_until(lambda: stack.committed(topic) == {0: 10}, "the first topic is counted")
    made_again(stack, topic)
    log += stack.produce(topic, [Event(name, f"k{n % 4}", incr=100) for n in range(count)])
    told = noticed(child)
    assert "dynatomic offsets" in told or "start it again" in told
    child.signal(15)
    child.wait()
    stack.commit(topic, None)  # as the command does that the message names
    stack.drain(topic, [name], *arguments)
    assert stack.counters(name) == log


def noticed(child: Child) -> str:
    """Return what the consumer says, once it has ended or stopped its partition."""

    def said() -> bool:
        return child.returncode is not None or "partition stopped" in child.stderr

    wait_until(said, "the consumer noticed")
    return child.stderr


@REAL
@pytest.mark.parametrize("count", [3, 30])
def test_a_stale_committed_offset_is_reported(stack: Stack, table: Table, count: int) -> None:
    topic, name = stack.topic(), table()
    log = stack.produce(topic, [Event(name, "a") for _ in range(10)])
    stack.drain(topic, [name], *ONCE)
    stale = stack.committed_with_metadata(topic)
    made_again(stack, topic)
    log += stack.produce(topic, [Event(name, "a") for _ in range(count)])
    stack.commit(topic, stale)  # the brokers forget it with the topic; a mirror may not
    child = stack.run(topic, [name], "--once", *ONCE)
    assert child.wait() == 1
    assert "was deleted and made again" in child.stderr
    assert str(parse(stale[1]).topic_id) in child.stderr
    assert stack.counters(name).total() == 10
    stack.commit(topic, None)
    stack.drain(topic, [name], *ONCE)
    assert stack.counters(name) == log
