"""Counts in an AWS Lambda function: the rows are stored before the response is returned.

Lambda freezes the process when the handler returns, so a row that is only queued may be sent
minutes later or never. So `flush` comes before the response. The Emitter is made once for each
execution environment, not for each call, because it holds connections.

Environment: ``KAFKA_BOOTSTRAP_SERVERS``. For Amazon MSK with IAM, add ``kafka_auth="msk-iam"``.
"""

import os
from functools import cache
from typing import Any

from dynatomic import Emitter, Row


@cache
def emitter() -> Emitter:
    """Return the Emitter of this execution environment."""
    # A time-out shorter than that of the function, so that a call ends with an error that says why.
    return Emitter(os.environ["KAFKA_BOOTSTRAP_SERVERS"], timeout_s=5)


def handler(event: dict[str, Any], _context: object) -> dict[str, Any]:
    """Serve one request of API Gateway, and count it for its customer."""
    customer = event["headers"]["x-customer"]
    body = "hello"
    emit = emitter()
    emit(Row("usage", customer, counter="requests"))
    emit(Row("usage", customer, counter="bytes", incr=len(body)))
    emit.flush()  # raises DeliveryError: the caller may then try again, which may count twice
    return {"statusCode": 200, "body": body}
