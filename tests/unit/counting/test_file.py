"""Wrong files: each problem is one line that names the file, the counter and the key."""

from pathlib import Path

import pytest

from dynatomic.counting.counting import Counting
from dynatomic.counting.examples import check_examples
from dynatomic.counting.file import load, loads
from dynatomic.errors import ConfigError

COUNTER = '[[counter]]\nname = "c"\ntable = "usage"\n'
WHOLE = COUNTER + 'key = "{id}"\nadd = { n = 1 }\n'

PROBLEMS = {
    "x = ": "counters.toml: not TOML: ",
    "": "counters.toml: there is no [[counter]]",
    "counter = 1": "counters.toml: counter must be an array of tables: write [[counter]]",
    "[events]": "there is no 'events'; did you mean 'event'?",
    "[event]\nformat = 'xml'": "[event]: format is 'xml'; it can be json",
    "[event]\ntime_unit = 'ms'": "[event]: time_unit needs time, the path of a number",
    "[event]\nutc_offset = 'CET'": "[event]: 'CET' is not UTC or an offset such as +02:00",
    "[event]\nmax_age = '5 weeks'": "[event]: max_age: '5 weeks' is not a duration",
    "[event]\nmax_age = 5": "[event]: max_age: 5 is not a duration",
    "[event]\nformat = 'avro'": "[event]: framing 'none' needs schema, such as schema = ",
    "[event]\nformat = 'avro'\nframing = 'confluent'": 'needs registry, such as registry = "https:',
    "[event]\nframing = 'glue'": "[event]: framing 'glue' needs format = \"avro\"",
    "[event]\nregistry = 'https://r'": "registry with format 'json', framing 'confluent': not used",
    "[event]\nformat = 'avro'\nframing = 'glue'\nregistry = 'https://r'": "AWS Glue is",
    "[event]\nregistry = 'r:8081'": "[event]: registry must be a URL such as https://registry:8081",
    "[event]\nregistry = 'https://u:p@r'": "registry has a password in it: give credentials in the",
    "[event]\nformat = 'avro'\nschema = 'none.avsc'": "schema none.avsc: cannot be read: No such",
    "[event]\nformat = 'avro'\nschema = ['a', 'b']": "framing 'none' takes one schema",
    "[event]\nformat = 'avro'\nschema = 5": "schema must be the name of a file, or an array of",
    "[event]\nenvelope = 'cloudevent'": "envelope is 'cloudevent'; it can be none, cloudevents,",
    "[[counter]]\ntable = 'usage'": "counter 1: name is missing",
    "[[counter]]\nname = 'c'\ntable = 'a b'": "counter 'c': table is missing or not a table name",
    COUNTER: "counter 'c': key is missing",
    COUNTER + "key = '{id}'": "counter 'c': add is missing",
    COUNTER + "key = '{id}{x}'": "counter 'c': key: '{id}{x}' has nothing between {id} and {x}",
    COUNTER + "key = '{id}x{y}'": "counter 'c': key: '{id}x{y}' has 'x' after {id}",
    COUNTER + "key = '{id'": "counter 'c': key: '{id' has a { without its }",
    COUNTER + "key = 'id}'": "counter 'c': key: 'id}' has a } without its {",
    COUNTER + "key = ''": "counter 'c': key: the template is empty",
    COUNTER + "key = '{time|fortnight}'": "key: 'fortnight' is no bucket of time: minute, ",
    COUNTER + "key = '{a..b}'": "counter 'c': key: 'a..b' is not a JMESPath expression",
    WHOLE + "when = 'a < 5'": "a number in an expression needs backticks: `500`",
    WHOLE + "when = 'avg(a) < `5`'": "'avg(a) < `5`': avg() is refused: its result is not exact",
    WHOLE + "when = 'nope(a)'": "'nope(a)': there is no function nope()",
    WHOLE + "expires = '400d'": "counter 'c': expires needs a bucket of time in key or range",
    WHOLE + "subtract = { n = 1 }": "subtract.n: the attribute is in add and in subtract",
    WHOLE + "subtract = { 'a b' = 1 }": "subtract.a b: not a counter's name",
    WHOLE + "subtract = { m = 1.5 }": "subtract.m: must be an integer, a path in quotes, or { path",
    WHOLE + "subtract = { m = { path = 'x', scale = -1 } }": "subtract.m: scale must be an integer",
    WHOLE + "subtract = { m = { scale = 1 } }": "subtract.m: path is missing",
    WHOLE + "subtract = { m = 9223372036854775808 }": "subtract.m: 9223372036854775808 is not an",
    WHOLE + WHOLE: "counter 'c': another counter has this name",
    WHOLE + "rnge = 'x'": "counter 'c': there is no 'rnge'; did you mean 'range'?",
    WHOLE + "[[example]]": "example 1: event is missing",
    WHOLE + "[[example]]\nevent = '{}'": "example 1: set gives (what the event adds) or rejected",
    WHOLE + "[[example]]\nevent = '{}'\ngives = 1": "example 1: gives must be an array of tables",
    WHOLE
    + "[[example]]\nevent = '{}'\ngives = []\nheaders = { a = 1 }": "a header's value must be text",
    "".join(WHOLE.replace('"c"', f'"c{i}"') for i in range(101)): "101 counters; at most 100",
}


@pytest.mark.parametrize("text", PROBLEMS, ids=range(len(PROBLEMS)))
def test_a_wrong_file_says_where_and_what(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        loads(text)
    message = str(caught.value)
    assert PROBLEMS[text] in message
    assert message.startswith("counters.toml: ")
    assert "\n" not in message


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.toml: cannot be read: No such file"):
        load(tmp_path / "none.toml")
    (tmp_path / "latin.toml").write_bytes(b"\xff")
    with pytest.raises(ConfigError, match=r"latin\.toml: not UTF-8"):
        load(tmp_path / "latin.toml")


def test_the_fingerprint_follows_the_meaning_only() -> None:
    plain = loads(WHOLE)
    examples = '[[example]]\nevent = "{}"\nrejected = "field-missing"\n'
    assert loads("# a comment\n" + WHOLE + examples).fingerprint == plain.fingerprint
    assert loads(WHOLE.replace("n = 1", "n = 2")).fingerprint != plain.fingerprint
    assert len(plain.fingerprint) == 8


EXAMPLES = {
    "gives = [{ counter = 'c', key = 'a', add = { n = 1 } }]": None,
    "gives = [{ counter = 'c', key = 'b' }]": "example 1: the event does not give {'counter'",
    "gives = []": "example 1: it also gives {'counter': 'c'",
    "gives = [{ kay = 'b' }]": "example 1: gives has no 'kay': counter, table, key",
    "rejected = 'field-missing'": "example 1: it is not rejected with field-missing",
}


@pytest.mark.parametrize("expected", EXAMPLES)
def test_an_example_that_gives_something_else_is_a_wrong_file(expected: str) -> None:
    definition = loads(f'{WHOLE}[[example]]\nevent = \'{{"id":"a"}}\'\n{expected}\n')
    problem = EXAMPLES[expected]
    if problem is None:
        check_examples(definition, Counting(definition))
        return
    with pytest.raises(ConfigError) as caught:
        check_examples(definition, Counting(definition))
    assert problem in str(caught.value)


def test_the_example_of_an_avro_event_is_json() -> None:
    text = '[event]\nformat = "avro"\nregistry = "https://r"\n' + WHOLE
    text += "[[example]]\nevent = '{\"id\":\"a\"}'\ngives = [{ counter = 'c', key = 'a' }]\n"
    definition = loads(text)
    check_examples(definition, Counting(definition))


def test_an_example_can_be_a_dead_letter() -> None:
    text = f"{WHOLE}[[example]]\nevent = '{{}}'\nrejected = "
    right = loads(text + "'field-missing'")
    check_examples(right, Counting(right))
    wrong = loads(text + "'field-type'")
    with pytest.raises(ConfigError, match="it is rejected with field-missing: counter c: id"):
        check_examples(wrong, Counting(wrong))
