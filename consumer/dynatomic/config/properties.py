"""The librdkafka properties that a user may set, and the clients that get them.

A property is refused if it breaks the promise of `dynatomic.worker`, runs code, or has a setting of
its own. All others are passed on unchanged. librdkafka refuses unknown properties when the client
is created. Source: librdkafka, *CONFIGURATION.md*.
"""

import re
from collections.abc import Mapping
from typing import Literal

from dynatomic.errors import ConfigError

ClientKind = Literal["consumer", "producer", "admin"]

_COMMITS = "the worker commits offsets after the counters are written"
_ON_BROKERS = "offsets must be stored on the brokers"
_LOST = "an event that was confirmed could be lost"
_ANYBODY = (
    "another server could pose as the broker; for development only, set tls_verification=optional"
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
    "transactional.id": "events are not sent in transactions",
    "internal.termination.signal": "signals are used for the shutdown",
    "enabled_events": "the worker would not receive errors and delivery reports",
    "default.topic.config": "give its properties one by one",
    "default_topic_conf": _NOT_TEXT,
    "interceptors": _NOT_TEXT,
    "logger": _NOT_TEXT,
    "on_commit": _NOT_TEXT,
    "on_delivery": _NOT_TEXT,
    "opaque": _NOT_TEXT,
}
# Callbacks, and properties for the tests of librdkafka itself.
_INTERNAL = re.compile(r".*_cb(_.*)?|ut_.*|test\..*")

_SECRET = re.compile(
    r"password|secret|token|key\.pem|\.jaas\.|private\.key|passphrase|credential"
    r"|sasl\.oauthbearer\.config",
    re.IGNORECASE,
)

# Most names are words with dots between them.
_PROPERTY = re.compile(r"[a-z][a-z0-9_]*(\.[a-z0-9_]+)+|acks|debug|log_level|partitioner|retries")

_NO = ("false", "f", "0")
_YES = ("true", "t", "1")
_Only = Mapping[str, tuple[tuple[str, ...], str]]
_ONLY: dict[str, tuple[tuple[str, ...], str]] = {
    "enable.auto.commit": (_NO, _COMMITS),
    "auto.commit.enable": (_NO, _COMMITS),
    "enable.auto.offset.store": (_NO, _COMMITS),
    "offset.store.method": (("broker",), _ON_BROKERS),
    "enable.partition.eof": (_NO, "the worker sets it if it needs it"),
    "isolation.level": (("read_committed",), "events of aborted transactions would be counted"),
    "check.crcs": (_YES, "damaged events would be counted"),
    "auto.offset.reset": (("earliest", "latest", "error"), "the worker supports no other value"),
    "partition.assignment.strategy": (
        ("cooperative-sticky",),
        "other assignors revoke all partitions of all consumers at each rebalance",
    ),
    "acks": (("all", "-1"), _LOST),
    "request.required.acks": (("all", "-1"), _LOST),
    "enable.idempotence": (_YES, "an event that is sent again would be counted twice"),
    "delivery.report.only.error": (_NO, "the worker needs a report of each delivery"),
}
_VERIFIED = {
    "enable.ssl.certificate.verification": (_YES, _ANYBODY),
    "ssl.endpoint.identification.algorithm": (("https",), _ANYBODY),
}
# These values become part of a shell command (kinit) or the name of a library to load.
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


# librdkafka logs a warning for a property of another kind of client. So each client gets its own
# properties only. A property in neither list is for all kinds of clients.
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
    """Raise ConfigError for the first property that is refused, with its name and the reason.

    The message never contains the value, because it may be a password.
    """
    only = _ONLY if tls_verification == "optional" else _ONLY | _VERIFIED
    for name, value in properties.items():
        if problem := _problem(name, value, group_protocol, only):
            raise ConfigError(f"librdkafka property {name}: {problem}")


def _problem(name: str, value: str, group_protocol: str, only: _Only) -> str | None:
    bare = name.removeprefix("topic.")
    if bare != name and bare in (CONSUMER_ONLY | PRODUCER_ONLY | _REFUSED.keys()):
        # librdkafka accepts the name with and without "topic.". Only one is checked here.
        return f"write {bare}"
    if name in _REFUSED or _INTERNAL.fullmatch(name):
        return f"refused: {_REFUSED.get(name, _NOT_TEXT)}"
    if group_protocol == "consumer" and name in _CLASSIC_ONLY:
        return "only for the group protocol 'classic'; with 'consumer' the brokers set it"
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
    # The message names one spelling of a boolean and of acks, although others are accepted.
    return words[0] if words in (_NO, _YES) or words[0] == "all" else " or ".join(words)


def is_secret(name: str) -> bool:
    """Return whether the value of a property of this name must not be shown."""
    return _SECRET.search(name) is not None


def whole_values(values: dict[str, str]) -> dict[str, str]:
    """Return the properties; raise `ValueError` if a name is a part of a secret with commas.

    Such a part would be shown as the name of a property, without a mask.
    """
    secret = False
    for position, name in enumerate(values, start=1):
        if secret and not _PROPERTY.fullmatch(name):
            raise ValueError(
                f"property {position} has a name that librdkafka does not know; "
                "set a value that contains a comma in the file, or with -X"
            )
        secret = secret or is_secret(name)
    return values


def for_kind(properties: Mapping[str, str], kind: ClientKind) -> dict[str, str]:
    """Return the properties for a client of this kind."""
    foreign: frozenset[str] = frozenset()
    if kind != "consumer":
        foreign |= CONSUMER_ONLY
    if kind != "producer":
        foreign |= PRODUCER_ONLY
    return {name: value for name, value in properties.items() if name not in foreign}
