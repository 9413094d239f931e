"""The row event: what is one, what is refused and why, as Avro and as JSON."""

import json
from pathlib import Path
from typing import Any

import fastavro
import pytest

from dynatomic.errors import ConfigError, RowError
from dynatomic.events.row import (
    INT64_MAX,
    INT64_MIN,
    Reason,
    Row,
    check,
    check_counter_name,
    check_table_name,
)
from dynatomic.events.schema import encode, schema

ARN = "arn:aws:dynamodb:us-east-1:1:table/tab"
AVSC = Path(__file__).parents[3] / "schemas" / "row.avsc"


def refused(reason: Reason, row: Row) -> str:
    """Check that a row is refused for this reason, and return the detail."""
    with pytest.raises(RowError) as caught:
        check(row)
    assert caught.value.reason == reason
    return caught.value.detail


def test_a_payload_is_the_plain_datum_byte_for_byte() -> None:
    row = Row("tab", "kůň", range="r", counter="hits", incr=-3)
    assert encode(row) == b"\x06tab" + b"\x0ak\xc5\xaf\xc5\x88" + b"\x02\x02r" + b"\x02\x08hits\x05"
    assert encode(Row("tab", "k")) == b"\x06tab\x02k\x00\x00\x02"


@pytest.mark.parametrize("incr", [INT64_MIN, INT64_MIN + 1, -1, 0, 1, INT64_MAX - 1, INT64_MAX])
def test_every_int64_survives_the_way_through_a_payload(incr: int, tmp_path: Path) -> None:
    path = tmp_path / "payload"
    path.write_bytes(encode(Row("tab", "k", incr=incr)))
    with path.open("rb") as payload:
        found: Any = fastavro.schemaless_reader(payload, json.loads(AVSC.read_text()), None)
    assert found == {"table": "tab", "key": "k", "range": None, "counter": None, "incr": incr}


def test_incr_is_the_last_field_which_the_decoder_relies_on() -> None:
    assert [field["name"] for field in schema()["fields"]] == list(Row._fields)
    assert Row._fields[-1] == "incr"


def test_encode_refuses_what_could_not_be_counted() -> None:
    with pytest.raises(RowError, match="key-empty"):
        encode(Row("tab", ""))
    with pytest.raises(RowError, match="incr-out-of-bounds"):
        encode(Row("tab", "k", incr=INT64_MAX + 1))


@pytest.mark.parametrize("incr", [INT64_MIN - 1, INT64_MAX + 1, 10**40])
def test_an_increment_beyond_int64_is_refused(incr: int) -> None:
    refused(Reason.INCR_OUT_OF_BOUNDS, Row("tab", "k", incr=incr))


@pytest.mark.parametrize(
    "table",
    ["", "ab", "a" * 256, "tab le", "tab\n", 'tab"', "tab'", "täb", "tab#", ARN],
)
def test_a_table_that_is_no_table_name_is_refused(table: str) -> None:
    refused(Reason.TABLE, Row(table, "k"))
    with pytest.raises(ConfigError) as caught:
        check_table_name(table)
    assert ("ARN" in str(caught.value)) == table.startswith("arn:")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("table", ["abc", "a" * 255, "A-b_c.9"])
def test_table_names_as_dynamodb_has_them_pass(table: str) -> None:
    assert check_table_name(table) == table
    assert check(Row(table, "k")).table == table


def test_keys_are_measured_in_bytes_not_in_characters() -> None:
    check(Row("tab", "é" * 1024, range="é" * 512))
    refused(Reason.KEY_TOO_LARGE, Row("tab", "é" * 1024 + "x"))
    refused(Reason.KEY_TOO_LARGE, Row("tab", "k", range="é" * 512 + "x"))


def test_empty_keys_are_refused_and_the_detail_says_which() -> None:
    assert "key" in refused(Reason.KEY_EMPTY, Row("tab", ""))
    assert "range" in refused(Reason.KEY_EMPTY, Row("tab", "k", range=""))


def test_a_key_that_is_no_unicode_text_is_refused() -> None:
    refused(Reason.UNDECODABLE, Row("tab", "\ud800"))
    refused(Reason.UNDECODABLE, Row("tab", "k", range="\udfff"))


@pytest.mark.parametrize(
    "name", ["a", "a" * 255, "A-b_c.9", "fence", "fence_0123abcd", "fence_x_1"]
)
def test_counter_names_that_can_stand_in_a_statement_pass(name: str) -> None:
    assert check_counter_name(name) == name


@pytest.mark.parametrize(
    "name", ["", "a" * 256, "a b", "a\n", 'a"b', "a'b", "a?b", "a#b", "é", "fence_0123abcd_7"]
)
def test_counter_names_that_cannot_are_refused(name: str) -> None:
    refused(Reason.COUNTER_NAME, Row("tab", "k", counter=name))


@pytest.mark.parametrize(
    ("field", "value"),
    [("table", 1), ("key", None), ("key", b"k"), ("range", 1), ("counter", 1)]
    + [("incr", value) for value in (None, "1", 1.0, True)],
)
def test_a_field_of_another_type_is_refused_by_name(field: str, value: Any) -> None:
    assert f"field {field} " in refused(
        Reason.UNDECODABLE, Row("tab", "k")._replace(**{field: value})
    )


def test_details_never_hold_a_key() -> None:
    secret = "s3cr3t"  # noqa: S105 - a key, not a password
    for row in (
        Row("tab", secret * 1000),
        Row("tab", "k", range=secret * 1000),
        Row(secret + "!", secret),
    ):
        with pytest.raises(RowError) as caught:
            check(row)
        assert secret not in str(caught.value)


def test_json_gives_the_row_with_the_defaults_of_the_schema() -> None:
    assert Row.from_json('{"table": "tab", "key": "k"}') == Row(
        "tab", "k", range=None, counter=None, incr=1
    )
    full = {"table": "tab", "key": "kůň", "range": "r", "counter": "c", "incr": INT64_MIN}
    assert Row.from_json(json.dumps(full)) == Row(
        "tab", "kůň", range="r", counter="c", incr=INT64_MIN
    )
    nulls = '{"table": "tab", "key": "k", "range": null, "counter": null}'
    assert Row.from_json(nulls) == Row("tab", "k")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "not JSON"),
        ("{", "not JSON: Expecting property name enclosed in double quotes at column 2"),
        ("\ufeff{}", "not JSON"),
        ('{"table": "tab", "key": "k", "incr": ' + "9" * 5000 + "}", "not JSON"),
        ("[]", "not a JSON object"),
        ("null", "not a JSON object"),
        ('"text"', "not a JSON object"),
        ("{}", "field missing: key, table"),
        ('{"table": "tab"}', "field missing: key"),
        (
            '{"table": "tab", "key": "k", "ttl": 1, "inc": 2}',
            "no such field: 'inc', 'ttl'; did you mean 'incr'?",
        ),
        ('{"table": "tab", "key": "k", "incr": 1.5}', "field incr must be a whole number, not 1.5"),
        ('{"table": "tab", "key": "k", "incr": NaN}', "field incr must be a whole number, not nan"),
        ('{"table": "tab", "key": "k", "incr": "1"}', "field incr must be a whole number, not str"),
        (
            '{"table": "tab", "key": "k", "incr": true}',
            "field incr must be a whole number, not bool",
        ),
        (
            '{"table": "tab", "key": "k", "incr": null}',
            "field incr must be a whole number, not NoneType",
        ),
        ('{"table": "tab", "key": 7}', "field key must be text, not int"),
        ('{"table": "tab", "key": ["k"]}', "field key must be text, not list"),
        ('{"table": "tab", "key": "k", "range": 1}', "field range must be text, not int"),
        ('{"table": "tab", "key": "\\ud800"}', "not Unicode"),
    ],
)
def test_json_that_is_no_row_is_undecodable(text: str, says: str) -> None:
    with pytest.raises(RowError) as caught:
        Row.from_json(text)
    assert caught.value.reason == Reason.UNDECODABLE
    assert says in caught.value.detail


def test_json_nested_too_deep_is_undecodable_too() -> None:
    with pytest.raises(RowError, match="undecodable"):
        Row.from_json("[" * 100_000)


def test_the_message_is_one_line_whatever_the_names_of_the_fields_are() -> None:
    with pytest.raises(RowError) as caught:
        Row.from_json('{"table": "tab", "key": "k", "a\\nb": 1}')
    assert "\n" not in str(caught.value)


def test_json_is_checked_as_every_row_is() -> None:
    with pytest.raises(RowError, match="key-empty"):
        Row.from_json('{"table": "tab", "key": ""}')
    with pytest.raises(RowError, match="incr-out-of-bounds"):
        Row.from_json('{"table": "tab", "key": "k", "incr": 9223372036854775808}')
