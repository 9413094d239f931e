"""Settings: what they accept, where they come from, how they are shown; and the logs."""

import io
import json
import logging
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynatomic.cli import sources
from dynatomic.config.settings import SETTINGS, Settings
from dynatomic.errors import ConfigError
from dynatomic.operations import show_config as config
from dynatomic.telemetry import logs


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
        ({"tables": "hits"}, ("tables: 'hits' is not a list",)),
        ({"tables": ("ab",)}, ("tables: 'ab' ", "3 to 255")),
        ({"tables": ("good", 'b"ad')}, ("tables: 'b\"ad'",)),
        ({"tables": ("arn:aws:dynamodb:x:1:table/hits",)}, ("is an ARN", "plain name")),
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
        setting.validate(setting.default)
        assert setting.env == "DYNATOMIC_" + setting.name.upper()
        assert setting.help.endswith(".")
    flags = [flag for setting in SETTINGS for flag in setting.flags]
    assert len(flags) == len(set(flags))
    assert {"-b", "-t", "-g", "-X", "--table", "--window-ms"} <= set(flags)


# The file


def write(path: Path, text: str) -> Path:
    file = path / "settings.toml"
    file.write_text(text, encoding="utf-8")
    return file


def test_a_file_gives_values_of_every_type(tmp_path: Path) -> None:
    file = write(
        tmp_path,
        """
        topic = "name"
        window_ms = 2_000
        tables = ["one", "two"]
        writer_schema = "v2.avsc"
        group_protocol = "consumer"
        [librdkafka]
        "sasl.username" = "é=,#"
        linger.ms = 5
        enable.random.seed = false
        """,
    )
    assert sources.read_file(file) == {
        "topic": "name",
        "window_ms": 2000,
        "tables": ("one", "two"),
        "writer_schema": Path("v2.avsc"),
        "group_protocol": "consumer",
        "librdkafka": {
            "sasl.username": "é=,#",
            "linger.ms": "5",
            "enable.random.seed": "false",
        },
    }


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("window_mss = 1", ("'window_mss'", "did you mean 'window_ms'?")),
        ("window-ms = 1", ("did you mean 'window_ms'?",)),
        ("table = []", ("did you mean 'tables'?",)),
        ("[dynatomic]\ntopic = 'x'", ("'dynatomic'", "the settings are bootstrap_servers")),
        ("window_ms = '1000'", ("window_ms: '1000'", "whole number")),
        ("window_ms = 1000.0", ("window_ms: 1000.0",)),
        ("window_ms = true", ("window_ms: True",)),
        ("window_ms = 1", ("window_ms: 1 ", "from 10")),
        ("topic = 5", ("topic: 5 ",)),
        ("tables = 'x'", ("tables: 'x' ", "list")),
        ("tables = ['abc', 5]", ("tables: 5 ",)),
        ("writer_schema = ['x']", ("writer_schema: ['x']",)),
        ("librdkafka = 'a=b'", ("librdkafka: 'a=b'",)),
        ("[librdkafka]\n'a' = []", ("librdkafka: ", "'a'")),
        ("topic = 'x'\nwindow_ms = = 1", ("not valid TOML", "line 2")),
        ("topic = 'x'\ntopic = 'y'", ("not valid TOML", "overwrite")),
    ],
)
def test_a_wrong_file_is_refused_with_its_path_and_key(
    text: str, words: tuple[str, ...], tmp_path: Path
) -> None:
    file = write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        sources.read_file(file)
    for word in (str(file), *words):
        assert word in str(caught.value)


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent\.toml: No such file"):
        sources.read_file(tmp_path / "absent.toml")
    with pytest.raises(ConfigError, match="Is a directory"):
        sources.read_file(tmp_path)
    latin = tmp_path / "latin.toml"
    latin.write_bytes(b"topic = '\xe9'")
    with pytest.raises(ConfigError, match=r"latin\.toml is not valid TOML"):
        sources.read_file(latin)


# What is shown


def test_shown_settings_read_back_as_the_same_settings() -> None:
    settings = Settings(
        tables=("one", "two"),
        window_ms=10,
        group_id='quote " back \\ é 😀',
        writer_schema=Path("a b/c.avsc"),
        dead_letter_topic="bad",
        librdkafka={"sasl.username": "tab\tdel\x7f", "debug": ""},
    )
    values = tomllib.loads("\n".join(config.show(settings, {})))
    values |= {"tables": tuple(values["tables"]), "writer_schema": Path(values["writer_schema"])}
    assert Settings(**values) == settings


printable = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


@given(printable)
def test_any_property_value_reads_back(text: str) -> None:
    shown = "\n".join(config.show(Settings(librdkafka={"sasl.username": text})))
    assert tomllib.loads(shown)["librdkafka"]["sasl.username"] == text


def test_what_is_not_set_is_a_comment_with_its_meaning() -> None:
    lines = list(config.show(Settings(topic="t")))
    assert '# dead_letter_topic = "t.dlq"' in lines
    assert '# writer_schema = "built in"' in lines


@pytest.mark.parametrize(
    "name",
    [
        "sasl.password",
        "ssl.key.password",
        "ssl.keystore.password",
        "ssl.key.pem",
        "sasl.oauthbearer.client.secret",
        "sasl.oauthbearer.client.credentials.client.secret",
        "sasl.oauthbearer.config",
        "sasl.oauthbearer.assertion.private.key.passphrase",
        "SASL.PASSWORD",
    ],
)
def test_a_secret_is_masked(name: str) -> None:
    shown = "\n".join(config.show(Settings(librdkafka={name: "hunter2"}), {}))
    assert "hunter2" not in shown
    assert f'"{name}" = "***"' in shown


def test_an_origin_cannot_end_its_comment() -> None:
    lines = list(config.show(Settings(), {"topic": "file a\nwindow_ms = 5"}))
    assert tomllib.loads("\n".join(lines))["window_ms"] == 1000


def outcomes(settings: Settings) -> dict[str, str | None]:
    found = config.check(settings)
    return {each.name: str(each.error) if each.error else None for each in found}


def test_check_passes_what_can_work() -> None:
    good = Settings(tables=("hits",), librdkafka={"security.protocol": "SSL", "linger.ms": "5"})
    assert set(outcomes(good).values()) == {None}


def test_check_names_every_fault(tmp_path: Path) -> None:
    found = outcomes(
        Settings(writer_schema=tmp_path / "absent.avsc", librdkafka={"enable.auto.commit": "true"})
    )
    assert found["settings"] is None
    assert "--table" in (found["tables"] or "")
    assert "absent.avsc" in (found["writer schema"] or "")
    assert "enable.auto.commit" in (found["librdkafka"] or "")


@pytest.mark.parametrize("text", ["sasl.password=hun,ter2=secret", "ssl.key.password=a,B.c=d"])
def test_no_tail_of_a_secret_is_a_property(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (setting,) = (each for each in SETTINGS if each.name == "librdkafka")
    monkeypatch.setenv(setting.env, text)
    with pytest.raises(ConfigError, match=r"property 2 .* comma .* environment") as caught:
        sources.from_environment(setting)
    assert not {"ter2", "secret", "B.c"} & set(re.split(r"[^\w.]", str(caught.value)))
    monkeypatch.setenv(setting.env, f"{text.partition(',')[0]},acks=all,linger.ms=5")
    assert list(sources.from_environment(setting))[1:] == ["acks", "linger.ms"]


def test_check_knows_properties_that_do_not_exist() -> None:
    found = outcomes(Settings(tables=("hits",), librdkafka={"fetch.wiat.max.ms": "5"}))
    assert "fetch.wiat.max.ms" in (found["librdkafka"] or "")


@pytest.mark.parametrize(
    ("login", "words"),
    [
        ({"ssl.nosuch": "1"}, "ssl.nosuch"),
        ({"security.protocol": "NOPE"}, "security.protocol"),
        ({"sasl.mechanisms": "hunter2"}, "Unsupported SASL mechanism"),
        ({"sasl.mechanism": "hunter2"}, "Unsupported SASL mechanism"),
        ({"security.protocol": "SASL_SSL", "sasl.mechanisms": "hunter2"}, "Unsupported SASL"),
        ({"security.protocol": "SASL_SSL", "sasl.mechanisms": "PLAIN"}, "sasl.password"),
        ({"security.protocol": "SASL_SSL"}, "GSSAPI"),
        ({"sasl.mechanisms": "OAUTHBEARER", "security.protocol": "NOPE"}, "security.protocol"),
        ({"ssl.ca.location": "/absent.pem", "security.protocol": "SSL"}, "ssl.ca.location"),
    ],
)
def test_check_knows_a_login_that_cannot_work(login: dict[str, str], words: str) -> None:
    assert words in (outcomes(Settings(tables=("hits",), librdkafka=login))["librdkafka"] or "")


@pytest.mark.parametrize(
    "login",
    [
        {"sasl.mechanisms": "SCRAM-SHA-512", "sasl.username": "me", "sasl.password": "hunter2"},
        {"sasl.mechanism": "PLAIN", "sasl.username": "me", "sasl.password": "hunter2"},
        # Its token is not asked for.
        {
            "sasl.mechanisms": "OAUTHBEARER",
            "sasl.oauthbearer.method": "oidc",
            "sasl.oauthbearer.client.id": "me",
            "sasl.oauthbearer.client.secret": "hunter2",
            "sasl.oauthbearer.token.endpoint.url": "https://127.0.0.1:1/token",
        },
    ],
)
def test_check_passes_a_login_that_can_work(login: dict[str, str]) -> None:
    login = {"security.protocol": "SASL_SSL"} | login
    assert outcomes(Settings(tables=("hits",), librdkafka=login))["librdkafka"] is None


# The logs


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    root, package = logging.getLogger(), logging.getLogger("dynatomic")
    levels = root.level, package.level
    yield logging.getLogger("dynatomic.test")
    for handler in [each for each in root.handlers if isinstance(each, logs._Handler)]:
        root.removeHandler(handler)
    root.setLevel(levels[0])
    package.setLevel(levels[1])
    logging.captureWarnings(capture=False)


def test_a_log_line_is_json_off_a_terminal(logger: logging.Logger) -> None:
    out = io.StringIO()
    logs.setup(stream=out)
    logger.info("window\nwritten %d", 1, extra={"fields": {"partition": 3, "event": "x"}})
    line = json.loads(out.getvalue())
    assert line["event"] == "window\nwritten 1"
    assert line["level"] == "info"
    assert line["partition"] == 3
    assert line["event_"] == "x"
    assert line["time"].endswith("+00:00")


def test_an_exception_is_one_field(logger: logging.Logger) -> None:
    out = io.StringIO()
    logs.setup(stream=out)
    try:
        Settings(window_ms=1)
    except ConfigError:
        logger.exception("stopped")
    assert out.getvalue().count("\n") == 1
    assert json.loads(out.getvalue())["error"].startswith("Traceback")


def test_a_log_line_is_text_on_a_terminal(logger: logging.Logger) -> None:
    out = Terminal()
    logs.setup(stream=out)
    logger.warning("slow", extra={"fields": {"cause": "a b", "ms": 5}})
    assert out.getvalue().endswith('warning slow cause="a b" ms=5\n')


class Unprintable:
    def __str__(self) -> str:
        raise RuntimeError


@pytest.mark.parametrize(
    "value", [Unprintable(), float("nan"), {(1, 2): 3}, b"\xff", "\ud800", object()]
)
@pytest.mark.parametrize("stream", [io.StringIO, Terminal])
def test_a_log_line_never_raises(
    logger: logging.Logger, stream: type[io.StringIO], value: object
) -> None:
    out = stream()
    logs.setup(stream=out)
    logger.info("odd", extra={"fields": {"value": value}})
    assert out.getvalue().count("\n") == 1
    if stream is io.StringIO:
        assert json.loads(out.getvalue())["event"] == "odd"


def test_a_log_line_survives_wrong_arguments_and_a_closed_stream(
    logger: logging.Logger, monkeypatch: pytest.MonkeyPatch
) -> None:
    # pytest's own handlers raise what is provoked here.
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    out = io.StringIO()
    logs.setup(stream=out)
    logger.info("%d events", "many")
    assert json.loads(out.getvalue())["event"] == "%d events"
    out.close()
    logger.info("nobody reads this")


def test_debug_and_other_libraries_are_quiet_and_setup_is_not_doubled(
    logger: logging.Logger,
) -> None:
    out = io.StringIO()
    logs.setup(stream=io.StringIO())
    logs.setup(stream=out)
    logger.debug("no")
    logging.getLogger("botocore.x").info("no")
    logging.getLogger("botocore.x").warning("yes")
    logger.info("yes")
    assert [json.loads(line)["event"] for line in out.getvalue().splitlines()] == ["yes", "yes"]


def test_every_is_true_once_in_its_time() -> None:
    now = [100.0]
    due = logs.RateLimiter(10, clock=lambda: now[0])
    assert [due(), due()] == [True, False]
    now[0] = 109.9
    assert not due()
    now[0] = 110.0
    assert [due(), due()] == [True, False]
