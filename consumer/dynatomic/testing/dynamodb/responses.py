"""Exceptions and response metadata in the format of boto3."""

from typing import Any, Final

from botocore.exceptions import ClientError


class ConditionalCheckFailedException(ClientError):  # noqa: N818 - botocore's name
    """The condition of a request was not met."""


class ResourceInUseException(ClientError):  # noqa: N818 - botocore's name
    """The table already exists."""


class ResourceNotFoundException(ClientError):  # noqa: N818 - botocore's name
    """The table does not exist."""


EXCEPTIONS: Final = {
    kind.__name__: kind
    for kind in (ConditionalCheckFailedException, ResourceInUseException, ResourceNotFoundException)
}


def client_error(code: str, message: str, operation: str, status: int = 400) -> ClientError:
    """Create the exception that boto3 raises for this error code, to return from a fault."""
    response: Any = {
        "Error": {"Code": code, "Message": message},
        "ResponseMetadata": metadata("fake", status),
    }
    return EXCEPTIONS.get(code, ClientError)(response, operation)


def metadata(request_id: str, status: int = 200) -> dict[str, Any]:
    """Return the HTTP metadata of a response."""
    return {
        "RequestId": request_id,
        "HTTPStatusCode": status,
        "HTTPHeaders": {"x-amzn-requestid": request_id},
        "RetryAttempts": 0,
    }
