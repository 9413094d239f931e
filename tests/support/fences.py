"""Reads fences, and starts workers that set them."""

from typing import Any

from dynatomic.dynamodb.fence import fences_of
from tests.support.clients import TOPIC
from tests.support.harness import World
from tests.support.member import Member


def once(w: World, **settings: Any) -> Member:
    """Start a worker that counts exactly once."""
    return w.worker(processing_guarantee="exactly-once", **settings)


def fences(w: World, key: str) -> dict[int, int]:
    """Return the fences of an item of today's topic."""
    (item,) = [item for item in w.dynamodb.items("hits") if item["pk"] == {"S": key}]
    return fences_of(item, w.broker.topic_ids[TOPIC])
