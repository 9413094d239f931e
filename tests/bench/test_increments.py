"""The benchmark of single additions adds what it says, in every way."""

import re

import pytest

from bench.increments import TABLE, ways
from dynatomic.testing.embedded import Embedded, environment
from tests.support.tables import make_client


def test_every_way_adds(embedded: Embedded, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment("", embedded.endpoint_url).items():
        if name.startswith("AWS_"):
            monkeypatch.setenv(name, value)
    client = make_client(embedded.endpoint_url)
    client.create_table(
        TableName=TABLE,
        BillingMode="PAY_PER_REQUEST",
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
    )
    found = ways(embedded.endpoint_url)
    for way in found:
        way.measure(2)
        assert re.fullmatch(r"\| .* \| [\d,]+ us \| [\d.]+ ms \| [\d.]+ ms \|", way.line())
    items = client.scan(TableName=TABLE)["Items"]
    client.delete_table(TableName=TABLE)
    assert sum(int(item["count"]["N"]) for item in items) == 2 + 2 + 0 + 2 + 50 + 2
    assert len(items) == 1 + 1 + 0 + 2 + 25 + 1
