"""IAM authentication with Amazon MSK: AWS credentials sign the tokens of SASL/OAUTHBEARER.

A token is a presigned request that is valid for 15 minutes. librdkafka asks for the next one after
four fifths of that time, so rotated credentials are used without a restart. Credentials come from
the AWS credential chain, as for DynamoDB. Source: AWS, *Amazon MSK Developer Guide*, "Configure
clients to use IAM access control".
"""

import logging
import re
from collections.abc import Callable, Mapping
from typing import Any

from dynatomic.errors import ConfigError

log = logging.getLogger(__name__)

TokenProvider = Callable[[str], tuple[str, float]]

# Host names of MSK brokers end like this in all partitions of AWS. Other names need AWS_REGION.
_BROKER = re.compile(r"\.kafka(?:-serverless)?\.([a-z0-9-]+)\.amazonaws\.com(?:\.cn)?(?::\d+)?$")
_SET_BY_IAM = ("security.protocol", "sasl.mechanism", "sasl.mechanisms")


def login(bootstrap_servers: str, properties: Mapping[str, str]) -> dict[str, Any]:
    """Return the properties with which a Kafka client logs in by IAM.

    Raises ConfigError if ``properties`` configure another login, if no region is known, or if the
    extra ``dynatomic[msk]`` is not installed.
    """
    for name in properties:
        if name in _SET_BY_IAM or name.startswith("sasl."):
            raise ConfigError(
                f"librdkafka property {name}: refused: kafka_auth is msk-iam, which sets it; "
                "remove one of the two"
            )
    return {
        "security.protocol": "SASL_SSL",
        "sasl.mechanisms": "OAUTHBEARER",
        "oauth_cb": token_provider(region(bootstrap_servers)),
    }


def region(bootstrap_servers: str) -> str:
    """Return the region in the brokers' host names, else the region of the AWS configuration."""
    for server in bootstrap_servers.split(","):
        if match := _BROKER.search(server.strip()):
            return match[1]
    from botocore.session import Session  # noqa: PLC0415 - needed for other host names only

    chosen: str | None = Session().get_config_variable("region")
    if not chosen:
        raise ConfigError("kafka_auth: msk-iam needs the cluster's region; set AWS_REGION")
    return chosen


def token_provider(cluster_region: str) -> TokenProvider:
    """Return librdkafka's callback for a token: it returns the token and its expiry in Unix time.

    The callback raises ConfigError if there are no credentials.
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
        except Exception as error:  # noqa: BLE001 - botocore's, or of a credential process
            # librdkafka would only log that the callback failed.
            log.error("no token for Amazon MSK", extra={"fields": {"cause": f"{error}"}})  # noqa: TRY400
            raise ConfigError(f"kafka_auth: no token for Amazon MSK: {error}") from None
        return signed, ends_ms / 1000

    return token
