"""Time buckets of counters for rate limits: one item for each minute, hour or day. Pure.

A bucket is part of the item's key, so a new bucket starts at zero without a write. Buckets are in
UTC and start at full minutes, hours and days. DynamoDB deletes the items of old buckets by TTL.
"""

import time
from collections.abc import Mapping
from typing import Final, Literal, NamedTuple

from dynatomic.errors import ConfigError, RowError
from dynatomic.events.row import KeySchema, Reason, Row

Per = Literal["minute", "hour", "day"]
"""The length of a bucket."""

# The length of a bucket, how long its item is kept after its end, both in seconds, and its text.
_BUCKETS: Final[Mapping[Per, tuple[int, int, str]]] = {
    "minute": (60, 3600, "%Y-%m-%dT%H:%M"),
    "hour": (3600, 86_400, "%Y-%m-%dT%H"),
    "day": (86_400, 7 * 86_400, "%Y-%m-%d"),
}


class Bucket(NamedTuple):
    """One bucket: its text in the key, its end and the expiry of its item in epoch seconds."""

    text: str
    end_s: int
    expires_s: int


def bucket_at(per: Per, epoch_s: float) -> Bucket:
    """Return the bucket that contains a time. Raises ConfigError for an unknown length."""
    if per not in _BUCKETS:
        raise ConfigError(
            f"increment: per={per!r} is no length of a bucket: use minute, hour or day"
        )
    length_s, kept_s, form = _BUCKETS[per]
    start_s = int(epoch_s // length_s) * length_s
    end_s = start_s + length_s
    return Bucket(time.strftime(form, time.gmtime(start_s)), end_s, end_s + kept_s)


def in_bucket(row: Row, bucket: Bucket, keys: KeySchema) -> Row:
    """Return the row with the bucket at the end of its last key part.

    In a table with a range key, a row without a range gets the bucket as its range. Raises
    ConfigError if the table has no TTL attribute, RowError if the key part is a number.
    """
    if keys.ttl_name is None:
        raise ConfigError(
            f"table {row.table} has no TTL attribute, so old buckets would never expire: switch "
            "TTL on (aws dynamodb update-time-to-live), and allow dynamodb:DescribeTimeToLive"
        )
    if (keys.range_type or keys.hash_type) != "S":
        raise RowError(
            Reason.KEY_NOT_A_NUMBER, "a bucket is text, and the last key of the table is a number"
        )
    if keys.range_name is None:
        return row._replace(key=f"{row.key}#{bucket.text}")
    return row._replace(range=bucket.text if row.range is None else f"{row.range}#{bucket.text}")
