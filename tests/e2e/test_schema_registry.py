"""Avro events by Confluent's serializer, with a real registry beside the real broker."""

import json
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.schema_registry import Schema, SchemaReference, SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

from dynatomic.counting.formats.framing import CONFLUENT_HEADER
from tests.support.apicurio import Apicurio
from tests.support.avro_events import ORDER
from tests.support.names import unique
from tests.support.needed import running, unless_missing
from tests.support.stack import REAL, Stack

# The registry is one more Java process to start.
pytestmark = pytest.mark.timeout(300)

FILE = """
[event]
format = "avro"
registry = "{registry}"
time = "time"
time_unit = "ms"

[[counter]]
name = "revenue"
table = "{table}"
key = "{{customer}}"
range = "{{time|day}}"
when = "state == 'paid'"
add = {{ orders = 1, cents = {{ path = "total", scale = 2 }} }}

[[counter]]
name = "refunds"
table = "{table}"
key = "{{customer}}"
range = "{{time|day}}"
when = "state == 'back'"
add = {{ refunds = 1 }}
subtract = {{ cents = {{ path = "total", scale = 2 }} }}
"""
LATER = {**ORDER, "fields": [*ORDER["fields"], {"name": "shop", "type": "shop.Shop"}]}
SHOP = {
    "type": "record",
    "name": "Shop",
    "namespace": "shop",
    "fields": [{"name": "id", "type": "int"}],
}


@pytest.fixture(scope="module")
def registry() -> Iterator[str]:
    with unless_missing("Apicurio Registry", Apicurio) as server:
        yield server.url
    running.remove(server)


def order(number: int, **fields: Any) -> dict[str, Any]:
    return {
        "time": 1764000000000 + number * 3_600_000,
        "customer": f"c-{number % 5}",
        "total": Decimal(number * 101).scaleb(-2),
        "state": "back" if number % 10 == 0 else "paid",
        "coupon": None if number % 2 else "x",
        **fields,
    }


@REAL
def test_events_of_confluents_serializer_are_counted_and_verified(
    stack: Stack, registry: str, tmp_path: Path
) -> None:
    topic, table = stack.topic(2), unique("orders")
    client = SchemaRegistryClient({"url": registry})
    context = SerializationContext(topic, MessageField.VALUE, headers=[])
    shop = unique("shop")
    client.register_schema(shop, Schema(json.dumps(SHOP), "AVRO"))
    references = [SchemaReference("shop.Shop", shop, 1)]
    in_payload = AvroSerializer(client, json.dumps(ORDER))
    with_reference = AvroSerializer(client, Schema(json.dumps(LATER), "AVRO", references))
    messages, expected = [], Counter[tuple[str, str, str]]()
    for number in range(300):
        event = order(number)
        headers: list[tuple[str, bytes]] = []
        if number % 3 == 1:
            value = with_reference({**event, "shop": {"id": number}}, context)
        else:
            value = in_payload(event, context)
        assert value is not None
        if number % 3 == 2:  # the header form needs GUIDs in the serializer, not in the format
            headers, value = [(CONFLUENT_HEADER, value[:5])], value[5:]
        messages.append({"value": value, "headers": headers, "key": event["customer"].encode()})
        day = datetime.fromtimestamp(event["time"] / 1000, UTC).date().isoformat()
        sign, name = (-1, "refunds") if event["state"] == "back" else (1, "orders")
        expected[event["customer"], day, "cents"] += sign * number * 101
        expected[event["customer"], day, name] += 1
    client.close()
    missing = b"\0\0\0\xff\xff" + b"x"
    stack.produce_raw(topic, [*messages, {"value": missing}, {"value": b"{}"}])
    file = tmp_path / "counters.toml"
    file.write_text(FILE.format(registry=registry, table=table))
    group = ["-t", topic, "-g", topic, "--counters", str(file)]
    made = stack.spawn("init", "--create-tables", *group, env=stack.env())
    assert made.wait(60) == 0, made.logs()
    counted = stack.run(
        topic, [], "--once", "--counters", str(file), "--processing-guarantee", "exactly-once"
    )
    assert counted.wait(60) == 0, counted.logs()
    found: Counter[tuple[str, str, str]] = Counter()
    for item in stack.client.scan(TableName=table, ConsistentRead=True)["Items"]:
        for name in ("orders", "refunds", "cents"):
            if name in item:
                place = item["pk"]["S"], item["rk"]["S"], name
                found[place] += int(item[name]["N"])
    assert found == expected
    reasons = Counter(
        dict(stack.headers(letter)).get("dynatomic.reason") for letter in stack.letters(topic)
    )
    assert reasons == {b"schema-unknown": 1, b"not-framed": 1}
    verified = stack.spawn(
        "verify", *group, "--processing-guarantee", "exactly-once", env=stack.env()
    )
    assert verified.wait(60) == 0, verified.logs()
    checked = stack.spawn("config", "check", "--connect", *group, env=stack.env())
    assert checked.wait(60) == 0, checked.logs()
    assert f"schema registry {registry}: the paths of the counters file fit" in checked.stdout
    wrong = tmp_path / "wrong.toml"
    wrong.write_text(file.read_text().replace("{customer}", "{client}"))
    refused = stack.run(topic, [], "--once", "--counters", str(wrong))
    assert refused.wait(60) == 78, refused.logs()
    assert f"subject {topic}-value has no field client" in refused.stderr
