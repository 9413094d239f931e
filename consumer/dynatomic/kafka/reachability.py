"""Waiting until a broker answers, and why none does."""

import re
import time
from collections.abc import Callable

from confluent_kafka import KafkaError, KafkaException

from dynatomic.config.settings import Settings
from dynatomic.errors import ConfigError, DynatomicError, UnavailableError
from dynatomic.kafka.client import admin_config, new_admin, reason
from dynatomic.retry import WaitNotice

_LOGIN = (
    KafkaError._AUTHENTICATION,  # noqa: SLF001
    KafkaError._SSL,  # noqa: SLF001
    KafkaError.SASL_AUTHENTICATION_FAILED,
)
_NOT_KAFKA = re.compile(r"(?:\w+://)?(\S+?)(?:/bootstrap|/\d+)?: .*Invalid response size")


START_S = 10.0
"""How long a command waits for a broker to answer, in seconds."""


def wait_for_kafka(
    settings: Settings, timeout_s: float, clock: Callable[[], float] = time.monotonic
) -> None:
    """Wait until a broker answers; a `WaitNotice` says so.

    Raises UnavailableError if no broker answered within ``timeout_s`` seconds. Raises ConfigError
    if the brokers refused the login, and at once if another service answers at their address.
    """
    deadline = clock() + timeout_s
    notice = WaitNotice(f"Kafka at {settings.bootstrap_servers}", timeout_s, clock)
    errors: list[KafkaError] = []
    config = {"reconnect.backoff.max.ms": "1000", "log_level": "0"} | admin_config(settings)
    admin = new_admin(config | {"error_cb": errors.append})
    while True:
        try:
            admin.list_topics(settings.topic, timeout=min(1.0, max(0.01, deadline - clock())))
        except KafkaException as error:
            admin.poll(0.05)  # serves error_cb
            _check_protocol(settings, errors)
            if clock() >= deadline:
                raise _unreachable(settings, timeout_s, errors, error) from None
            notice.check()
        else:
            return


def _check_protocol(settings: Settings, errors: list[KafkaError]) -> None:
    """Raise ConfigError if every address answers, but not in Kafka's protocol.

    librdkafka reads the first four bytes of an answer as its length. Those of a text, such as
    ``HTTP``, are no possible length.
    """
    foreign = {match[1] for error in errors if (match := _NOT_KAFKA.match(error.str())) is not None}
    if len(foreign) == len(settings.bootstrap_servers.split(",")):
        raise ConfigError(
            f"{', '.join(sorted(foreign))} is no Kafka port: another service answers there; "
            "check the port in -b/--bootstrap-servers"
        )


def _unreachable(
    settings: Settings, timeout_s: float, errors: list[KafkaError], error: KafkaException
) -> DynatomicError:
    brokers = f"{settings.bootstrap_servers} within {timeout_s:g} s"
    for refusal in reversed(errors):
        if refusal.code() in _LOGIN:
            return ConfigError(
                f"no broker accepted the login at {brokers} ({reason(refusal)}); "
                "check security.protocol, sasl.* and ssl.* (-X)"
            )
    down = KafkaError._ALL_BROKERS_DOWN  # noqa: SLF001
    cause = next((reason(e) for e in reversed(errors) if e.code() != down), reason(error))
    return UnavailableError(
        f"no Kafka broker answered at {brokers} ({cause}); "
        "check that it is running, and -b/--bootstrap-servers"
    )
