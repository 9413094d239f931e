"""A group without committed offsets on an old topic: it is new, or its offsets expired."""

import logging
import re
import shlex
import time

import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._config import AlterConfigOpType, ConfigEntry, ConfigResource
from confluent_kafka.admin._resource import ResourceType

from dynatomic.service.first_start import check_first_start
from tests.support.events import Event, avro
from tests.support.log_records import logged
from tests.support.operator_calls import settings_of
from tests.support.stack import REAL, Stack
from tests.support.tables import Table

DAY_MS = 86_400_000


def keep_for_ever(stack: Stack, topic: str) -> None:
    admin = AdminClient({"bootstrap.servers": stack.bootstrap_servers, "log_level": 0})
    entry = ConfigEntry("retention.ms", "-1", incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
    for changed in admin.incremental_alter_configs([resource]).values():
        changed.result(20)


@REAL
def test_promise_2_an_old_topic_is_not_counted_again_when_offsets_may_have_expired(
    stack: Stack, table: Table, caplog: pytest.LogCaptureFixture
) -> None:
    topic, name = stack.topic(2), table()
    keep_for_ever(stack, topic)
    eight_days_ago = int(time.time() * 1000) - 8 * DAY_MS
    old = {"value": avro(Event(name, "old")), "key": b"k", "timestamp": eight_days_ago}
    stack.produce_raw(topic, [old] * 3)

    refused = stack.run(topic, [name], "--once")
    assert refused.wait() == 78, refused.logs()
    assert "whose oldest event is 8d0h old" in refused.stderr
    assert "7d0h after its last member left (offsets.retention.minutes)" in refused.stderr
    assert (stack.counters(name).total(), stack.committed(topic)) == (0, {})

    # With exactly-once the fences keep what was counted from counting again.
    settings = settings_of(stack, topic, processing_guarantee="exactly-once")
    with caplog.at_level(logging.WARNING):
        check_first_start(settings)
    assert len(logged(caplog, "committed offsets may have expired")) == 1

    # The commands of the message do what it says.
    commands = re.findall(r"`dynatomic run ([^`]*)`", refused.stderr)
    earliest, latest = (shlex.split(command) for command in commands)
    more = ["--table", name, "--once", "--window-ms", "100"]
    other = [f"{topic}-2" if argument == topic else argument for argument in latest[:2]]
    for arguments, counted in (((other + latest[2:]), 0), (earliest, 3)):
        child = stack.spawn("run", *arguments, *more, env=stack.env())
        assert child.wait(60) == 0, child.logs()
        assert stack.counters(name).total() == counted
    assert sum(stack.committed(topic).values()) == 3

    # A group that has committed once starts as always.
    stack.drain(topic, [name])
    assert stack.counters(name).total() == 3
