"""``dynatomic dlq replay``: sends dead letters to their topic again, each once.

A replayed row is a new event with a new offset, so fences do not refuse it. It keeps its key,
value, headers and, if possible, its partition. These letters are reported but not replayed:

- letters of events that were replayed before, and further letters of the same event;
- letters of another topic or group: the other group may reject what this one counts;
- letters that were cut: they do not have the whole event;
- letters of events that the group has not committed: it will read these events again;
- letters of events that these settings would reject again. ``force`` replays these too.

Every group that reads the topic gets the replayed row, also a group that has counted the event.

One case cannot be detected: a consumer stored a letter, was killed before its commit, and started
again with other settings that counted the event. If that letter is replayed, the event counts
twice.
"""

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field

from confluent_kafka import TIMESTAMP_CREATE_TIME, Message

from dynatomic.config.settings import Settings
from dynatomic.counting.definition import CountersFile
from dynatomic.counting.from_settings import load_counters
from dynatomic.dead_letters.notes import LetteredEvents, replayed_events, replayed_in_note
from dynatomic.dead_letters.sender import make_sender, replay_headers
from dynatomic.dead_letters.show import header_text
from dynatomic.dead_letters.topic import (
    DeadLetterTopic,
    StoredLetter,
    reader_config,
    stored_letter,
)
from dynatomic.dynamodb.client import make_client
from dynatomic.dynamodb.tables import describe_with_ttl
from dynatomic.errors import DynatomicError
from dynatomic.events.row import Reason
from dynatomic.kafka.client import (
    admin_config,
    kafka_errors,
    new_admin,
    new_consumer,
    topic_partitions,
)
from dynatomic.kafka.commit_metadata import is_foreign
from dynatomic.kafka.event_reader import EventReader, event_reader, read_all
from dynatomic.kafka.groups import CommittedOffset, committed_offsets
from dynatomic.kafka.reachability import START_S, wait_for_kafka
from dynatomic.kafka.topics import check_not_compacted, topic_id

NO_COUNTER = "no-counter"
"""The verdict on an event that no counter of the counters file takes."""

UNKNOWN = "not known"
"""The verdict on a row if the keys of the tables are not known."""

Judge = Callable[[StoredLetter], str]
"""Returns the reason why an event would be rejected now, empty if it would be counted."""

IsCommitted = Callable[[StoredLetter], bool]
"""Returns whether the group has committed the event of a letter, and so will not read it again."""


@dataclass(frozen=True, slots=True)
class ReplayOptions:
    """Which letters to replay, and whether to replay them (``execute``) or only to report."""

    reason: str | None = None
    execute: bool = False
    force: bool = False


@dataclass(slots=True)
class ReplayPlan:
    """The number of letters, by what is done with them.

    ``verdicts`` counts the waiting letters by their reason and by the reason that they would get
    now (empty if they would be counted).
    """

    verdicts: Counter[tuple[str, str]] = field(default_factory=Counter)
    replayed: int = 0
    repeated: int = 0
    uncommitted: int = 0
    cut: int = 0
    foreign: int = 0
    topics: Counter[str] = field(default_factory=Counter)
    groups: Counter[str] = field(default_factory=Counter)
    to_replay: int = 0


class ReplayRun:
    """Reads the letters once, and passes those that are to be replayed to ``send``."""

    def __init__(  # noqa: PLR0913 - each is replaced in a test
        self,
        settings: Settings,
        options: ReplayOptions,
        topic: DeadLetterTopic,
        judge: Judge,
        committed: IsCommitted,
        send: Callable[[StoredLetter], None],
    ) -> None:
        self._settings = settings
        self._options = options
        self._topic = topic
        self._judge = judge
        self._committed = committed
        self._send = send

    def run(self) -> ReplayPlan:
        """Return the numbers of letters. Raises what `DeadLetterTopic` and ``send`` raise."""
        plan, seen = ReplayPlan(), LetteredEvents()
        replayed = replayed_events(self._topic.messages())
        for message in self._topic.messages():
            stored = stored_letter(message)
            if stored is None:
                plan.foreign += not replayed_in_note(message)
            elif self._options.reason in (None, stored.letter.reason):
                self._take(stored, plan, replayed, seen)
        return plan

    def _take(
        self, stored: StoredLetter, plan: ReplayPlan, replayed: LetteredEvents, seen: LetteredEvents
    ) -> None:
        if stored.letter.topic != self._settings.topic:
            plan.topics[stored.letter.topic] += 1
        elif replayed.contains(stored):
            plan.replayed += 1
        elif stored.group != self._settings.group_id:
            plan.groups[stored.group] += 1
        elif (new := seen.add_letter(stored)) is None:
            plan.repeated += 1
        elif not self._committed(stored):
            plan.uncommitted += 1
        elif stored.letter.whole is not None or stored.letter.reason == Reason.BATCH_UNREADABLE:
            plan.cut += 1
        else:
            verdict = self._judge(new)
            plan.verdicts[stored.letter.reason, verdict] += 1
            if not verdict or self._options.force:
                plan.to_replay += 1
                self._send(new)


def replay(settings: Settings, endpoint_url: str | None, options: ReplayOptions) -> int:
    """Print the plan and, with ``execute``, replay the letters; return 0.

    Raises ConfigError for missing topics, tables or permissions, UnavailableError if a server does
    not answer, and what `Sender` raises. Without ``execute``, or with ``force``, DynamoDB need not
    answer: then the plan does not say which events would be counted.
    """
    settings, definition = load_counters(settings)
    wait_for_kafka(settings, START_S)
    with closing(new_consumer(reader_config(settings))) as consumer, kafka_errors():
        partitions = topic_partitions(consumer, settings.topic)
        topic_partitions(consumer, settings.dead_letters)
        check_not_compacted(settings)
        judge, trouble = _judge(settings, endpoint_url, options, definition)
        current_id = topic_id(new_admin(admin_config(settings)), settings.topic)
        commits = committed_offsets(consumer, settings, partitions)
        committed = is_committed_by(commits, current_id)
        sender = make_sender(settings, consumer, len(partitions)) if options.execute else None
        # Opened after the sender was made, so that it has the notes of all other replays.
        topic = DeadLetterTopic(consumer, settings.dead_letters)
        send = sender.add if sender else lambda _stored: None
        plan = ReplayRun(settings, options, topic, judge, committed, send).run()
        if sender:
            sender.flush()
    sys.stdout.writelines(f"{line}\n" for line in plan_lines(plan, settings, options))
    if trouble:
        sys.stdout.write(f"what would be counted is not known: {trouble}\n")
    return 0


def _judge(
    settings: Settings,
    endpoint_url: str | None,
    options: ReplayOptions,
    definition: CountersFile | None,
) -> tuple[Judge, DynatomicError | None]:
    tables = settings.require_tables()
    try:
        client = make_client(endpoint_url)
        keys = {table: describe_with_ttl(client, table) for table in tables}
    except DynatomicError as error:
        if options.execute and not options.force:
            raise
        return lambda _stored: UNKNOWN, error
    return judge_by(event_reader(settings, keys, definition)), None


def judge_by(reader: EventReader) -> Judge:
    """Return the function that lets a reader judge the event that a replay would send."""

    def judge(stored: StoredLetter) -> str:
        letter = stored.letter
        message = Message(
            topic=letter.topic,
            partition=letter.partition,
            offset=letter.offset,
            key=letter.key,
            value=letter.value,
            headers=list(replay_headers(letter)),
            timestamp=(TIMESTAMP_CREATE_TIME, stored.time_ms),
        )
        decoded = read_all(reader, [message])
        if decoded.rejected:
            return decoded.rejected[0].reason
        return "" if decoded.unit_increments else NO_COUNTER

    return judge


def is_committed_by(commits: Mapping[int, CommittedOffset], current_id: str | None) -> IsCommitted:
    """Return the function that compares a letter with these committed offsets.

    ``current_id`` is the topic's id. Events of a topic that was deleted and created again do not
    exist any more, so no group will read them again.
    """
    offsets = {
        partition: commit.offset
        for partition, commit in commits.items()
        if not is_foreign(commit.metadata, current_id)
    }

    def committed(stored: StoredLetter) -> bool:
        if current_id and stored.topic_id and stored.topic_id != current_id:
            return True
        return stored.letter.offset < offsets.get(stored.letter.partition, 0)

    return committed


def plan_lines(plan: ReplayPlan, settings: Settings, options: ReplayOptions) -> Iterator[str]:
    """Yield the lines that report the plan, and what was done or would be done."""
    waiting = plan.verdicts.total()
    for verdict_reason in sorted({verdict_reason for verdict_reason, _ in plan.verdicts}):
        outcomes = [
            f"{count:,} {_outcome(verdict)}"
            for (reason, verdict), count in sorted(plan.verdicts.items())
            if reason == verdict_reason
        ]
        yield f"{header_text(verdict_reason)}: {', '.join(outcomes)}"
    done = "were sent again to" if options.execute else "would be sent again to"
    yield f"{plan.to_replay:,} of {waiting:,} waiting letters {done} {settings.topic}"
    unknown = 0 if options.force else sum(n for (_, v), n in plan.verdicts.items() if v == UNKNOWN)
    if left := waiting - plan.to_replay - unknown:
        yield f"{left:,} stay: they would be dead letters again (--force replays them too)"
    yield from _not_replayed(plan, settings)
    for topic, count in sorted(plan.topics.items()):
        shown = header_text(topic)
        letters = settings.dead_letters
        yield f"{count:,} are of topic {shown}: -t {shown} --dead-letter-topic {letters}"
    for group, count in sorted(plan.groups.items()):
        yield f"{count:,} are of group {header_text(group)}: -g NAME replays those"
    if plan.foreign:
        yield f"{plan.foreign:,} messages are no letters of dynatomic"
    if not options.execute and plan.to_replay:
        yield "nothing was sent: add --execute"


def _not_replayed(plan: ReplayPlan, settings: Settings) -> Iterator[str]:
    if plan.uncommitted:
        yield (
            f"{plan.uncommitted:,} stay: group {settings.group_id} has not committed their events "
            "and will read them again"
        )
    if plan.cut:
        yield (
            f"{plan.cut:,} stay: they were cut and do not have the whole event, which is in "
            f"{settings.topic} until its retention removes it"
        )
    if plan.replayed:
        yield f"{plan.replayed:,} were replayed before"
    if plan.repeated:
        yield f"{plan.repeated:,} are further letters of the same events"


def _outcome(verdict: str) -> str:
    if verdict == UNKNOWN:
        return "not judged"
    if verdict == NO_COUNTER:
        return "would be taken by no counter"
    return f"would be {verdict} again" if verdict else "would be counted now"
