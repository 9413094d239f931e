"""Settings as `dynatomic config` shows and checks them."""

import re
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynatomic.cli import sources
from dynatomic.config.catalogue import SETTINGS
from dynatomic.config.settings import Settings
from dynatomic.errors import ConfigError
from dynatomic.operations import show_config as config


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
