"""Every log event of the package: its level, what it means, and what to do.

docs/reference/log-events.md is generated from it. An event is a fixed text. What varies is in the
fields of the line, which never hold a key, a payload or a secret.
"""

from dataclasses import dataclass
from typing import Literal

Level = Literal["debug", "info", "warning", "error"]


@dataclass(frozen=True, slots=True)
class LogEvent:
    """One log event, as the reference describes it."""

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
    LogEvent(
        "request failed", "error", "The HTTP endpoint failed because of a defect.", "report it"
    ),
    LogEvent(
        "TTL attribute unknown",
        "warning",
        "An event that names the TTL attribute of `table` would add to it.",
        "as `cause` says, or list the counters with `--allow-counter`",
    ),
    LogEvent(
        "counters file",
        "warning",
        "A path of the counters file may find nothing in the schema of the events, or the schema "
        "registry does not answer.",
        "as `cause` says",
    ),
    LogEvent("started", "info", "The consumer joins the group and starts to read."),
    LogEvent("topic is empty", "info", "`run --once` has nothing to count, and ends with 0."),
    LogEvent(
        "assigned",
        "info",
        "The group assigned these partitions. `owned` lists all partitions of the consumer.",
    ),
    LogEvent(
        "revoked",
        "info",
        "The group took these partitions back. Their windows were finished first.",
    ),
    LogEvent(
        "lost",
        "warning",
        "The group removed this consumer, because it did not answer in time.",
        "if it repeats: more CPU, or longer `session.timeout.ms` and `max.poll.interval.ms`",
    ),
    LogEvent(
        "revoked before it was written; the next owner reads it again",
        "warning",
        "The open windows took longer than the limit. At-least-once may count them twice.",
        "find out why the table is slow, or raise `--shutdown-timeout-ms`",
    ),
    LogEvent("window written", "debug", "The window of a partition is added to its counters."),
    LogEvent("counted", "info", "What was counted in the last minute. No line if nothing was."),
    LogEvent(
        "fence refused",
        "info",
        "A fence kept events from being counted twice. One line a second at this level; all "
        "lines at debug.",
        "nothing: this is normal after a crash or a replay",
    ),
    LogEvent(
        "table waits",
        "warning",
        "A table throttles, fails or refuses (`refused`) requests. They are sent again.",
        "as `cause` says: capacity, network, or the permission or table that it names",
    ),
    LogEvent(
        "requests are sent by boto3",
        "warning",
        "The own transport cannot be used, because of `cause`. boto3 takes more CPU.",
        "nothing if there is a proxy; otherwise install the versions of the lock file",
    ),
    LogEvent(
        "dead letter",
        "warning",
        "An event cannot be counted. One line a second at most; `letters` since the last.",
        "read it with `dynatomic dlq show`, and correct its producer",
    ),
    LogEvent(
        "dead-letter topic refuses",
        "error",
        "Dead letters cannot be stored. Their partitions commit nothing until they are.",
        "as `hint` says",
    ),
    LogEvent(
        "refused events not read yet",
        "warning",
        "Events that the table refused are read again for their dead letters, which takes longer.",
        "check the brokers",
    ),
    LogEvent(
        "commit failed",
        "warning",
        "A commit of offsets failed. It is sent again.",
        "check the group coordinator if it continues",
    ),
    LogEvent(
        "commit after a revocation failed",
        "warning",
        "The next owner reads some events again. At-least-once counts them twice.",
    ),
    LogEvent(
        "committed offset unknown, trying again",
        "warning",
        "The group coordinator did not answer with the committed offset.",
        "check the coordinator, and the Read permission on the group",
    ),
    LogEvent(
        "committed offsets may have expired",
        "warning",
        "The group has no commit, and the oldest event is older than commits are kept. The fences "
        "keep events from being counted twice.",
        "see `cause`; `--start earliest` or `--start latest` says where to start",
    ),
    LogEvent(
        "fatal batch",
        "error",
        "A process that read the batch at `offset` was killed: it is too large once it is unpacked "
        "or damaged. The consumer does not read it.",
        "run the command in `cause` of `partition stopped`, which follows",
    ),
    LogEvent(
        "partition stopped",
        "error",
        "Its offset no longer exists, or belongs to another topic. To continue would count wrong.",
        "find out why, then run the command at the end of `cause`",
    ),
    LogEvent(
        "events without a key",
        "warning",
        "Exactly-once works without keys, but each item gets a fence for each partition.",
        "use the table and the item as the key, as `dynatomic produce` does, or use few partitions",
    ),
    LogEvent(
        "waiting for a server",
        "warning",
        "`server` has not answered for `seconds`. It is waited for up to `limit_seconds`.",
        "nothing if it is about to start; else check that it runs, and its address",
    ),
    LogEvent(
        "message of the Kafka client",
        "warning",
        "librdkafka logged `text`, of the kind `kind`. Its level is librdkafka's. The same text is "
        "logged once in ten seconds.",
        "check the brokers if it repeats; what it means for the counts has a line of its own",
    ),
    LogEvent(
        "group has other members",
        "warning",
        "Members of the group are other programs, by their `client_ids`. They get partitions, "
        "and events that they commit are not counted.",
        "give that application, or this consumer, a group of its own with `--group-id`",
    ),
    LogEvent(
        "no partition assigned",
        "info",
        "The group has more members than partitions. Logged once.",
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
    LogEvent("recovered", "info", "What the consumer waited for works again, after `seconds`."),
    LogEvent(
        "no progress",
        "error",
        "Events wait and none is counted, because of `cause`. Two lines a minute. "
        "`stuck` has up to ten partitions.",
        "as `do` says",
    ),
    LogEvent(
        "exits without progress",
        "error",
        "The process exits, because a new one may make progress. It writes its windows first.",
        "let the supervisor start it again",
    ),
    LogEvent(
        "no token for Amazon MSK",
        "error",
        "There are no AWS credentials for the login, because of `cause`. Tried every ten seconds.",
        "check the AWS credential chain; what is counted is safe",
    ),
    LogEvent(
        "Kafka error",
        "warning",
        "The Kafka client had an error that it recovers from. One line a second.",
        "check the brokers if it repeats",
    ),
    LogEvent("stopping", "info", "A signal arrived. Open windows are finished within the limit."),
    LogEvent("stopped", "info", "The consumer has ended. The fields say what it counted."),
    LogEvent(
        "windows not finished within the bound; their events will be read again",
        "error",
        "The exit code is 1. At-least-once may count these events twice.",
        "find out why the table is slow, or raise `--shutdown-timeout-ms`",
    ),
    LogEvent(
        "not stopped in time; what was not committed will be read again",
        "error",
        "The shutdown took too long and was ended.",
        "report it, with the lines before it",
    ),
    LogEvent(
        "ended before the start",
        "info",
        "A signal ended the process while it waited for a server. Nothing had been read.",
    ),
    LogEvent("forced to end", "warning", "A second signal ended the process at once."),
    LogEvent(
        "unknown variable",
        "warning",
        "The environment variable `variable` begins with our prefix, but has no effect.",
        "correct its name as `cause` says, or remove it",
    ),
    LogEvent(
        "interrupted",
        "warning",
        "`dynatomic produce` was interrupted. `events` of its rows are stored.",
    ),
    LogEvent("events stored", "info", "`dynatomic produce` has ended."),
    LogEvent(
        "events not delivered",
        "error",
        "`Emitter` or `dynatomic produce` lost events.",
        "check the brokers, and emit them again",
    ),
)
