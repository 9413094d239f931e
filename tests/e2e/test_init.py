"""`dynatomic init` on a real Kafka: partitions and replicas of new topics, and of existing ones."""

import pytest
from confluent_kafka.admin import AdminClient

from dynatomic.cli.main import main
from tests.support.brokers import HasBootstrapServers
from tests.support.names import unique


def test_init_creates_the_topic_with_the_partitions_asked_for(
    kafka_real: HasBootstrapServers, capsys: pytest.CaptureFixture[str]
) -> None:
    topic = unique("init")
    command = ["init", "-b", kafka_real.bootstrap_servers, "--topic", topic]
    assert main([*command, "--partitions", "12", "--replication-factor", "1"]) == 0
    created = [f"topic {topic}: created, 12 partitions", f"topic {topic}.dlq: created, 1 partition"]
    assert capsys.readouterr().out.splitlines() == created
    assert main([*command, "--partitions", "5"]) == 0
    kept, dead_letters = capsys.readouterr().out.splitlines()
    assert kept == (
        f"topic {topic}: exists, 12 partitions, not 5: init does not change a topic that exists"
    )
    assert dead_letters == f"topic {topic}.dlq: exists, 1 partition"
    admin = AdminClient({"bootstrap.servers": kafka_real.bootstrap_servers, "log_level": 0})
    for deleted in admin.delete_topics([topic, f"{topic}.dlq"]).values():
        deleted.result(30)


def test_more_replicas_than_brokers_are_refused(
    kafka_real: HasBootstrapServers, capsys: pytest.CaptureFixture[str]
) -> None:
    topic = unique("init")
    command = ["init", "-b", kafka_real.bootstrap_servers, "--topic", topic]
    assert main([*command, "--replication-factor", "3"]) == 78
    error = capsys.readouterr().err
    assert f"topic '{topic}' could not be created" in error
    assert "replication factor" in error.lower()
    assert error.count("\n") == 1
