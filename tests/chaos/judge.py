"""Compares what is in the tables and in the dead-letter topic with what was acknowledged."""

import re
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from confluent_kafka import Consumer, TopicPartition

from dynatomic.config.settings import ProcessingGuarantee
from dynatomic.kafka.client import PARTITION_EOF
from tests.chaos.declared import shared_log
from tests.chaos.load import Stored, log_of
from tests.chaos.plan import StuckError
from tests.chaos.round import Round
from tests.support.events import Log, Ref, ref

_FENCE: Final = re.compile(r"fence_[0-9a-f]{8}_[0-9]+")
_READ_S: Final = 30.0


@dataclass
class Verdict:
    """What is wrong; all empty if nothing is."""

    counters: int = 0
    events: int = 0
    letters: int = 0
    low: dict[Ref, tuple[int, int]] = field(default_factory=dict)
    high: dict[Ref, tuple[int, int]] = field(default_factory=dict)
    other: list[str] = field(default_factory=list)

    def wrong(self, guarantee: ProcessingGuarantee) -> list[str]:
        """Return the differences that the guarantee does not allow, a line each."""
        shown = dict(self.low)
        if guarantee == "exactly-once":
            shown |= self.high
        lines = [
            f"{'/'.join(str(part) for part in place[1:])} of {place[0].partition('-')[0]}: "
            f"{found} instead of {wanted} ({found - wanted:+})"
            for place, (wanted, found) in sorted(shown.items(), key=str)
        ]
        return lines + self.other


def judge(round_: Round) -> Verdict:
    """Compare; to be called when all members have ended."""
    stored = [row for n, row in enumerate(round_.load.stored) if n not in set(round_.lost)]
    lost = 0
    if round_.backend.cluster is not None:
        # There a row without an acknowledgement may be in the log, so the log says what counts.
        in_log = rows_of_log(round_)
        lost = (Counter(row.value for row in stored) - Counter(r.value for r in in_log)).total()
        stored = in_log
    less, more = _gone(round_, stored) if round_.has_lost_events else (Counter(), Counter())
    wanted: Log = Counter(round_.before)
    wanted.update(log_of(stored))
    if round_.plan.declared:
        events = sum(row.event is not None for row in stored)
        wanted.update(shared_log(round_.load.shape.plain, events))
    found = counters(round_)
    verdict = Verdict(len(wanted.keys() | found.keys()), len(round_.load.stored))
    for place in wanted.keys() | found.keys():
        pair = wanted[place], found[place]
        # An event that was lost may have been counted before.
        if pair[1] < pair[0] - less[place]:
            verdict.low[place] = pair
        elif pair[1] > pair[0] + more[place]:
            verdict.high[place] = pair
    if lost and not round_.has_lost_events:
        verdict.other.append(f"the brokers lost {lost} rows that they had acknowledged")
    if round_.load.failed and round_.backend.cluster is None:
        verdict.other.append(f"{len(round_.load.failed)} rows were not acknowledged")
    bad = {row.value for row in stored if row.event is None}
    letters = dead_letters(round_)
    verdict.letters = len(letters)
    if missing := bad - letters.keys():
        verdict.other.append(f"{len(missing)} bad rows are not in the dead-letter topic")
    if good := letters.keys() - {r.value for r in round_.load.stored if r.event is None}:
        verdict.other.append(f"{len(good)} good rows are in the dead-letter topic")
    return verdict


def _gone(round_: Round, in_log: list[Stored]) -> tuple[Log, Log]:
    """Return what events that are not in the topic can have taken from, and added to, counters."""
    less: Log = Counter()
    more: Log = Counter()
    missing = round_.load.produced - Counter(row.value for row in in_log)
    for value, count in missing.items():
        event = round_.load.sent[value]
        if event is not None:
            (more if event.incr > 0 else less)[ref(event)] += count * abs(event.incr)
    return less, more


def counters(round_: Round) -> Log:
    """Return every number attribute of every item that is not a fence."""
    found: Log = Counter()
    for table in round_.tables:
        pages = round_.backend.client.get_paginator("scan")
        for page in pages.paginate(TableName=table, ConsistentRead=True):
            for item in page["Items"]:
                key, range_ = item.pop("pk")["S"], item.pop("rk", {"S": None}).get("S")
                for name, value in item.items():
                    if "N" in value and not _FENCE.fullmatch(name):
                        found[table, key, range_, name] += int(value["N"])
    return found


def rows_of_log(round_: Round) -> list[Stored]:
    """Return all rows that are in the topic at the end."""
    sent, topic = round_.load.sent, round_.topic
    return [
        Stored(topic, partition, offset, sent[value], value)
        for partition in range(round_.load.shape.partitions)
        for offset, value in messages(round_, topic, partition)
    ]


def dead_letters(round_: Round) -> Counter[bytes]:
    """Return the payloads of the dead-letter topic, with how often each stands there."""
    return Counter(value for _, value in messages(round_, f"{round_.topic}.dlq", 0))


def messages(round_: Round, topic: str, partition: int) -> list[tuple[int, bytes]]:
    """Return the offset and the payload of each message of a partition."""
    place = TopicPartition(topic, partition, 0)
    config = {"bootstrap.servers": round_.backend.bootstrap_servers, "group.id": "letters"}
    consumer = Consumer({**config, "enable.partition.eof": "true", "fetch.wait.max.ms": "50"})
    found: list[tuple[int, bytes]] = []
    deadline = time.monotonic() + _READ_S
    try:
        consumer.assign([place])
        while time.monotonic() < deadline:
            for message in consumer.consume(1000, 1.0):
                error = message.error()
                if error is None:
                    found.append((message.offset() or 0, message.value() or b""))
                elif error.code() == PARTITION_EOF:
                    return found
    finally:
        consumer.close()
    raise StuckError(f"{topic} was not read to its end within {_READ_S:g} s")
