"""librdkafka's properties: which of the user's pass, and to which kind of client.

Refused are those that break the promise of `dynatomic.worker`, run code, or name something that
has a setting of its own. All others pass as they are; what librdkafka does not know, it refuses
itself when the client is made. Reference: librdkafka, *CONFIGURATION.md*.
"""

import re
from collections.abc import Mapping
from typing import Literal

from dynatomic.errors import ConfigError

Kind = Literal["consumer", "producer", "admin"]

_COMMITS = "the worker commits offsets, after the counters were written"
_ON_BROKERS = "offsets are stored on the brokers"
_LOST = "a row that was confirmed could be lost"
_ANYBODY = (
    "anybody could pose as the broker; for development alone, set tls_verification to optional"
)
_CODE = "it can run code"
_NOT_TEXT = "it takes code or an internal value, not text"

_REFUSED = {
    "bootstrap.servers": "use the setting bootstrap_servers (-b)",
    "metadata.broker.list": "use the setting bootstrap_servers (-b)",
    "group.id": "use the setting group_id (-g)",
    "group.protocol": "use the setting group_protocol (--group-protocol)",
    "plugin.library.paths": _CODE,
    "sasl.kerberos.kinit.cmd": _CODE,
    "ssl.engine.location": _CODE,
    "ssl.engine.id": _CODE,
    "offset.store.path": _ON_BROKERS,
    "transactional.id": "rows are not sent in transactions",
    "internal.termination.signal": "signals are for shutting down cleanly",
    "enabled_events": "it takes errors and delivery reports away from the worker",
    "default.topic.config": "give its properties one by one",
    "default_topic_conf": _NOT_TEXT,
    "interceptors": _NOT_TEXT,
    "logger": _NOT_TEXT,
    "on_commit": _NOT_TEXT,
    "on_delivery": _NOT_TEXT,
    "opaque": _NOT_TEXT,
}
# Callbacks, and what librdkafka keeps for its own tests.
_INTERNAL = re.compile(r".*_cb(_.*)?|ut_.*|test\..*")

_SECRET = re.compile(
    r"password|secret|token|key\.pem|\.jaas\.|private\.key|passphrase|credential"
    r"|sasl\.oauthbearer\.config",
    re.IGNORECASE,
)

# Their names are words with points between them, but for a few.
_PROPERTY = re.compile(r"[a-z][a-z0-9_]*(\.[a-z0-9_]+)+|acks|debug|log_level|partitioner|retries")

_NO = ("false", "f", "0")
_YES = ("true", "t", "1")
_Only = Mapping[str, tuple[tuple[str, ...], str]]
_ONLY: dict[str, tuple[tuple[str, ...], str]] = {
    "enable.auto.commit": (_NO, _COMMITS),
    "auto.commit.enable": (_NO, _COMMITS),
    "enable.auto.offset.store": (_NO, _COMMITS),
    "offset.store.method": (("broker",), _ON_BROKERS),
    "enable.partition.eof": (_NO, "the worker sets it where it needs it"),
    "isolation.level": (("read_committed",), "rows of aborted transactions would be counted"),
    "check.crcs": (_YES, "damaged rows would be counted"),
    "auto.offset.reset": (("earliest", "latest", "error"), "the worker knows no other word"),
    "partition.assignment.strategy": (
        ("cooperative-sticky",),
        "others take all partitions from all consumers at each rebalance",
    ),
    "acks": (("all", "-1"), _LOST),
    "request.required.acks": (("all", "-1"), _LOST),
    "enable.idempotence": (_YES, "a row that is sent again would be counted twice"),
    "delivery.report.only.error": (_NO, "each delivery is confirmed"),
}
_VERIFIED = {
    "enable.ssl.certificate.verification": (_YES, _ANYBODY),
    "ssl.endpoint.identification.algorithm": (("https",), _ANYBODY),
}
# Put into a shell command (kinit), or the name of a library to load.
_PLAIN = {
    "sasl.kerberos.principal": re.compile(r"[A-Za-z0-9_.@/-]+"),
    "sasl.kerberos.keytab": re.compile(r"[A-Za-z0-9_.@/:-]+"),
    "ssl.providers": re.compile(r"[A-Za-z0-9_,-]+"),
}
_CLASSIC_ONLY = frozenset(
    (
        "session.timeout.ms",
        "heartbeat.interval.ms",
        "partition.assignment.strategy",
        "group.protocol.type",
    )
)


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


# librdkafka logs a warning for a property that is not for the client's kind, so they are kept
# apart. What stands in neither list is for all kinds.
CONSUMER_ONLY = _names(
    """
    group.id group.instance.id group.protocol group.protocol.type group.remote.assignor
    partition.assignment.strategy session.timeout.ms heartbeat.interval.ms
    coordinator.query.interval.ms max.poll.interval.ms max.poll.records
    share.acknowledgement.mode enable.auto.commit auto.commit.enable auto.commit.interval.ms
    enable.auto.offset.store offset.store.method offset.store.path
    offset.store.sync.interval.ms queued.min.messages queued.max.messages.kbytes
    fetch.wait.max.ms fetch.queue.backoff.ms fetch.message.max.bytes max.partition.fetch.bytes
    fetch.max.bytes fetch.min.bytes fetch.error.backoff.ms isolation.level enable.partition.eof
    check.crcs auto.offset.reset consume.callback.max.messages
    """
)
PRODUCER_ONLY = _names(
    """
    transactional.id transaction.timeout.ms enable.idempotence enable.gapless.guarantee
    queue.buffering.max.messages queue.buffering.max.kbytes queue.buffering.max.ms linger.ms
    message.send.max.retries retries queue.buffering.backpressure.threshold compression.codec
    compression.type compression.level batch.num.messages batch.size
    delivery.report.only.error sticky.partitioning.linger.ms acks request.required.acks
    request.timeout.ms message.timeout.ms delivery.timeout.ms queuing.strategy
    produce.offset.report partitioner
    """
)


def check_properties(
    properties: Mapping[str, str],
    group_protocol: str = "classic",
    tls_verification: str = "required",
) -> None:
    """Raise ConfigError, naming the property and the reason, for the first that cannot pass.

    The message never has the value: it may be a password.
    """
    only = _ONLY if tls_verification == "optional" else _ONLY | _VERIFIED
    for name, value in properties.items():
        if problem := _problem(name, value, group_protocol, only):
            raise ConfigError(f"librdkafka property {name}: {problem}")


def _problem(name: str, value: str, group_protocol: str, only: _Only) -> str | None:
    bare = name.removeprefix("topic.")
    if bare != name and bare in (CONSUMER_ONLY | PRODUCER_ONLY | _REFUSED.keys()):
        # librdkafka takes both spellings; one is enough to check.
        return f"write {bare}"
    if name in _REFUSED or _INTERNAL.fullmatch(name):
        return f"refused: {_REFUSED.get(name, _NOT_TEXT)}"
    if group_protocol == "consumer" and name in _CLASSIC_ONLY:
        return "only for the group protocol 'classic'; with 'consumer' the brokers decide"
    return _problem_of_value(name, value, only)


def _problem_of_value(name: str, value: str, only: _Only) -> str | None:
    if name in only:
        allowed, cause = only[name]
        if value.strip().lower() not in allowed:
            return f"can only be {_or(allowed)}: {cause}"
    if name in _PLAIN and not _PLAIN[name].fullmatch(value):
        return "refused: a value with such characters can run code"
    return None


def _or(words: tuple[str, ...]) -> str:
    # A boolean's and acks's other spellings are for those who copy them, not for the message.
    return words[0] if words in (_NO, _YES) or words[0] == "all" else " or ".join(words)


def is_secret(name: str) -> bool:
    """Tell whether a property of this name has a value that is not to be shown."""
    return _SECRET.search(name) is not None


def whole_values(values: dict[str, str]) -> dict[str, str]:
    """Return the properties; raise `ValueError` where one is the tail of a secret with commas.

    Shown as a property of its own, it would stand there unmasked.
    """
    secret = False
    for position, name in enumerate(values, start=1):
        if secret and not _PROPERTY.fullmatch(name):
            raise ValueError(
                f"property {position} has a name that librdkafka does not know; "
                "a value with a comma in it goes into the file, or after -X"
            )
        secret = secret or is_secret(name)
    return values


def for_kind(properties: Mapping[str, str], kind: Kind) -> dict[str, str]:
    """Return those of the properties that a client of this kind takes."""
    foreign: frozenset[str] = frozenset()
    if kind != "consumer":
        foreign |= CONSUMER_ONLY
    if kind != "producer":
        foreign |= PRODUCER_ONLY
    return {name: value for name, value in properties.items() if name not in foreign}
