"""Amazon MSK's login: tokens that are signed requests, renewed in time."""

import base64
import sys
import time
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

import dynatomic.cli.main  # noqa: F401 - its commands are the app's
from dynatomic.errors import ConfigError
from dynatomic.kafka import msk_iam as msk
from tests.support.children import Child, Spawn
from tests.support.secure_kafka import LIFETIME_S, SIGNER, Place, Secure, produce_row, refused
from tests.support.waiting import wait_until


def test_rows_are_counted_with_tokens_that_are_renewed(
    secure: Secure, place: Place, spawn: Spawn, tmp_path: Path
) -> None:
    env = token_environment(tmp_path)
    servers = secure.at("TOKEN")
    login = ["--kafka-auth", "msk-iam", "-X", f"ssl.ca.location={secure.ca}"]
    produce_row(place, servers, *login, **env)
    log = Path(env["TOKENS"])
    child = spawn("run", *login, "--window-ms", "100", env=place.environment(servers, **env))
    wait_until(lambda: place.count() == "21", "counted", seconds=30)
    before = len(log.read_text().splitlines())
    wait_until(lambda: len(log.read_text().splitlines()) > before + 1, "renewed", seconds=30)
    produce_row(place, servers, *login, **env)
    wait_until(lambda: place.count() == "42", "counted with a later token", seconds=30)
    child.signal(15)
    assert child.wait() == 0, child.logs()
    assert set(log.read_text().splitlines()) == {"us-east-1"}


def test_a_token_that_cannot_work_is_one_line(
    secure: Secure, place: Place, spawn: Spawn, tmp_path: Path
) -> None:
    def init(token: str) -> Child:
        env = place.environment(secure.at("TOKEN"), TOKEN=token, **token_environment(tmp_path))
        login = ["--kafka-auth", "msk-iam", "-X", f"ssl.ca.location={secure.ca}"]
        return spawn("init", "--wait", "6", *login, env=env)

    none, stale = init("none"), init("stale")
    refused(none, 78, "Unable to locate credentials")
    refused(stale, 78, "sasl.*")


def token_environment(folder: Path) -> dict[str, str]:
    signer = folder / "aws_msk_iam_sasl_signer.py"
    signer.write_text(SIGNER.replace("LIFETIME", str(LIFETIME_S)))
    return {"PYTHONPATH": str(folder), "TOKENS": str(folder / "tokens")}


def test_a_token_is_a_signed_request_for_the_brokers_region(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "session")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    login = msk.login("b-1.x.c2.kafka.eu-west-3.amazonaws.com:9098", {})
    assert login.keys() == {"security.protocol", "sasl.mechanisms", "oauth_cb"}
    token, ends = login["oauth_cb"]("")
    assert 800 < ends - time.time() <= 900
    url = urlsplit(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)).decode())
    query = parse_qs(url.query)
    assert url.hostname == "kafka.eu-west-3.amazonaws.com"
    assert query["Action"] == ["kafka-cluster:Connect"]
    assert query["X-Amz-Expires"] == ["900"]
    assert query["X-Amz-Credential"][0].startswith("AKIDEXAMPLE/")
    assert query["X-Amz-Credential"][0].endswith("/eu-west-3/kafka-cluster/aws4_request")


@pytest.mark.parametrize(
    ("servers", "expected"),
    [
        ("b-1.x.c2.kafka.eu-west-3.amazonaws.com:9098", "eu-west-3"),
        ("boot-x.c1.kafka-serverless.ap-south-1.amazonaws.com:9098", "ap-south-1"),
        ("proxy:9098, b-1.x.c2.kafka.cn-north-1.amazonaws.com.cn:9098", "cn-north-1"),
        ("kafka.example.com:9098", "us-west-2"),
        ("b-1.kafka.eu-west-3.amazonaws.com.example.com:9098", "us-west-2"),
    ],
)
def test_the_region_is_the_brokers_own(
    servers: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-west-2")
    assert msk.region(servers) == expected


def test_without_a_region_it_says_what_to_set(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("AWS_DEFAULT_REGION", "AWS_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    with pytest.raises(ConfigError, match="AWS_REGION"):
        msk.region("kafka.example.com:9098")


def test_two_logins_contradict_each_other() -> None:
    for name in ("security.protocol", "sasl.mechanisms", "sasl.password"):
        with pytest.raises(ConfigError, match=f"{name}: refused: kafka_auth is msk-iam"):
            msk.login("localhost", {name: "x"})


def test_without_the_extra_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "aws_msk_iam_sasl_signer", None)
    with pytest.raises(ConfigError, match=r"pip install 'dynatomic\[msk\]'"):
        msk.token_provider("eu-west-3")
