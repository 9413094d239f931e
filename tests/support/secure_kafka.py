"""A real broker that demands TLS and a login, and a topic on it."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import trustme
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._scram import (
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
from dynatomic.testing.embedded import environment
from tests.support.children import REPOSITORY, Child
from tests.support.kafka_server import KafkaServer
from tests.support.needed import unless_missing
from tests.support.tables import make_client

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


def produce_row(place: Place, servers: str, *login: str, **env: str) -> None:
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
    (error,) = [line for line in child.stderr.splitlines() if line.startswith("dynatomic: error:")]
    for part in parts:
        assert part in error, error
    assert "Traceback" not in child.stderr


@contextmanager
def secure_kafka(folder: Path) -> Iterator[Secure]:
    """Start a broker with TLS, SCRAM and tokens; its certificates are stored in ``folder``."""
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
