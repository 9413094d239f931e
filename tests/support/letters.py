"""Dead letters of a topic with a consumer, a producer and `dynatomic dlq`."""

import json
import random
import sys
from typing import Any

import pytest
from confluent_kafka import Consumer, Message, TopicPartition

from dynatomic.config.settings import Settings
from dynatomic.dead_letters import replay as dlq_replay
from dynatomic.dead_letters import show as dlq_show
from dynatomic.verify.command import VerifyOptions, verify
from tests.support.children import Child
from tests.support.stack import Stack

BAD = b"\xff\x00bad"


LARGE = random.Random(7).randbytes(2_000_000)  # noqa: S311 - not to be compressed


# Replays in transactions of 5 letters, and kills itself before or after the third one's commit.
DIES = """
import json, os, signal, sys
from dynatomic.dead_letters import replay as dlq_replay
from dynatomic.dead_letters import sender as dlq_sender
from dynatomic.config.settings import Settings

point, endpoint_url, fields = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
dlq_sender.MAX_OFFSETS_IN_NOTE = 5
make = dlq_replay.make_sender

class Dies:
    commits = 0

    def __init__(self, producer):
        self.producer = producer

    def __getattr__(self, name):
        return getattr(self.producer, name)

    def commit_transaction(self, timeout):
        self.commits += 1
        if self.commits == 3 and point == "before":
            self.producer.flush(timeout)
            os.kill(os.getpid(), signal.SIGKILL)
        self.producer.commit_transaction(timeout)
        if self.commits == 3 and point == "after":
            os.kill(os.getpid(), signal.SIGKILL)

def dying(*arguments):
    sender = make(*arguments)
    sender._producer = Dies(sender._producer)
    return sender

dlq_replay.make_sender = dying
options = dlq_replay.ReplayOptions(execute=True)
sys.exit(dlq_replay.replay(Settings(**fields), endpoint_url, options))
"""


class Letters:
    """A topic whose dead letters are shown and replayed."""

    def __init__(self, stack: Stack, capsys: pytest.CaptureFixture[str]) -> None:
        self.stack = stack
        self.topic = stack.topic(2)
        self._capsys = capsys

    def fields(self, *tables: str) -> dict[str, Any]:
        return {
            "bootstrap_servers": self.stack.bootstrap_servers,
            "topic": self.topic,
            "group_id": self.topic,
            "tables": tables,
        }

    def show(self, **options: Any) -> tuple[list[dict[str, Any]], str]:
        """Return the letters and the summary."""
        given = dlq_show.ShowOptions(output="json", **options)
        assert dlq_show.show(Settings(**self.fields()), given) == 0
        out, err = self._capsys.readouterr()
        return [json.loads(line) for line in out.splitlines()], err

    def replay(self, *tables: str, **options: Any) -> str:
        """Return what it says."""
        given = dlq_replay.ReplayOptions(**options)
        settings = Settings(**self.fields(*tables))
        assert dlq_replay.replay(settings, self.stack.endpoint_url, given) == 0
        return self._capsys.readouterr().out

    def verified(self, guarantee: Any, *tables: str) -> str:
        """Recount the topic, compare it with the tables, and return what is said of it."""
        settings = Settings(**self.fields(*tables), processing_guarantee=guarantee)
        assert verify(settings, self.stack.endpoint_url, VerifyOptions()) == 0
        return self._capsys.readouterr().out

    def dies(self, point: str, *tables: str) -> Child:
        """Replay in a child that kills itself."""
        fields = json.dumps(self.fields(*tables))
        command = [sys.executable, "-c", DIES, point, self.stack.endpoint_url, fields]
        return self.stack.spawn.command(command, env=self.stack.env())

    def rows(self) -> list[Message]:
        """Return what a consumer of committed messages finds in the topic."""
        consumer = Consumer(
            {
                "bootstrap.servers": self.stack.bootstrap_servers,
                "group.id": "rows",
                "enable.partition.eof": True,
            }
        )
        found, ended = [], set[int | None]()
        consumer.assign([TopicPartition(self.topic, number, 0) for number in range(2)])
        while len(ended) < 2:
            message = consumer.poll(20)
            assert message is not None
            if message.error() is None:
                found.append(message)
            else:
                ended.add(message.partition())
        consumer.close()
        return found
