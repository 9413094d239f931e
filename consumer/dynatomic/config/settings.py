"""The settings: name, type, default, help and check of each.

Code can create them without a command line: ``Settings(tables=("hits",))``. `catalogue` derives the
flags, the environment variables and the documentation from them.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal, get_args, get_type_hints

from dynatomic.config import checks
from dynatomic.errors import ConfigError

GroupProtocol = Literal["classic", "consumer"]
WriteMode = Literal["batch", "single"]
ProcessingGuarantee = Literal["at-least-once", "exactly-once"]
KafkaAuth = Literal["properties", "msk-iam"]
TlsVerification = Literal["required", "optional"]
LogLevel = Literal["debug", "info", "warning", "error"]


@dataclass(frozen=True, slots=True)
class SettingNotes:
    """The help and the check of a setting, and how it is written where the name does not say it."""

    help: str
    check: checks.Check
    flag: str = ""  # if it is not the name with dashes
    short: str = ""
    metavar: str = ""
    unset: str = "none"  # shown in place of an empty default


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of the consumer and of its commands.

    A wrong value raises `ConfigError` with the name of the setting, the value, and what to do.
    """

    bootstrap_servers: Annotated[
        str,
        SettingNotes(
            "Kafka brokers, separated by commas.", checks.servers, short="-b", metavar="HOST:PORT"
        ),
    ] = "localhost:9092"
    topic: Annotated[str, SettingNotes("Topic with the events.", checks.topic, short="-t")] = (
        "row-events"
    )
    group_id: Annotated[
        str,
        SettingNotes(
            "Consumer group.",
            checks.matching(checks.GROUP, "is not a group: use 1 to 255 printable characters"),
            short="-g",
        ),
    ] = "dynatomic"
    tables: Annotated[
        tuple[str, ...],
        SettingNotes(
            "Table that events may name; repeatable. Events with another table are dead letters.",
            checks.tables,
            flag="--table",
            metavar="NAME",
        ),
    ] = ()
    counters: Annotated[
        Path | None,
        SettingNotes(
            "File that declares counters over events of other formats (docs/counters.md).",
            checks.or_none(checks.path),
            metavar="FILE",
            unset="row events",
        ),
    ] = None
    dead_letter_topic: Annotated[
        str | None,
        SettingNotes(
            "Topic for events that cannot be counted.",
            checks.or_none(checks.topic),
            unset="<topic>.dlq",
        ),
    ] = None
    dead_letter_max_ratio: Annotated[
        float,
        SettingNotes(
            "Exit if a larger share of the last events are dead letters; 1 disables it.",
            checks.ratio,
            metavar="RATIO",
        ),
    ] = 1.0
    counter: Annotated[
        str,
        SettingNotes(
            "Attribute to add to if the event names none.",
            checks.attribute,
            metavar="NAME",
        ),
    ] = "count"
    allowed_counters: Annotated[
        tuple[str, ...],
        SettingNotes(
            "Counter that events may name in addition to --counter; repeatable. None: all except "
            "keys and TTL.",
            checks.attributes,
            flag="--allow-counter",
            metavar="NAME",
        ),
    ] = ()
    processing_guarantee: Annotated[
        ProcessingGuarantee,
        SettingNotes(
            "Guarantee after a failure. Stop the group to change it.",
            checks.one_of(ProcessingGuarantee),
        ),
    ] = "at-least-once"
    window_ms: Annotated[
        int,
        SettingNotes(
            "Time to sum events before a write, in milliseconds.",
            checks.between(10, checks.HOUR_MS),
        ),
    ] = 1_000
    window_max_events: Annotated[
        int,
        SettingNotes(
            "Maximum number of events in all windows. Partitions get equal shares.",
            checks.between(1, 100_000_000),
        ),
    ] = 2_000_000
    window_max_counters: Annotated[
        int,
        SettingNotes(
            "Maximum number of counters in all windows. Partitions get equal shares.",
            checks.between(1, 10_000_000),
        ),
    ] = 200_000
    window_max_bytes: Annotated[
        int,
        SettingNotes(
            "Maximum size of all windows and dead letters, in bytes. Partitions get equal shares.",
            checks.between(1_000_000, 100_000_000_000),
        ),
    ] = 128_000_000
    group_protocol: Annotated[
        GroupProtocol,
        SettingNotes(
            "Group protocol of Kafka; 'consumer' needs brokers >= 4.0.",
            checks.one_of(GroupProtocol),
        ),
    ] = "classic"
    write_mode: Annotated[
        WriteMode,
        SettingNotes(
            "'batch': 25 counters in a request; 'single': one, for endpoints without PartiQL.",
            checks.one_of(WriteMode),
        ),
    ] = "batch"
    max_requests: Annotated[
        int,
        SettingNotes("Maximum number of concurrent requests to DynamoDB.", checks.between(1, 256)),
    ] = 8
    min_incr: Annotated[
        int,
        SettingNotes(
            "Smallest increment of an event; 0 forbids negative increments.", checks.int64
        ),
    ] = -checks.INT64
    max_incr: Annotated[int, SettingNotes("Largest increment of an event.", checks.int64)] = (
        checks.INT64 - 1
    )
    max_payload_bytes: Annotated[
        int,
        SettingNotes(
            "Largest payload of an event in bytes; a larger one is a dead letter.",
            checks.between(1_000, 100_000_000),
        ),
    ] = 1_048_576
    writer_schema: Annotated[
        Path | None,
        SettingNotes(
            "File with the Avro schema of the events.",
            checks.or_none(checks.path),
            unset="built in",
        ),
    ] = None
    shutdown_timeout_ms: Annotated[
        int,
        SettingNotes(
            "Time to write open windows after SIGTERM, in milliseconds.",
            checks.between(100, checks.HOUR_MS),
        ),
    ] = 25_000
    http: Annotated[
        str | None,
        SettingNotes(
            "Address of /metrics, /livez, /readyz, /status and the page at /; 'off' for none.",
            checks.or_none(checks.http),
            metavar="HOST:PORT",
            unset="127.0.0.1:9108 or the next free port",
        ),
    ] = None
    progress_timeout_ms: Annotated[
        int,
        SettingNotes(
            "Time without progress, while events wait, until /livez fails, in milliseconds.",
            checks.between(1_000, checks.HOUR_MS),
        ),
    ] = 60_000
    kafka_auth: Annotated[
        KafkaAuth,
        SettingNotes(
            "Login to Kafka: 'properties' as set with -X; 'msk-iam' with AWS credentials.",
            checks.one_of(KafkaAuth),
        ),
    ] = "properties"
    tls_verification: Annotated[
        TlsVerification,
        SettingNotes(
            "'optional' lets -X disable certificate checks; for development only.",
            checks.one_of(TlsVerification),
        ),
    ] = "required"
    log_level: Annotated[
        LogLevel, SettingNotes("Lowest level of the log lines on stderr.", checks.one_of(LogLevel))
    ] = "info"
    librdkafka: Annotated[
        dict[str, str],
        SettingNotes(
            "Property of the Kafka client; repeatable. All origins are merged by name.",
            checks.properties,
            flag="-X",
            metavar="NAME=VALUE",
        ),
    ] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        for name in ("tables", "allowed_counters"):
            if isinstance(listed := getattr(self, name), list | tuple):
                object.__setattr__(self, name, tuple(dict.fromkeys(listed)))
        if isinstance(self.librdkafka, dict):
            object.__setattr__(self, "librdkafka", dict(self.librdkafka))
        for name, notes in NOTES.items():
            if problem := notes.check(getattr(self, name)):
                raise ConfigError(f"{name}: {problem}")
        if self.min_incr > self.max_incr:
            raise ConfigError(
                f"min_incr: {self.min_incr} is more than max_incr, which is {self.max_incr}; "
                "decrease min_incr or increase max_incr"
            )
        if problem := checks.topic(self.dead_letters):
            raise ConfigError(f"dead_letter_topic: {problem}; name another one")
        if self.dead_letters == self.topic:
            raise ConfigError(
                f"dead_letter_topic: {self.topic!r} is the topic itself; name another one"
            )

    @property
    def dead_letters(self) -> str:
        """The topic for dead letters; by default the name of the topic with ``.dlq``."""
        return self.dead_letter_topic or f"{self.topic}.dlq"

    @property
    def exactly_once(self) -> bool:
        """Whether items have fences."""
        return self.processing_guarantee == "exactly-once"

    def require_tables(self) -> tuple[str, ...]:
        """Return `tables`; raise `ConfigError` if none is listed."""
        if not self.tables:
            raise ConfigError(
                "tables: none is listed, so no event may be counted; "
                "list them with --table NAME, DYNATOMIC_TABLES, or tables = [...] in the file"
            )
        return self.tables


NOTES: dict[str, SettingNotes] = {
    name: get_args(hint)[1] for name, hint in get_type_hints(Settings, include_extras=True).items()
}
"""The notes of each setting, by its name."""
