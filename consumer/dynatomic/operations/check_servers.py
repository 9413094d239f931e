"""``dynatomic config check --connect``: checks the brokers, topics, group and tables.

Nothing is written, created or committed, and no group is joined. If the brokers report the
operations that they allow (KIP-430), a missing permission is named. Otherwise it is noticed only
when it is needed.
"""

from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from typing import Any

from confluent_kafka import KafkaException, TopicCollection
from confluent_kafka.admin import AclOperation  # type: ignore[attr-defined]

from dynatomic.config.settings import Settings
from dynatomic.console import plural
from dynatomic.counting.check_keys import check_keys
from dynatomic.counting.definition import CountersFile
from dynatomic.dynamodb.client import make_client
from dynatomic.dynamodb.counters import Counters
from dynatomic.dynamodb.tables import describe_with_ttl
from dynatomic.errors import ConfigError
from dynatomic.kafka.admission import check_commits, check_group
from dynatomic.kafka.client import (
    admin_config,
    consumer_config,
    new_admin,
    new_consumer,
    topic_partitions,
)
from dynatomic.kafka.groups import committed_offsets, describe_group
from dynatomic.kafka.reachability import START_S, wait_for_kafka
from dynatomic.kafka.topics import (
    UNPACKED_SIZE_CONFIG,
    check_not_compacted,
    compression_type,
    required_topic_id,
)
from dynatomic.kafka.topics import topic_id as topic_id_of
from dynatomic.operations.show_config import CheckResult, run_check

INSERTS = "; inserts are not checked, --probe tries them"

# Old brokers do not report operations, and some report them only to permitted clients.
_SILENT = (KafkaException, KeyError)


def connect(
    settings: Settings,
    definition: CountersFile | None,
    endpoint_url: str | None,
    probed: str | None = None,
) -> Iterator[CheckResult]:
    """Yield the result of each check of the brokers, the topics, the group and the tables.

    The inserts into the table ``probed`` are checked by the probe, not here.
    """
    fingerprint = definition.fingerprint if definition else None
    brokers = run_check("brokers", lambda: _brokers(settings))
    yield brokers
    if brokers.error is None:
        with closing(new_consumer(consumer_config(settings))) as consumer:
            admin = new_admin(admin_config(settings))
            letters = settings.dead_letters
            yield run_check(f"topic {settings.topic}", lambda: _topic(settings, admin))
            yield run_check(f"dead-letter topic {letters}", lambda: _letters(settings, admin))
            yield run_check(
                f"group {settings.group_id}", lambda: _group(settings, fingerprint, admin, consumer)
            )
    for table in settings.tables:
        unknown = "" if probed == table or settings.write_mode == "single" else INSERTS
        reach = partial(_table, settings, definition, endpoint_url, table)
        yield run_check(f"table {table}", lambda: reach() + unknown)  # noqa: B023 - called at once
    if definition is not None and definition.event.registry is not None:
        yield run_check(
            f"schema registry {definition.event.registry}",
            lambda: _schemas(definition, settings.topic),
        )


def _schemas(definition: CountersFile, topic: str) -> str:
    from dynatomic.registry.open import check_schemas  # noqa: PLC0415 - takes 0.3 s to load

    warnings = check_schemas(definition, topic)
    return "; ".join(["the paths of the counters file fit", *warnings[:3]])


def _brokers(settings: Settings) -> str:
    wait_for_kafka(settings, START_S)
    return settings.bootstrap_servers


def _topic(settings: Settings, admin: Any) -> str:
    partitions = topic_partitions(admin, settings.topic)
    check_not_compacted(settings, settings.topic)
    topic_id = required_topic_id(admin, settings)
    allowed = _of_topic(admin, settings.topic)
    unchecked = _require(allowed, AclOperation.READ, f"topic {settings.topic!r}")
    size = _unpacked_size(admin, settings.topic)
    return (
        f"{_partitions(len(partitions))}{f', id {topic_id}' if topic_id else ''}{size}{unchecked}"
    )


def _unpacked_size(admin: Any, topic: str) -> str:
    compression = compression_type(admin, topic)
    if compression in (None, UNPACKED_SIZE_CONFIG["compression.type"]):
        return ""
    return f"; compression.type={compression}: the brokers do not check the unpacked size"


def _letters(settings: Settings, admin: Any) -> str:
    topic = settings.dead_letters
    partitions = topic_partitions(admin, topic)
    check_not_compacted(settings, topic)
    unchecked = _require(_of_topic(admin, topic), AclOperation.WRITE, f"topic {topic!r}")
    return _partitions(len(partitions)) + unchecked


def _partitions(count: int) -> str:
    return f"{count} {plural(count, 'partition')}"


def _group(settings: Settings, fingerprint: str | None, admin: Any, consumer: Any) -> str:
    partitions = topic_partitions(consumer, settings.topic)
    committed = committed_offsets(consumer, settings, partitions)
    check_commits(committed, settings, topic_id_of(admin, settings.topic), fingerprint)
    unknown = check_group(admin, settings, fingerprint)
    allowed = _of_group(admin, settings.group_id)
    unchecked = _require(allowed, AclOperation.READ, f"group {settings.group_id!r}")
    description = describe_group(admin, settings)
    members = "" if description is None else f", {len(description.members)} members"
    offsets = f"offsets of {len(committed)} of {_partitions(len(partitions))} committed"
    return f"{offsets}{members}{unknown}{unchecked}"


def _table(
    settings: Settings, definition: CountersFile | None, endpoint_url: str | None, table: str
) -> str:
    client = make_client(endpoint_url)
    keys = describe_with_ttl(client, table)
    if definition is not None:
        check_keys(definition, {table: keys})
    Counters(client, {table: keys}).check_access(table, settings.write_mode)
    key_names = [f"{keys.hash_name} ({keys.hash_type})"]
    if keys.range_name:
        key_names.append(f"{keys.range_name} ({keys.range_type})")
    ttl = f", TTL attribute {keys.ttl_name}" if keys.ttl_name else ""
    return f"keys {', '.join(key_names)}{ttl}"


def _of_topic(admin: Any, topic: str) -> list[AclOperation] | None:
    return _authorized_operations(
        lambda more: admin.describe_topics(TopicCollection([topic]), **more)[topic]
    )


def _of_group(admin: Any, group: str) -> list[AclOperation] | None:
    return _authorized_operations(
        lambda more: admin.describe_consumer_groups([group], **more)[group]
    )


def _authorized_operations(
    describe_it: Callable[[dict[str, Any]], Any],
) -> list[AclOperation] | None:
    """Return the allowed operations; None if the brokers do not report them."""
    try:
        futures = describe_it({"include_authorized_operations": True, "request_timeout": START_S})
        operations: list[AclOperation] | None = futures.result().authorized_operations
    except _SILENT:
        return None
    return operations


def _require(allowed: list[AclOperation] | None, operation: AclOperation, what: str) -> str:
    """Raise ConfigError if the operation is not allowed; return a note if that is not known."""
    if allowed is None:
        return (
            f"; the brokers report no permissions, so {operation.name.capitalize()} is not checked"
        )
    if not {operation, AclOperation.ALL} & set(allowed):
        name = operation.name.capitalize()
        raise ConfigError(f"{what} is denied: allow {name} on it")
    return ""
