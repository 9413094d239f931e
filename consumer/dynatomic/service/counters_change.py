"""Notices that a group counts by another counters file than before.

The fingerprint of the file is in the client id of each member, and in the metadata of each commit.
"""

from contextlib import closing
from typing import Any

from dynatomic.config.settings import Settings
from dynatomic.dead_letters.topic import reader_config
from dynatomic.errors import ConfigError
from dynatomic.kafka.admission import check_commits
from dynatomic.kafka.client import client_id, consumer_config, new_consumer, topic_partitions
from dynatomic.kafka.event_reader import EventReader
from dynatomic.kafka.groups import committed_offsets
from dynatomic.service.without_letters import HasLetter
from dynatomic.verify.letters import GroupLetters


def member_config(settings: Settings, fingerprint: str | None) -> dict[str, Any]:
    """Return the configuration of a member, whose client id shows the counters file."""
    config = consumer_config(settings, eof=True)
    if "client.id" not in settings.librdkafka:
        config["client.id"] = client_id(settings.processing_guarantee, fingerprint)
    return config


def check_no_other_counters(
    settings: Settings, topic_id: str | None, fingerprint: str | None
) -> None:
    """Raise ConfigError if the group has committed offsets by another counters file."""
    with closing(new_consumer(consumer_config(settings))) as consumer:
        partitions = topic_partitions(consumer, settings.topic)
        commits = committed_offsets(consumer, settings, partitions)
    check_commits(commits, settings, topic_id, fingerprint)


def lettered(settings: Settings, topic_id: str | None, reader: EventReader) -> HasLetter:
    """Return whether an event has a dead letter of the group. Raises as `GroupLetters` does."""
    letters = GroupLetters(
        lambda: new_consumer(reader_config(settings)), settings, topic_id, None, reader
    )
    letters.refresh()
    if letters.problem:
        raise ConfigError(f"{letters.problem}; --accept-counters needs it, to find dead letters")
    return letters.has_letter
