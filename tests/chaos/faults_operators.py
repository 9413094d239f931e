"""Faults of those who change things: settings, transactions of others, tables made again."""

import signal
from collections.abc import Mapping
from random import Random
from typing import Final

from confluent_kafka import KafkaError, Message, Producer

from tests.chaos.kinds import fault
from tests.chaos.load import Stored
from tests.chaos.round import Round
from tests.chaos.tables import make_table

STRICT: Final = ("--max-incr", "500")
"""Rejects about half of the events; without it each of them counts."""

KEYS: Final = ({"pk": "S"}, {"pk": "S", "rk": "S"})
OTHER_KEYS: Final[tuple[Mapping[str, str], ...]] = (
    {"id": "S"},
    {"pk": "N"},
    {"id": "S", "no": "N"},
)
_TRANSACTION_S: Final = 30.0


def _logged(round_: Round, text: str) -> int:
    return sum(member.text().count(text) for member in round_.members)


@fault(8, backends=("real", "cluster"), alone=True)
def settings_corrected_after_a_letter_outage(round_: Round, random_: Random) -> int:
    """Events are rejected while the dead-letter topic takes nothing; then the setting is corrected.

    No letter of them is stored, so each of them must be counted.
    """
    letters = f"{round_.topic}.dlq"
    round_.stop_members(random_.choice((signal.SIGTERM, signal.SIGKILL)))
    round_.backend.limit_messages(letters, 1)
    round_.arguments += STRICT
    round_.start_members()
    refused = '"dead-letter topic refuses"'
    round_.must(lambda: _logged(round_, refused) > 0, "refused by the dead-letter topic")
    round_.pause(random_.uniform(0, 1))
    round_.stop_members(random_.choice((signal.SIGTERM, signal.SIGKILL)))
    del round_.arguments[-len(STRICT) :]
    round_.backend.limit_messages(letters, None)
    round_.start_members()
    round_.must_write()
    return 1


@fault(8, backends=("real", "cluster"), alone=True)
def open_transaction(round_: Round, random_: Random) -> int:
    """Transactions of another producer hold events back, and are committed or aborted."""
    round_.has_transactions = True
    producer = Producer(
        {
            "bootstrap.servers": round_.backend.bootstrap_servers,
            "transactional.id": f"{round_.topic}-transaction",
            "log_level": "0",
        }
    )
    producer.init_transactions(_TRANSACTION_S)
    for _ in range(2):
        offsets: list[int] = []

        def stored(error: KafkaError | None, message: Message) -> None:
            if error is None:
                offsets.append(message.offset() or 0)  # noqa: B023 - called in this turn only

        partition, value, event = round_.load.next_event()
        producer.begin_transaction()
        producer.produce(round_.topic, value, partition=partition, on_delivery=stored)
        producer.flush(_TRANSACTION_S)
        round_.pause(random_.uniform(0.3, 1.5))
        (offset,) = offsets
        assert round_.committed().get(partition, 0) <= offset, "committed past a transaction"
        if random_.random() < 0.5:
            producer.abort_transaction(_TRANSACTION_S)
        else:
            producer.commit_transaction(_TRANSACTION_S)
            round_.load.add(Stored(round_.topic, partition, offset, event, value))
    return 2


@fault(8, backends=("real", "cluster"), alone=True)
def table_with_other_keys(round_: Round, random_: Random) -> int:
    """A table is made again with other keys under running members, and later as it was.

    ministack writes items without their keys, so it is not played there.
    """
    client, number = round_.backend.client, random_.randrange(2)
    name = round_.tables[number]
    _quiet(round_)
    items = [
        item
        for page in client.get_paginator("scan").paginate(TableName=name, ConsistentRead=True)
        for item in page["Items"]
    ]
    client.delete_table(TableName=name)
    make_table(client, name, random_.choice(OTHER_KEYS))
    round_.proxy.accept()
    round_.must(lambda: _logged(round_, "KeySchemaChanged") > 0, "refused for its keys")
    _quiet(round_)
    assert client.scan(TableName=name)["Count"] == 0, "written with the keys of before"
    client.delete_table(TableName=name)
    make_table(client, name, KEYS[number])
    for item in items:
        client.put_item(TableName=name, Item=item)
    round_.proxy.accept()
    round_.must_write()
    return 1


def _quiet(round_: Round) -> None:
    """Let no request reach the tables until the proxy accepts again."""
    round_.proxy.refuse()
    round_.must(lambda: not round_.proxy.busy, "quiet")
