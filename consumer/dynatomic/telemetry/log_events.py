"""Every line that the package logs, once: its event, its level, what it means and what to do.

The table in docs/reference/log-events.md is made from it. An event is a fixed sentence; what
varies stands in the line's fields, which never hold a key, a payload or a secret.
"""

from dataclasses import dataclass
from typing import Literal

Level = Literal["debug", "info", "warning", "error"]


@dataclass(frozen=True, slots=True)
class LogEvent:
    """What is known of one log line."""

    event: str
    level: Level
    meaning: str
    action: str = "nothing"


LOG_EVENTS = (
    LogEvent("serving", "info", "The HTTP endpoint listens at `url`."),
    LogEvent(
        "no free port, so nothing is served",
        "warning",
        "Ten other processes have the default ports.",
        "give an address with `--http`, or `--http off`",
    ),
    LogEvent("request failed", "error", "The HTTP endpoint met a defect.", "report it"),
    LogEvent("started", "info", "It joins the group and begins to read."),
    LogEvent("topic is empty", "info", "`run --once` has nothing to count, and ends with 0."),
    LogEvent("assigned", "info", "The group gave it these partitions; `owned` is all it has now."),
    LogEvent("revoked", "info", "The group took these partitions back, after they were finished."),
    LogEvent(
        "lost",
        "warning",
        "The group took these partitions without asking: it was taken for dead.",
        "where it repeats: more CPU, or longer `session.timeout.ms` and `max.poll.interval.ms`",
    ),
    LogEvent(
        "revoked before it was written; the next owner reads it again",
        "warning",
        "The bound was too short for the open windows; at-least-once may count them twice.",
        "see what the table waits for, or raise `--shutdown-timeout-ms`",
    ),
    LogEvent("window written", "debug", "A partition's window is in its counters."),
    LogEvent("counted", "info", "What was counted in the last minute, if anything was."),
    LogEvent(
        "fence refused",
        "info",
        "Events that were in their counters already were kept from counting twice; one line a "
        "second, all at debug.",
        "nothing: it is what fences are for, after a crash or a replay",
    ),
    LogEvent(
        "table waits",
        "warning",
        "A table throttles, fails or refuses (`refused`); it is tried again.",
        "as `cause` says: capacity, network, or the permission or table that it names",
    ),
    LogEvent(
        "requests are sent by boto3",
        "warning",
        "The direct way to DynamoDB cannot be taken, for `cause`: it counts as well, for more CPU.",
        "nothing where it is a proxy; else install the versions that this release was tested with",
    ),
    LogEvent(
        "dead letter",
        "warning",
        "A row cannot be counted; at most one line a second, `letters` since the last.",
        "look at it in the dead-letter topic; mend its producer, by `reason`",
    ),
    LogEvent(
        "dead-letter topic refuses",
        "error",
        "Dead letters cannot be stored; their partitions commit nothing until they are.",
        "as `hint` says",
    ),
    LogEvent(
        "refused events not read yet",
        "warning",
        "Events that the table refused are read again for the dead letters, and are not there yet.",
        "check the brokers",
    ),
    LogEvent(
        "commit failed",
        "warning",
        "Offsets are not committed; they are sent again.",
        "check the group's coordinator where it goes on",
    ),
    LogEvent(
        "commit after a revocation failed",
        "warning",
        "The next owner reads some events again; at-least-once counts them twice.",
    ),
    LogEvent(
        "committed offset unknown, trying again",
        "warning",
        "The group's coordinator did not tell where to begin.",
        "check the coordinator, and Read on the group",
    ),
    LogEvent(
        "partition stopped",
        "error",
        "To go on would count wrong: its offset is gone, or is of another topic.",
        "run the command at the end of `cause`, after you know why",
    ),
    LogEvent(
        "events without a key",
        "warning",
        "Exactly-once works without keys, but an item gets a fence a partition and grows.",
        "key events by table and item, as `dynatomic produce` does, or have few partitions",
    ),
    LogEvent(
        "no partition assigned",
        "info",
        "It is a spare: the group has more members than partitions. Told once.",
    ),
    LogEvent(
        "waiting",
        "warning",
        "The consumer waits for `cause` for some seconds; the probes do not fail yet.",
        "nothing if it recovers; otherwise `no progress` follows, with what to do",
    ),
    LogEvent(
        "topic does not exist",
        "error",
        "The brokers do not have the topic any more. Nothing can be counted.",
        "as `do` says",
    ),
    LogEvent("recovered", "info", "What it waited for works again, after `seconds`."),
    LogEvent(
        "no progress",
        "error",
        "Events wait and none is counted, for `cause`; twice a minute, for up to ten of `stuck`.",
        "as `do` says",
    ),
    LogEvent(
        "ends for want of progress",
        "error",
        "A new process may get on where this one does not; its windows are finished first.",
        "let the supervisor start it again",
    ),
    LogEvent(
        "no token for Amazon MSK",
        "error",
        "No AWS credentials to log in with, for `cause`; asked again every ten seconds.",
        "see where the AWS chain should find them; what is counted already is safe",
    ),
    LogEvent(
        "Kafka error",
        "warning",
        "The client met an error that it gets over by itself; one line a second.",
        "check the brokers where it repeats",
    ),
    LogEvent("stopping", "info", "A signal came: open windows are finished within the bound."),
    LogEvent("stopped", "info", "It has ended; the fields say what it counted."),
    LogEvent(
        "windows not finished within the bound; their events will be read again",
        "error",
        "It ends with 1; at-least-once may count them twice.",
        "see what the table waits for, or raise `--shutdown-timeout-ms`",
    ),
    LogEvent(
        "not stopped in time; what was not committed will be read again",
        "error",
        "The shutdown hung and was ended.",
        "report it, with the lines before",
    ),
    LogEvent("forced to end", "warning", "A second signal ended it at once."),
    LogEvent("events stored", "info", "`dynatomic produce` is done."),
    LogEvent(
        "events not delivered", "error", "`Emitter` lost events.", "check the brokers; emit again"
    ),
)
