"""TLS, SASL and Amazon MSK's login, on a real broker that demands them."""

import base64
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import trustme
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AdminClient,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

import dynatomic.cli.main  # noqa: F401 - its commands are the app's
from dynatomic.cli.app import BROKERS, app
from dynatomic.cli.man import commands
from dynatomic.config.settings import Settings
from dynatomic.errors import ConfigError
from dynatomic.kafka import msk_iam as msk
from dynatomic.kafka.client import admin_config, consumer_config, producer_config
from dynatomic.testing.embedded import environment
from tests.support.brokers import create_kafka_topic
from tests.support.children import REPOSITORY, Child, Spawn
from tests.support.kafka_server import KafkaServer
from tests.support.names import unique
from tests.support.needed import unless_missing
from tests.support.tables import HasEndpointUrl, MakeTable, make_client
from tests.support.waiting import wait_until

USER, PASSWORD = "billing", "horse-battery-staple"
WRONG = "wrong-secret"
LIFETIME_S = 4
MODULE = "org.apache.kafka.common.security"

# In the place of the signer, whose tokens only Amazon's brokers take: it makes the unsecured ones
# that Kafka itself takes where nothing else is set up, of a short life, and writes each down.
SIGNER = """
import base64, json, os, time
class MSKAuthTokenProvider:
    @staticmethod
    def generate_auth_token(region):
        if os.environ.get("TOKEN") == "none":
            raise ValueError("Unable to locate credentials")
        now = time.time()
        with open(os.environ["TOKENS"], "a") as log:
            print(region, file=log)
        claims = {"sub": "billing", "iat": now, "exp": now + LIFETIME}
        if os.environ.get("TOKEN") == "stale":
            claims["exp"] = now - 3600
        parts = [{"alg": "none"}, claims]
        raw = [base64.urlsafe_b64encode(json.dumps(part).encode()).decode() for part in parts]
        return ".".join([*(text.rstrip("=") for text in raw), ""]), (now + LIFETIME) * 1000
"""


@dataclass(frozen=True, slots=True)
class Secure:
    """A broker with TLS, and the files of those who trust it and of those who do not."""

    kafka: KafkaServer
    ca: Path
    other_ca: Path

    def properties(self, **changed: str) -> list[str]:
        """Return the flags of a login with SCRAM; names have ``_`` for dots."""
        given = {
            "security.protocol": "SASL_SSL",
            "sasl.mechanisms": "SCRAM-SHA-512",
            "sasl.username": USER,
            "sasl.password": PASSWORD,
            "ssl.ca.location": str(self.ca),
        } | {name.replace("_", "."): value for name, value in changed.items()}
        return [part for name, value in given.items() for part in ("-X", f"{name}={value}")]

    def at(self, listener: str, host: str = "localhost") -> str:
        return f"{host}:{self.kafka.ports[listener]}"


@pytest.fixture(scope="session")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secure]:
    folder = tmp_path_factory.mktemp("certificates")
    ca, other = trustme.CA(), trustme.CA()
    for name, authority in (("ca", ca), ("other", other)):
        authority.cert_pem.write_to_path(folder / f"{name}.pem")
    made = ca.issue_cert("localhost")  # not for 127.0.0.1
    key = load_pem_private_key(made.private_key_pem.bytes(), None)
    pkcs8 = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    tls = {
        "ssl.keystore.type": "PEM",
        "ssl.keystore.certificate.chain": "".join(p.bytes().decode() for p in made.cert_chain_pems),
        "ssl.keystore.key": pkcs8.decode(),
    }
    listeners = {
        "SCRAM": {
            "sasl.enabled.mechanisms": "SCRAM-SHA-512",
            "scram-sha-512.sasl.jaas.config": f"{MODULE}.scram.ScramLoginModule required;",
        },
        "TOKEN": {
            "sasl.enabled.mechanisms": "OAUTHBEARER",
            "oauthbearer.sasl.jaas.config": f"{MODULE}.oauthbearer.OAuthBearerLoginModule required "
            'unsecuredLoginStringClaim_sub="broker";',
            "oauthbearer.connections.max.reauth.ms": "60000",
        },
    }
    with unless_missing(
        "real Kafka", lambda: KafkaServer(listeners={n: s | tls for n, s in listeners.items()})
    ) as kafka:
        admin = AdminClient({"bootstrap.servers": kafka.bootstrap_servers})
        secret = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096)
        change = UserScramCredentialUpsertion(USER, secret, PASSWORD.encode())
        admin.alter_user_scram_credentials([change])[USER].result(30)
        yield Secure(kafka, folder / "ca.pem", folder / "other.pem")


@pytest.fixture
def place(secure: Secure, dynamodb_real: HasEndpointUrl, make_table: MakeTable) -> "Place":
    topic = unique("secure")
    for name in (topic, f"{topic}.dlq"):
        create_kafka_topic(secure.kafka.bootstrap_servers, name, 1)
    client = make_client(dynamodb_real.endpoint_url)
    return Place(topic, make_table(client), dynamodb_real.endpoint_url)


@dataclass(frozen=True, slots=True)
class Place:
    """A topic and a table of a test's own."""

    topic: str
    table: str
    endpoint_url: str

    def environment(self, servers: str, **more: str) -> dict[str, str]:
        ours = {"DYNATOMIC_TOPIC": self.topic, "DYNATOMIC_TABLES": self.table}
        return {**environment(servers, self.endpoint_url), **ours, **more}

    def count(self) -> str:
        client = make_client(self.endpoint_url)
        item = client.get_item(TableName=self.table, Key={"pk": {"S": "a"}}).get("Item", {})
        return item.get("count", {}).get("N", "")


def produce(place: Place, servers: str, *login: str, **env: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "dynatomic", "produce", *login],
        input=json.dumps({"table": place.table, "key": "a", "incr": 21}),
        env=place.environment(servers, **env),
        capture_output=True,
        text=True,
        check=False,
        cwd=REPOSITORY,
    )
    assert done.returncode == 0, done.stderr


def refused(child: Child, code: int, *parts: str) -> None:
    """Check the exit code, and that the one line says what was wrong and holds no password."""
    assert child.wait(30) == code, child.logs()
    assert PASSWORD not in child.logs()
    assert WRONG not in child.logs()
    (told,) = [line for line in child.stderr.splitlines() if line.startswith("dynatomic: error:")]
    for part in parts:
        assert part in told, told
    assert "Traceback" not in child.stderr


def test_rows_are_counted_over_tls_with_scram(secure: Secure, place: Place, spawn: Spawn) -> None:
    servers, login = secure.at("SCRAM"), secure.properties()
    produce(place, servers, *login)
    child = spawn("run", "--once", *login, env=place.environment(servers))
    assert child.wait(60) == 0, child.logs()
    assert place.count() == "21"
    done = spawn("verify", *login, env=place.environment(servers))
    assert done.wait(60) == 0, done.logs()
    assert PASSWORD not in child.logs() + done.logs()


def test_a_login_that_cannot_work_is_one_line(secure: Secure, place: Place, spawn: Spawn) -> None:
    # All at once: each waits its time.
    def init(servers: str, *login: str) -> Child:
        return spawn("init", "--wait", "6", *login, env=place.environment(servers))

    scram = secure.at("SCRAM")
    password = init(scram, *secure.properties(sasl_password=WRONG))
    user = init(scram, *secure.properties(sasl_username="nobody"))
    mechanism = init(scram, *secure.properties(sasl_mechanisms="PLAIN"))
    authority = init(scram, *secure.properties(ssl_ca_location=str(secure.other_ca)))
    host = init(secure.at("SCRAM", "127.0.0.1"), *secure.properties())
    plain = init(scram)
    file = init(scram, *secure.properties(ssl_ca_location="/nowhere/ca.pem"))
    for child in (password, user):
        refused(child, 78, scram, "Authentication failed", "sasl.*")
    refused(mechanism, 78, scram, "PLAIN", "sasl.*")
    refused(authority, 78, scram, "certificate verify failed", "ssl.*")
    refused(host, 78, "127.0.0.1", "certificate", "ssl.*")
    refused(file, 78, "ssl.ca.location", "-X")
    refused(plain, 75, scram)


def test_certificate_checks_are_switched_off_only_for_development(
    secure: Secure, place: Place, spawn: Spawn
) -> None:
    other = str(secure.other_ca)
    login = secure.properties(ssl_ca_location=other, enable_ssl_certificate_verification="false")
    env = place.environment(secure.at("SCRAM", "127.0.0.1"))
    strict = spawn("init", "--wait", "5", *login, env=env)
    lax = spawn("init", "--wait", "30", "--tls-verification", "optional", *login, env=env)
    refused(strict, 78, "enable.ssl.certificate.verification", "tls_verification")
    assert lax.wait(60) == 0, lax.logs()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("enable.ssl.certificate.verification", "false"),
        ("enable.ssl.certificate.verification", "0"),
        ("ssl.endpoint.identification.algorithm", "none"),
        ("ssl.endpoint.identification.algorithm", ""),
    ],
)
def test_no_client_is_made_that_trusts_anybody(name: str, value: str) -> None:
    for make in (consumer_config, producer_config, admin_config):
        with pytest.raises(ConfigError, match=f"{name}: can only be .*tls_verification"):
            make(Settings(librdkafka={name: value}))
        lax = make(Settings(librdkafka={name: value}, tls_verification="optional"))
        assert lax[name] == value


def test_every_command_that_asks_kafka_can_log_in() -> None:
    for path, command in commands(app, "dynatomic"):
        names = {argument.field_info.name for argument in command.assemble_argument_collection()}
        assert names >= set(BROKERS) or not names & set(BROKERS), path


def test_rows_are_counted_with_tokens_that_are_renewed(
    secure: Secure, place: Place, spawn: Spawn, tmp_path: Path
) -> None:
    env = token_environment(tmp_path)
    servers = secure.at("TOKEN")
    login = ["--kafka-auth", "msk-iam", "-X", f"ssl.ca.location={secure.ca}"]
    produce(place, servers, *login, **env)
    log = Path(env["TOKENS"])
    child = spawn("run", *login, "--window-ms", "100", env=place.environment(servers, **env))
    wait_until(lambda: place.count() == "21", "counted", seconds=30)
    before = len(log.read_text().splitlines())
    wait_until(lambda: len(log.read_text().splitlines()) > before + 1, "renewed", seconds=30)
    produce(place, servers, *login, **env)
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
