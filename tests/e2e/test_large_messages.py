"""Messages that are small on the wire and large once they are unpacked, on the real Kafka."""

import hashlib
import json
import signal
from collections.abc import Sequence

import pytest
from confluent_kafka import KafkaError, Producer

from dynatomic.dead_letters.skip_batch import SkipOptions, skip_batch
from dynatomic.errors import ConfigError, DynatomicError
from dynatomic.verify.command import VerifyOptions, verify
from dynatomic.verify.letters import WaitingLetters
from tests.support.events import Event
from tests.support.names import unique
from tests.support.operator_calls import settings_of
from tests.support.stack import REAL, Stack
from tests.support.tables import Table

MEBIBYTE = 1024 * 1024


def produce_batch(stack: Stack, topic: str, values: Sequence[bytes], codec: str = "zstd") -> None:
    """Store the values as one compressed batch of partition 0."""
    producer = Producer(
        {
            "bootstrap.servers": stack.bootstrap_servers,
            "compression.type": codec,
            "message.max.bytes": str(500 * MEBIBYTE),
            "batch.size": str(500 * MEBIBYTE),
            "queue.buffering.max.kbytes": str(1024 * 1024),
            "linger.ms": "2000",
        }
    )
    for value in values:
        producer.produce(topic, partition=0, value=value, key=b"key")
    assert producer.flush(60) == 0


@REAL
@pytest.mark.parametrize("codec", ["zstd", "gzip", "lz4"])
def test_a_large_event_in_a_small_batch_becomes_a_cut_letter(
    stack: Stack, table: Table, codec: str
) -> None:
    topic, name = stack.topic(1), table()
    log = stack.produce(topic, [Event(name, "before")], partition=0)
    large = bytes(12_000_000)
    produce_batch(stack, topic, [large], codec)
    log += stack.produce(topic, [Event(name, "after")], partition=0)

    stack.drain(topic, [name])

    assert stack.counters(name) == log
    assert stack.committed(topic) == {0: 3}
    (letter,) = stack.letters(topic)
    assert letter.value() == large[: 64 * 1024]
    headers = {key: value or b"" for key, value in stack.headers(letter)}
    assert headers["dynatomic.reason"] == b"payload-too-large"
    whole = json.loads(headers["dynatomic.cut"])
    assert whole["value_bytes"] == len(large)
    assert whole["value_sha256"] == hashlib.sha256(large).hexdigest()


@REAL
@pytest.mark.parametrize(("guarantee", "count"), [("at-least-once", 30), ("exactly-once", 1)])
def test_a_batch_that_cannot_be_unpacked_stops_its_partition_and_can_be_skipped(
    stack: Stack, table: Table, count: int, guarantee: str
) -> None:
    topic, name = stack.topic(2), table()
    log = stack.produce(topic, [Event(name, f"k{n}") for n in range(3)], partition=0)
    log += stack.produce(topic, [Event(name, "other")], partition=1)
    produce_batch(stack, topic, [bytes(120_000_000 // count)] * count)
    after = stack.produce(topic, [Event(name, f"k{n}", incr=7) for n in range(3)], partition=0)

    guaranteed = ("--processing-guarantee", guarantee)
    child = stack.run(topic, [name], *guaranteed)
    child.wait_for("partition stopped")
    stack.wait_counted(log, name)
    child.signal(signal.SIGTERM)
    assert child.wait() == 0, child.logs()
    assert stack.counters(name) == log
    assert stack.committed(topic) == {0: 3, 1: 1}

    command = ["dlq", "skip-batch", "-t", topic, "-g", topic, "--partition", "0", "--offset", "3"]
    assert " ".join(["dynatomic", *command[:2], "-g", topic, "-t", topic, *command[6:]]) in (
        child.stderr
    )
    plan = stack.spawn(*command, env=stack.env())
    assert plan.wait(60) == 0, plan.logs()
    last = 3 + count - 1
    assert f"offset{'' if count == 1 else 's'} 3" in plan.stdout
    assert stack.committed(topic) == {0: 3, 1: 1}
    assert stack.letters(topic) == []

    wrong = stack.spawn(*command[:-1], "2", "--execute", env=stack.env())
    assert wrong.wait(60) == 78
    assert "begins at 3, not at 2" in wrong.stderr

    done = stack.spawn(*command, "--execute", env=stack.env())
    assert done.wait(60) == 0, done.logs()
    assert stack.committed(topic) == {0: last + 1, 1: 1}
    (letter,) = stack.letters(topic)
    headers = {key: value or b"" for key, value in stack.headers(letter)}
    assert headers["dynatomic.reason"] == b"batch-unreadable"
    assert headers["dynatomic.offset"] == b"3"
    assert headers["dynatomic.detail"].decode().endswith("cannot be unpacked")

    stack.drain(topic, [name], *guaranteed)
    assert stack.counters(name) == log + after
    again = stack.spawn(*command, "--execute", env=stack.env())
    assert again.wait(60) == 78


@REAL
def test_verify_passes_over_a_batch_that_was_skipped(
    stack: Stack,
    table: Table,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for variable, value in stack.env().items():
        monkeypatch.setenv(variable, value)
    topic, name = stack.topic(1), table()
    settings = settings_of(stack, topic, tables=(name,))

    def check(*, strict: bool = False) -> tuple[int, list[str]]:
        code = verify(settings, stack.endpoint_url, VerifyOptions(strict=strict))
        return code, capsys.readouterr().out.splitlines()

    log = stack.produce(topic, [Event(name, "a"), Event(name, "b")], partition=0)
    stack.drain(topic, [name])
    produce_batch(stack, topic, [bytes(120_000_000 // 30)] * 30)
    log += stack.produce(topic, [Event(name, "b")] * 3, partition=0)
    skip = SkipOptions(partition=0, offset=2, execute=True)

    # A commit of another topic says nothing about this batch.
    before = stack.committed_with_metadata(topic)
    stack.commit(topic, (2, "8" * 32))
    with pytest.raises(ConfigError, match=f"committed offset 2 of a topic with the id {'8' * 32}"):
        skip_batch(settings, skip)
    assert stack.letters(topic) == []
    stack.commit(topic, before)

    once = settings_of(stack, topic, tables=(name,), processing_guarantee="exactly-once")
    with pytest.raises(DynatomicError, match="dlq skip-batch"):
        verify(once, stack.endpoint_url, VerifyOptions())
    assert skip_batch(settings, skip) == 0
    (letter,) = stack.letters(topic)
    assert dict(stack.headers(letter))["dynatomic.batch-end"] == b"32"
    stack.drain(topic, [name])
    capsys.readouterr()
    assert check() == (
        0,
        [
            f"OK  2 counters, sum {log.total()} = {log.total()}",
            WaitingLetters(skipped_batches=1, skipped_offsets=30).line(),
        ],
    )
    assert check(strict=True)[0] == 1


@REAL
@pytest.mark.parametrize("codec", ["zstd", "gzip", "lz4"])
def test_a_topic_of_init_refuses_what_no_consumer_could_read(stack: Stack, codec: str) -> None:
    topic = unique("checked")
    init = stack.spawn("init", "-t", topic, "--check-unpacked-size", env=stack.env())
    assert init.wait(60) == 0, init.logs()
    stack.topics += [topic, f"{topic}.dlq"]

    refused: list[KafkaError | None] = []
    producer = Producer(
        {
            "bootstrap.servers": stack.bootstrap_servers,
            "compression.type": codec,
            "message.max.bytes": str(500 * MEBIBYTE),
        }
    )
    producer.produce(topic, value=bytes(12_000_000), on_delivery=lambda e, _: refused.append(e))
    assert producer.flush(60) == 0
    assert [error and error.code() for error in refused] == [KafkaError.MSG_SIZE_TOO_LARGE]

    check = stack.spawn(
        "config", "check", "--connect", "-t", topic, "--table", "none", env=stack.env()
    )
    check.wait(60)
    assert f"topic {topic}: 6 partitions" in check.stdout
    assert "unpacked size" not in check.stdout


@REAL
def test_events_before_a_batch_that_cannot_be_unpacked_are_counted_after_a_restart(
    stack: Stack, table: Table
) -> None:
    topic, name = stack.topic(1), table()
    log = stack.produce(topic, [Event(name, "before")], partition=0)
    stack.drain(topic, [name])
    log += stack.produce(topic, [Event(name, f"k{n}") for n in range(3)], partition=0)
    produce_batch(stack, topic, [bytes(120_000_000)])

    child = stack.run(topic, [name])
    child.wait_for("partition stopped")
    stack.wait_counted(log, name)
    child.signal(signal.SIGTERM)
    assert child.wait() == 0, child.logs()
    assert stack.counters(name) == log
    assert stack.committed(topic) == {0: 4}
