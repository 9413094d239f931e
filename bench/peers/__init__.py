"""Other ways to count the same topic, each its own small program: the peers of the benchmark.

`PEERS` says what they are, slowest first. All count the same events into the same table at least
once, none exactly once; what each was tuned with stands in its module.
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
        "The loop that most teams write. Each event costs a request, and a write unit.",
    ),
    Peer(
        "dict-per-poll",
        "a dict a poll, one UpdateItem a counter",
        200_000,
        partial(with_our_python, "dict_per_poll"),
        "Sums first, and then pays boto3's whole price for each counter.",
    ),
    Peer(
        "quix",
        "Quix Streams, batches of 25",
        500_000,
        partial(in_venv, "quix", ("quixstreams[avro]==3.28.1", "boto3==1.44.5")),
        "Takes each message through its operators in Python, and commits by its own interval.",
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
        "Decodes each message in Python; its operators see sums only. Offsets are kept in a file "
        "of its own, not in Kafka.",
    ),
    FLINK,
    Peer(
        "go",
        "Go: franz-go, batches of 25",
        10_000_000,
        with_go,
        "Compiled: it decodes all that it reads, in the time in which Python would touch it, and "
        "fetches on the other core meanwhile. It has the happy path only: no fence, no making of "
        "items, no dead letters, and an error ends it.",
    ),
)
