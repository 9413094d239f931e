"""The description of a group, which shows whether a consumer without partitions is a member."""

from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

from dynatomic.config.settings import Settings
from dynatomic.errors import ConfigError
from dynatomic.kafka.group_process import describe_group_apart
from dynatomic.service.membership import MISSING_AFTER_S, MembershipCheck
from dynatomic.worker.health import ProgressMonitor
from tests.support.brokers import HasBootstrapServers, TcpBroker, create_kafka_topic
from tests.support.clients import Clock
from tests.support.group_member import Member, wait
from tests.support.names import unique
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from dynatomic.worker.loop import Worker


def test_a_spare_is_in_the_group_and_a_client_that_did_not_join_is_not(
    kafka_real: HasBootstrapServers,
) -> None:
    servers, name = kafka_real.bootstrap_servers, unique("topic")
    create_kafka_topic(servers, name, 1)
    broker = TcpBroker("real", servers, lambda *_: None)
    settings = Settings(
        bootstrap_servers=servers, topic=name, group_id=name, group_protocol="consumer"
    )
    first = Member(broker, settings, beginning=True, eof=False).subscribe()
    second = Member(broker, settings, beginning=True, eof=False)
    clock = Clock()

    def check(member: Member, group: str = name) -> tuple[MembershipCheck, ProgressMonitor]:
        progress = ProgressMonitor()
        progress.brokers.is_answering = True
        worker = SimpleNamespace(progress=progress, partitions={}, consumer=member.consumer)
        described = replace(settings, group_id=group)
        describe = lambda: describe_group_apart(described)  # noqa: E731
        return MembershipCheck(cast("Worker", worker), settings, describe, clock), progress

    try:
        wait(lambda: first.owned, first)
        stranger, progress = check(second, unique("group"))
        errors = []

        def refused() -> bool:
            clock.advance(MISSING_AFTER_S)
            errors.append(stranger.poll())
            return isinstance(errors[-1], ConfigError)

        wait_until(refused, "no such group")
        assert not progress.has_joined
        second.subscribe()
        spare, progress = check(second)

        def joined() -> bool:
            clock.advance(4)
            first.poll()
            second.poll()
            assert spare.poll() is None
            return progress.has_joined

        wait_until(joined, "the group has it")
        assert {len(first.owned), len(second.owned)} == {0, 1}
    finally:
        first.consumer.close()
        second.consumer.close()
