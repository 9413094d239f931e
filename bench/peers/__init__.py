"""The peers of the benchmark: other programs that count the same topic.

`PEERS` lists them, the slowest one first. All of them count at least once, and none exactly once.
The module of each peer says how it was tuned.
"""

from functools import partial
from typing import Final

from bench.peers.flink import FLINK
from bench.peers.peer import Peer, Skip
from bench.peers.prepare import in_venv, with_go, with_our_python

__all__ = ["PEERS", "Peer", "Skip"]

PEERS: Final[tuple[Peer, ...]] = (
    Peer(
        "update-item",
        "one UpdateItem an event",
        20_000,
        partial(with_our_python, "update_item"),
        "The usual simple loop. Each event costs a request and a write unit.",
    ),
    Peer(
        "dict-per-poll",
        "a dict a poll, one UpdateItem a counter",
        200_000,
        partial(with_our_python, "dict_per_poll"),
        "It sums the events of a poll, and then sends one boto3 request for each counter.",
    ),
    Peer(
        "quix",
        "Quix Streams, batches of 25",
        500_000,
        partial(in_venv, "quix", ("quixstreams[avro]==3.28.1", "boto3==1.44.5")),
        "It passes each message through its operators in Python, and commits at its own interval.",
    ),
    Peer(
        "bytewax",
        "Bytewax, batches of 25",
        1_000_000,
        partial(
            in_venv,
            "bytewax_",
            (
                "bytewax==0.21.1",
                "boto3==1.44.5",
                "confluent-kafka==2.16.1",
                "fastavro==1.13.1",
            ),
            newest_python=(3, 12),
        ),
        "It decodes each message in Python, and its operators get sums only. It keeps offsets in "
        "a file, not in Kafka.",
    ),
    FLINK,
    Peer(
        "go",
        "Go: franz-go, batches of 25",
        10_000_000,
        with_go,
        "It is compiled, decodes every message, and fetches on the second core at the same time. "
        "It does less: it has no fence and no dead letters, it creates no items, and it exits at "
        "the first error.",
    ),
)
