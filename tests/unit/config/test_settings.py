"""Settings: their defaults, the values they accept and the values they refuse."""

from typing import Any

import pytest

from dynatomic.config.catalogue import SETTINGS
from dynatomic.config.settings import Settings
from dynatomic.errors import ConfigError


def refused(**values: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        Settings(**values)
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_defaults_need_nothing() -> None:
    settings = Settings()
    assert settings.topic == "row-events"
    assert settings.dead_letters == "row-events.dlq"
    assert settings.tables == ()
    assert (settings.min_incr, settings.max_incr) == (-(2**63), 2**63 - 1)
    assert hash(settings) == hash(Settings())
    assert settings == Settings()


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"window_ms": 9}, ("window_ms: 9 ", "10 to 3600000")),
        ({"window_ms": True}, ("window_ms: True",)),
        ({"window_ms": 1e3}, ("window_ms: 1000.0",)),
        ({"window_max_events": 0}, ("window_max_events: 0 ", "from 1 ")),
        ({"window_max_counters": -1}, ("window_max_counters: -1 ",)),
        ({"max_requests": 0}, ("max_requests: 0 ",)),
        ({"shutdown_timeout_ms": 99}, ("shutdown_timeout_ms: 99 ",)),
        ({"max_incr": 2**63}, ("max_incr: 9223372036854775808 ",)),
        ({"min_incr": 5, "max_incr": 4}, ("min_incr: 5 ", "max_incr, which is 4")),
        ({"topic": "a b"}, ("topic: 'a b' ", "letters")),
        ({"topic": ".."}, ("topic: '..'",)),
        ({"topic": "^regex"}, ("topic: '^regex'",)),
        ({"topic": "t" * 250}, ("topic: 'ttt", "249")),
        ({"topic": "t" * 247}, ("dead_letter_topic: ", "name another")),
        ({"topic": "a", "dead_letter_topic": "a"}, ("dead_letter_topic: 'a' is the topic",)),
        ({"group_id": ""}, ("group_id: ''",)),
        ({"group_id": "a\nb"}, ("group_id: 'a\\nb'",)),
        ({"group_id": "\udcff"}, ("group_id: ",)),
        ({"bootstrap_servers": ""}, ("bootstrap_servers: ''", "host:port")),
        ({"bootstrap_servers": "a:9092,"}, ("bootstrap_servers: ",)),
        ({"bootstrap_servers": "a:port"}, ("bootstrap_servers: 'a:port'",)),
        ({"counter": 'x"y'}, ("counter: ",)),
        ({"counter": "fence_0123abcd_7"}, ("counter: ", "fence")),
        ({"allowed_counters": "hits"}, ("allowed_counters: 'hits' is not a list",)),
        ({"allowed_counters": ("hits", 'x"y')}, ("allowed_counters: 'x\"y' is not a counter",)),
        ({"tables": "hits"}, ("tables: 'hits' is not a list",)),
        ({"tables": ("ab",)}, ("tables: 'ab' ", "3 to 255")),
        ({"tables": ("good", 'b"ad')}, ("tables: 'b\"ad'",)),
        ({"tables": ("arn:aws:dynamodb:x:1:table/hits",)}, ("is an ARN", "give the name")),
        ({"group_protocol": "new"}, ("group_protocol: 'new'", "classic, consumer")),
        ({"write_mode": []}, ("write_mode: []", "batch, single")),
        ({"writer_schema": 5}, ("writer_schema: 5 ",)),
        ({"librdkafka": "a=b"}, ("librdkafka: ",)),
        ({"librdkafka": {"a b": "c"}}, ("librdkafka: 'a b'",)),
    ],
)
def test_a_wrong_value_is_refused_with_its_name_and_the_rule(
    values: dict[str, Any], words: tuple[str, ...]
) -> None:
    text = refused(**values)
    for word in words:
        assert word in text


def test_a_secret_of_the_wrong_type_is_not_shown() -> None:
    assert "1234" not in refused(librdkafka={"sasl.password": 1234})


def test_a_long_wrong_value_is_cut() -> None:
    assert len(refused(topic="x" * 10_000)) < 300


@pytest.mark.parametrize(
    "servers", ["a", "a:1,b:2", "a:1, b:2", "[::1]:9092", "SASL_SSL://broker-1.example:9096"]
)
def test_brokers_may_be_written_as_kafka_takes_them(servers: str) -> None:
    assert Settings(bootstrap_servers=servers).bootstrap_servers == servers


def test_tables_are_listed_once_and_in_order() -> None:
    assert Settings(tables=("bbb", "aaa", "bbb")).tables == ("bbb", "aaa")


def test_no_table_is_an_error_where_tables_are_required() -> None:
    assert Settings(tables=("hits",)).require_tables() == ("hits",)
    with pytest.raises(ConfigError, match="--table NAME"):
        Settings().require_tables()


def test_settings_do_not_change_with_the_dict_they_were_made_of() -> None:
    given_ = {"debug": "all"}
    settings = Settings(librdkafka=given_)
    given_["debug"] = "cgrp"
    assert settings.librdkafka == {"debug": "all"}


def test_every_setting_has_its_names_and_a_default_that_passes() -> None:
    assert [setting.name for setting in SETTINGS] == list(Settings.__dataclass_fields__)
    for setting in SETTINGS:
        assert setting.check(setting.default) is None
        assert setting.env == "DYNATOMIC_" + setting.name.upper()
        assert setting.help.endswith(".")
    flags = [flag for setting in SETTINGS for flag in setting.flags]
    assert len(flags) == len(set(flags))
    assert {"-b", "-t", "-g", "-X", "--table", "--window-ms"} <= set(flags)
