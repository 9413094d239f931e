"""Logging in to Amazon MSK by IAM: AWS credentials make the tokens that SASL/OAUTHBEARER takes.

A token is a presigned request of 15 minutes; librdkafka asks for the next one after four fifths
of a token's time, so a role's rotated credentials are taken up without a restart. Credentials come
from the AWS chain, as for DynamoDB. Source: AWS, *Amazon MSK Developer Guide*, "Configure clients
to use IAM access control".
"""

import logging
import re
from collections.abc import Callable, Mapping
from typing import Any

from dynatomic.errors import ConfigError

log = logging.getLogger(__name__)

TokenProvider = Callable[[str], tuple[str, float]]

# The brokers' names end so in all partitions of AWS; private ones of other names need AWS_REGION.
_BROKER = re.compile(r"\.kafka(?:-serverless)?\.([a-z0-9-]+)\.amazonaws\.com(?:\.cn)?(?::\d+)?$")
_OURS = ("security.protocol", "sasl.mechanism", "sasl.mechanisms")


def login(bootstrap_servers: str, properties: Mapping[str, str]) -> dict[str, Any]:
    """Return the part of a Kafka client's configuration that logs in by IAM.

    Raises ConfigError if the properties ask for another login, if no region is known, or without
    the extra ``dynatomic[msk]``.
    """
    for name in properties:
        if name in _OURS or name.startswith("sasl."):
            raise ConfigError(
                f"librdkafka property {name}: refused: kafka_auth is msk-iam, which sets it; "
                "leave one of the two"
            )
    return {
        "security.protocol": "SASL_SSL",
        "sasl.mechanisms": "OAUTHBEARER",
        "oauth_cb": token_provider(region(bootstrap_servers)),
    }


def region(bootstrap_servers: str) -> str:
    """Return the region of the cluster: of the brokers' names, else that of the AWS chain."""
    for server in bootstrap_servers.split(","):
        if found := _BROKER.search(server.strip()):
            return found[1]
    from botocore.session import Session  # noqa: PLC0415 - only for who asks MSK by other names

    chosen: str | None = Session().get_config_variable("region")
    if not chosen:
        raise ConfigError("kafka_auth: msk-iam needs the cluster's region; set AWS_REGION")
    return chosen


def token_provider(cluster_region: str) -> TokenProvider:
    """Return what librdkafka calls for a token: the token and when it ends, in Unix seconds.

    It raises ConfigError if there are no credentials.
    """
    try:
        from aws_msk_iam_sasl_signer import MSKAuthTokenProvider  # noqa: PLC0415 - an extra
    except ImportError:
        raise ConfigError(
            "kafka_auth: msk-iam needs an extra; pip install 'dynatomic[msk]'"
        ) from None

    def token(_config: str) -> tuple[str, float]:
        try:
            signed, ends_ms = MSKAuthTokenProvider.generate_auth_token(cluster_region)
        except Exception as error:  # noqa: BLE001 - of botocore's, or of a login's own command
            # librdkafka would only tell that something went wrong.
            log.error("no token for Amazon MSK", extra={"fields": {"cause": f"{error}"}})  # noqa: TRY400
            raise ConfigError(f"kafka_auth: no token for Amazon MSK: {error}") from None
        return signed, ends_ms / 1000

    return token
