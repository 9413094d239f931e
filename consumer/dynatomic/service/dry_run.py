"""What ``run --dry-run`` uses in place of the tables and the dead-letter topic."""

import json
import sys
import time
from collections.abc import Callable, Mapping

from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, Consumer, KafkaException, TopicPartition

from dynatomic.config.settings import Settings
from dynatomic.dead_letters.letter import DeadLetter
from dynatomic.dead_letters.store import IsWanted, OnStored
from dynatomic.dynamodb.write import WindowWrite
from dynatomic.errors import UnavailableError
from dynatomic.events.window import Window
from dynatomic.kafka.client import Watermarks, reason, reset_policy
from dynatomic.retry import until

START_S = 30.0
"""How long Kafka and DynamoDB may take to answer when the consumer starts."""


class SumPrinter:
    """Prints the sums of each window as JSON lines that ``dynatomic produce`` can read."""

    failure: BaseException | None = None

    def submit(
        self,
        window: Window,
        on_complete: Callable[[WindowWrite], None],
        fence: str | None = None,  # noqa: ARG002 - nothing is written
    ) -> WindowWrite:
        """Print the sums, and complete the write at once."""
        for ref, total in window.sums.items():
            fields = {"table": ref.table, "key": ref.key, "range": ref.range}
            sys.stdout.write(json.dumps(fields | {"counter": ref.name, "incr": total}) + "\n")
        sys.stdout.flush()
        write = WindowWrite(window, on_complete, finished_counters=window.counters)
        on_complete(write)
        return write

    def write_held_back(self, write: WindowWrite) -> None:
        """Do nothing: no change is held back."""

    def cancel(self, write: WindowWrite) -> None:
        """Do nothing: the sums are printed already."""


class DiscardedLetters:
    """Treats each dead letter as stored. The worker logs it; nothing else happens to it."""

    pending: int = 0
    pending_bytes: int = 0
    last_error: str | None = None

    def store(self, _item: DeadLetter, on_stored: OnStored, _wanted: IsWanted) -> None:
        """Report it as stored at once."""
        on_stored()

    def poll(self, _timeout_s: float = 0.0) -> None:
        """Do nothing: no delivery is reported."""


def group_offsets(
    consumer: Consumer, settings: Settings, ends: Mapping[int, Watermarks]
) -> list[TopicPartition]:
    """Return the committed offsets of the group, without joining it."""
    default = OFFSET_END if reset_policy(settings) == "latest" else OFFSET_BEGINNING
    topic_partitions = [TopicPartition(settings.topic, partition) for partition in ends]

    def request() -> list[TopicPartition]:
        try:
            return consumer.committed(topic_partitions, timeout=5.0)
        except (
            KafkaException
        ) as error:  # the coordinator of the group may be moving to another broker
            raise UnavailableError(
                f"group {settings.group_id}: {reason(error)}; try again"
            ) from None

    return [
        TopicPartition(p.topic, p.partition, p.offset if p.offset >= 0 else default)
        for p in until(
            time.monotonic() + START_S, request, f"the coordinator of group {settings.group_id}"
        )
    ]
