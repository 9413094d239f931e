"""Reading the items of a table by several threads."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import islice
from threading import Event

from dynatomic.dynamodb.answers import Item
from dynatomic.dynamodb.items import BATCH_GET, ItemKey, Sleep

ReadBatch = Callable[[str, Sequence[ItemKey], Sleep], Mapping[ItemKey, Item]]
"""Takes a table, up to `BATCH_GET` items, and a sleep function; returns the items that exist."""


def read_table(
    read_batch: ReadBatch, table: str, items: Iterator[ItemKey], threads: int
) -> Iterator[tuple[ItemKey, Item | None]]:
    """Yield each item, None for one that does not exist. ``read_batch`` runs in ``threads``."""
    ended = Event()

    def read(batch: Sequence[ItemKey]) -> Mapping[ItemKey, Item]:
        return read_batch(table, batch, ended.wait)

    with ThreadPoolExecutor(threads) as pool, ExitStack() as stack:
        stack.callback(ended.set)  # ends the pauses of read_batch, which the pool would wait for
        while wanted := list(islice(items, 4 * threads * BATCH_GET)):
            batches = [wanted[i : i + BATCH_GET] for i in range(0, len(wanted), BATCH_GET)]
            for batch, answer in zip(batches, pool.map(read, batches), strict=True):
                for item in batch:
                    yield item, answer.get(item)
