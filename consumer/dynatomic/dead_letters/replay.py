"""``dynatomic dlq replay``: puts dead letters back on the topic that they came from, each once.

A replayed row is a new event with a new offset: fences let it in. It keeps key, value, headers
and, where it can, the partition. Left where they are, and told, are letters

- whose events were replayed before, and further letters of the same event;
- of another topic, or of another group: that one may reject what this one counts;
- whose event the group has not committed: it reads it again, and counts it or stores it again;
- that these settings would make a dead letter again.

The last ones are replayed all the same with ``force``. Every group that reads the topic gets a
replayed row, also one that has counted it before.

One thing cannot be told from the letters: that a consumer stored one, was killed before its commit,
and was started again with other settings, which counted the event. Replayed, it counts twice.
"""

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from confluent_kafka import KafkaException

from dynatomic.config.settings import Settings
from dynatomic.dead_letters.sender import make_sender
from dynatomic.dead_letters.show import header_text
from dynatomic.dead_letters.topic import (
    DeadLetterTopic,
    ReplayedOffsets,
    StoredLetter,
    noted,
    opened,
    reader_config,
    replayed_in,
)
from dynatomic.dynamodb.client import make_client
from dynatomic.dynamodb.tables import describe
from dynatomic.errors import DynatomicError
from dynatomic.events.decoder import Decoder
from dynatomic.events.schema import load_writer_schema
from dynatomic.kafka.client import (
    admin_config,
    new_admin,
    new_consumer,
    reason,
    topic_partitions,
    wait_for_kafka,
)
from dynatomic.kafka.groups import CommittedOffset as Commit
from dynatomic.kafka.groups import committed_offsets
from dynatomic.kafka.topics import check_not_compacted, is_foreign, topic_id

START_S = 10.0

UNKNOWN = "not known"
"""The verdict on a row where no table could be asked for its keys."""

Judge = Callable[[bytes | None], str]
"""Takes a payload and returns the reason of its rejection now, empty if it would be counted."""

Committed = Callable[[StoredLetter], bool]
"""Tells whether the group will not read a letter's event again."""


@dataclass(frozen=True, slots=True)
class ReplayOptions:
    """Which letters to replay, and whether to do it or only to tell."""

    reason: str | None = None
    execute: bool = False
    force: bool = False


@dataclass(slots=True)
class ReplayPlan:
    """How many letters there are, by what is done with them.

    ``verdicts`` are of those that wait, by why they became letters and what they would become now.
    """

    verdicts: Counter[tuple[str, str]] = field(default_factory=Counter)
    replayed: int = 0
    repeated: int = 0
    uncommitted: int = 0
    foreign: int = 0
    topics: Counter[str] = field(default_factory=Counter)
    groups: Counter[str] = field(default_factory=Counter)
    to_replay: int = 0


class ReplayRun:
    """Goes through the letters once, and gives ``send`` those that are to be put back."""

    def __init__(  # noqa: PLR0913 - what it asks, each replaced in a test
        self,
        settings: Settings,
        options: ReplayOptions,
        topic: DeadLetterTopic,
        judge: Judge,
        committed: Committed,
        send: Callable[[StoredLetter], None],
    ) -> None:
        self._settings = settings
        self._options = options
        self._topic = topic
        self._judge = judge
        self._committed = committed
        self._send = send

    def run(self) -> ReplayPlan:
        """Return what was found; raises what `DeadLetterTopic` and ``send`` do."""
        plan, seen = ReplayPlan(), ReplayedOffsets()
        replayed = replayed_in(self._topic.messages())
        for message in self._topic.messages():
            item = opened(message)
            if item is None:
                plan.foreign += not noted(message)
            elif self._options.reason in (None, item.letter.reason):
                self._take(item, plan, replayed, seen)
        return plan

    def _take(
        self, item: StoredLetter, plan: ReplayPlan, replayed: ReplayedOffsets, seen: ReplayedOffsets
    ) -> None:
        if item.letter.topic != self._settings.topic:
            plan.topics[item.letter.topic] += 1
        elif replayed.has(item):
            plan.replayed += 1
        elif item.group != self._settings.group_id:
            plan.groups[item.group] += 1
        elif not seen.add(item.source, item.letter.offset):
            plan.repeated += 1
        elif not self._committed(item):
            plan.uncommitted += 1
        else:
            verdict = self._judge(item.letter.value)
            plan.verdicts[item.letter.reason, verdict] += 1
            if not verdict or self._options.force:
                plan.to_replay += 1
                self._send(item)


def replay(settings: Settings, endpoint_url: str | None, options: ReplayOptions) -> int:
    """Print what there is to replay and, with ``execute``, replay it; return 0.

    Raises ConfigError for missing topics, tables or permissions, UnavailableError if a server does
    not answer, and what `Sender` does. Without ``execute``, or with ``force``, DynamoDB need not
    answer: nothing is said then of what would be counted.
    """
    consumer = new_consumer(reader_config(settings))
    try:
        wait_for_kafka(settings, START_S)
        partitions = topic_partitions(consumer, settings.topic)
        topic_partitions(consumer, settings.dead_letters)
        check_not_compacted(settings)
        judge, trouble = _judge(settings, endpoint_url, options)
        found = topic_id(new_admin(admin_config(settings)), settings.topic)
        commits = committed_offsets(consumer, settings, partitions)
        committed = committed_of(commits, found)
        sender = make_sender(settings, consumer, len(partitions)) if options.execute else None
        # Not before the sender is made: then all notes of other replays are there.
        topic = DeadLetterTopic(consumer, settings.dead_letters)
        send = sender.add if sender else lambda _item: None
        plan = ReplayRun(settings, options, topic, judge, committed, send).run()
        if sender:
            sender.flush()
    except KafkaException as error:
        raise DynatomicError(f"Kafka: {reason(error)}; try again") from None
    finally:
        consumer.close()
    sys.stdout.writelines(f"{line}\n" for line in told(plan, settings, options))
    if trouble:
        sys.stdout.write(f"what would be counted is not known: {trouble}\n")
    return 0


def _judge(
    settings: Settings, endpoint_url: str | None, options: ReplayOptions
) -> tuple[Judge, DynatomicError | None]:
    schema = load_writer_schema(settings.writer_schema)
    try:
        client = make_client(endpoint_url)
        keys = {table: describe(client, table) for table in settings.require_tables()}
    except DynatomicError as error:
        if options.execute and not options.force:
            raise
        return lambda _payload: UNKNOWN, error
    decoder = Decoder.of(settings, keys, schema)

    def judge(payload: bytes | None) -> str:
        rejected = decoder.decode([payload]).rejected
        return rejected[0].reason if rejected else ""

    return judge, None


def committed_of(commits: Mapping[int, Commit], found: str | None) -> Committed:
    """Return the function that compares letters with these committed offsets.

    ``found`` is the topic's id. Events of a topic that was deleted and made again are gone: nobody
    reads them again.
    """
    offsets = {n: c.offset for n, c in commits.items() if not is_foreign(c.metadata, found)}

    def committed(item: StoredLetter) -> bool:
        if found and item.topic_id and item.topic_id != found:
            return True
        return item.letter.offset < offsets.get(item.letter.partition, 0)

    return committed


def told(plan: ReplayPlan, settings: Settings, options: ReplayOptions) -> Iterator[str]:
    """Yield the lines that say what was found, and what was done or would be done."""
    waiting = plan.verdicts.total()
    for why in sorted({why for why, _ in plan.verdicts}):
        outcomes = [
            f"{count:,} {_outcome(verdict)}"
            for (found, verdict), count in sorted(plan.verdicts.items())
            if found == why
        ]
        yield f"{header_text(why)}: {', '.join(outcomes)}"
    done = "were put back on" if options.execute else "would be put back on"
    yield f"{plan.to_replay:,} of {waiting:,} waiting letters {done} {settings.topic}"
    unknown = 0 if options.force else sum(n for (_, v), n in plan.verdicts.items() if v == UNKNOWN)
    if left := waiting - plan.to_replay - unknown:
        yield f"{left:,} stay, for they would be dead letters again (--force replays them too)"
    if plan.uncommitted:
        yield (
            f"{plan.uncommitted:,} stay, for group {settings.group_id} has not committed their "
            "events: it reads them again"
        )
    if plan.replayed:
        yield f"{plan.replayed:,} were replayed before"
    if plan.repeated:
        yield f"{plan.repeated:,} are letters of the same events again"
    for topic, count in sorted(plan.topics.items()):
        shown = header_text(topic)
        letters = settings.dead_letters
        yield f"{count:,} are of topic {shown}: -t {shown} --dead-letter-topic {letters}"
    for group, count in sorted(plan.groups.items()):
        yield f"{count:,} are of group {header_text(group)}: -g NAME replays those"
    if plan.foreign:
        yield f"{plan.foreign:,} messages are no letters of a dynatomic consumer"
    if not options.execute and plan.to_replay:
        yield "nothing was sent: add --execute"


def _outcome(verdict: str) -> str:
    if verdict == UNKNOWN:
        return "not judged"
    return f"would be {verdict} again" if verdict else "would be counted now"
