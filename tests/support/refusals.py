"""Answers that refuse writes, for `World.refuse`."""

from collections.abc import Callable

from dynatomic.testing.dynamodb.client import Request
from dynatomic.testing.dynamodb.responses import client_error
from tests.support.clients import written

Refuse = Callable[[Request], Exception | None]


def failing(code: str, *tables: str, status: int = 400) -> Refuse:
    """Refuse the writes to these tables, or to all."""

    def refuse(request: Request) -> Exception | None:
        if tables and written(request)[0] not in tables:
            return None
        return client_error(code, "", request.operation, status)

    return refuse
