"""Why a request to DynamoDB got no answer, in words for people."""

import socket
from functools import cache

import boto3
from botocore.exceptions import (
    ConnectionClosedError,
    ConnectTimeoutError,
    EndpointConnectionError,
    ReadTimeoutError,
    SSLError,
)

_PROBLEMS = (
    (socket.gaierror, "its host name does not resolve"),
    (ConnectionRefusedError, "connection refused"),
    (ConnectTimeoutError, "no connection in time"),
    (ReadTimeoutError, "connected, but no answer in time"),
    (ConnectionClosedError, "it closed the connection without an answer"),
)


def connection_problem(error: Exception) -> str:
    """Return why the request got no answer: the name, the connection, TLS, or the time."""
    if isinstance(error, SSLError):
        return f"TLS failed ({_tls_text(error)})"
    causes = _causes(error)
    for kind, text in _PROBLEMS:
        if any(isinstance(cause, kind) for cause in causes):
            return text
    if isinstance(error, EndpointConnectionError):
        return f"no connection: {_last_text(error)}"
    return type(error).__name__


def is_name_error(error: Exception) -> bool:
    """Return whether the host name of the endpoint does not resolve."""
    return any(isinstance(cause, socket.gaierror) for cause in _causes(error))


@cache
def known_regions() -> tuple[str, ...]:
    """Return the regions with DynamoDB that this version of botocore knows."""
    session = boto3.session.Session()
    return tuple(
        region
        for partition in session.get_available_partitions()
        for region in session.get_available_regions("dynamodb", partition)
    )


def _causes(error: BaseException) -> list[BaseException]:
    """Return the error and those that led to it, of botocore, urllib3 and the sockets."""
    causes: list[BaseException] = []
    waiting: list[object] = [error]
    while waiting:
        cause = waiting.pop()
        if isinstance(cause, BaseException) and cause not in causes:
            causes.append(cause)
            inner = getattr(cause, "kwargs", {})
            waiting += [cause.__cause__, cause.__context__, inner.get("error")]
            waiting += cause.args  # urllib3 has the socket's error there
    return causes


def _last_text(error: BaseException) -> str:
    return " ".join(str(_causes(error)[-1]).split())


def _tls_text(error: SSLError) -> str:
    import ssl  # noqa: PLC0415 -- only here

    for cause in _causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"certificate not accepted: {cause.verify_message}"
        if isinstance(cause, ssl.SSLError) and cause.reason:
            return cause.reason.replace("_", " ").lower()
    return _last_text(error)
