"""The paths of a file are checked with the newest schema of the subject."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from dynatomic.config.settings import Settings
from dynatomic.counting.counting import Counting
from dynatomic.counting.definition import CountersFile
from dynatomic.counting.file import loads
from dynatomic.counting.from_settings import load_counters
from dynatomic.counting.records import Record
from dynatomic.errors import ConfigError, UnavailableError
from dynatomic.registry.open import check_schemas, open_schemas
from tests.support.avro_events import COUNTERS, ORDER, datum
from tests.support.registry_server import FakeRegistry, fake_registry


@pytest.fixture
def served() -> Iterator[FakeRegistry]:
    with fake_registry() as registry:
        registry.add(7, ORDER)
        registry.add_version("orders-value", "latest", ORDER)
        yield registry


def definition(served: FakeRegistry, counters: str = COUNTERS, event: str = "") -> CountersFile:
    return loads(f'[event]\nformat = "avro"\nregistry = "{served.url}"\n{event}\n{counters}')


def test_events_are_decoded_with_the_schemas_of_the_registry(served: FakeRegistry) -> None:
    counters = definition(served)
    assert check_schemas(counters, "orders") == []
    counting = Counting(counters, open_schemas(counters, wait_s=30))
    for _ in range(3):
        assert counting.additions(Record(b"\0\0\0\0\7" + datum()))[0].key == "c"
    assert [path for path, _ in served.requests].count("/schemas/ids/7") == 1


PROBLEMS = {
    'key = "{customer.id}"': "counter 'x': key: customer.id: subject orders-value has no field cus",
    'key = "{nothing}"': "counter 'x': key: nothing: subject orders-value has no field nothing",
    'key = "{total}"': "key: total: it has the type decimal in subject orders-value; possible",
    'key = "a"\nwhen = "length(other) > `1`"': "when: length(other): subject orders-value has no",
    'key = "a"\nsubtract = { y = "state" }': "y: state: it has the type enum in subject orders-",
}


@pytest.mark.parametrize("line", PROBLEMS)
def test_a_path_that_no_event_has_stops_the_start(served: FakeRegistry, line: str) -> None:
    counter = f'[[counter]]\nname = "x"\ntable = "orders"\n{line}\nadd = {{ n = 1 }}\n'
    with pytest.raises(ConfigError) as caught:
        check_schemas(definition(served, counter), "orders")
    assert PROBLEMS[line].replace("length(other): ", "length(other) > `1`: ") in str(caught.value)


def test_a_field_that_may_be_null_is_a_warning(served: FakeRegistry) -> None:
    counters = COUNTERS.replace("{customer}", "{customer}#{coupon}")
    (warning,) = check_schemas(definition(served, counters), "orders")
    assert "counter 'revenue': key: coupon: it may be null in subject orders-value" in warning


def test_the_time_has_the_type_that_its_unit_needs(served: FakeRegistry) -> None:
    text = COUNTERS.replace('time_unit = "ms"\n', "")
    with pytest.raises(
        ConfigError, match="time: time: it has the type long in subject orders-value"
    ):
        check_schemas(definition(served, text), "orders")


def test_a_subject_that_does_not_exist_is_a_warning(served: FakeRegistry) -> None:
    (warning,) = check_schemas(definition(served), "other")
    assert "subject other-value does not exist: paths are not checked; set subject" in warning
    assert check_schemas(definition(served, event='subject = "orders-value"'), "other") == []


def test_the_data_of_a_cloudevent_is_checked(served: FakeRegistry) -> None:
    counters = COUNTERS.replace("{customer}", "{subject}#{data.nothing}").replace(
        '"total"', '"data.total"'
    )
    with pytest.raises(ConfigError, match=r"data\.nothing: subject orders-value has no field"):
        check_schemas(definition(served, counters, 'envelope = "cloudevents"'), "orders")


def test_a_registry_that_does_not_answer_or_has_an_abused_schema_stops_the_start(
    served: FakeRegistry,
) -> None:
    path = "/subjects/orders-value/versions/latest"
    served.answers[path] = 500, b""
    with pytest.raises(UnavailableError, match="subject orders-value: HTTP 500"):
        check_schemas(definition(served), "orders")
    loop = {"type": "record", "name": "R", "fields": [{"name": "r", "type": ["null", "R"]}]}
    served.add_version("orders-value", "latest", loop)
    with pytest.raises(ConfigError, match="the schema cannot be used: R contains itself"):
        check_schemas(definition(served), "orders")
    assert json.dumps(loop)


def test_a_path_is_checked_with_the_schema_file_without_a_server(tmp_path: Path) -> None:
    (tmp_path / "order.avsc").write_text(json.dumps(ORDER))
    file = tmp_path / "counters.toml"
    file.write_text(f'[event]\nformat = "avro"\nschema = "order.avsc"\n{COUNTERS}')
    assert load_counters(Settings(counters=file))[1] is not None
    file.write_text(file.read_text().replace("{customer}", "{client}"))
    with pytest.raises(ConfigError, match="client: the schema file has no field client"):
        load_counters(Settings(counters=file))


def test_a_file_of_json_needs_no_schemas() -> None:
    assert open_schemas(loads(COUNTERS.split("\n\n", 1)[1])) is None
