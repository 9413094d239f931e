"""TLS, SASL and Amazon MSK's login, on a real broker that demands them."""

import pytest

import dynatomic.cli.main  # noqa: F401 - its commands are the app's
from dynatomic.cli.app import BROKERS, app
from dynatomic.cli.man import commands
from dynatomic.config.settings import Settings
from dynatomic.errors import ConfigError
from dynatomic.kafka.client import admin_config, consumer_config, producer_config
from tests.support.children import Child, Spawn
from tests.support.secure_kafka import (
    PASSWORD,
    WRONG,
    Place,
    Secure,
    produce_row,
    refused,
)


def test_rows_are_counted_over_tls_with_scram(secure: Secure, place: Place, spawn: Spawn) -> None:
    servers, login = secure.at("SCRAM"), secure.properties()
    produce_row(place, servers, *login)
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
