"""Payloads of other formats are named in the reason of their dead letter."""

import io
import uuid

import fastavro
import pytest

from dynatomic.errors import RowError
from dynatomic.events.payload import PayloadReader
from dynatomic.events.row import Reason, Row
from dynatomic.events.schema import encode, schema

ROW = encode(Row("usage", "customer-7", incr=5))


def container_file() -> bytes:
    out = io.BytesIO()
    fastavro.writer(out, schema(), [Row("usage", "customer-7")._asdict()])
    return out.getvalue()


@pytest.mark.parametrize(
    ("payload", "reason", "word"),
    [
        (b"\x00\x00\x00\x00\x01" + ROW, Reason.FRAMED, "schema registry"),
        (b"\x03\x00" + uuid.UUID(int=7).bytes + ROW, Reason.FRAMED, "AWS Glue"),
        (b"\x03\x05" + uuid.UUID(int=7).bytes + ROW, Reason.FRAMED, "AWS Glue"),
        (b"\xc3\x01" + bytes(8) + ROW, Reason.FRAMED, "single-object"),
        (container_file(), Reason.UNDECODABLE, "container file"),
        (b'{"table": "usage", "key": "customer-7"}', Reason.UNDECODABLE, "JSON"),
        (b' [{"table": "usage"}]', Reason.UNDECODABLE, "JSON"),
        (ROW[:-3], Reason.UNDECODABLE, "end before"),
        (b"\x06\xff\xfe\xfd" + ROW, Reason.UNDECODABLE, "UTF-8"),
    ],
)
def test_a_format_that_is_no_row_event_is_named(payload: bytes, reason: Reason, word: str) -> None:
    with pytest.raises(RowError) as raised:
        PayloadReader({}).read(payload)
    assert raised.value.reason == reason
    assert word in raised.value.detail
    assert "Error" not in raised.value.detail
    assert "customer-7" not in raised.value.detail
