"""BatchExecuteStatement: when a batch is refused, and the outcome of each statement.

Source: AWS, *BatchStatementError* (the codes), and DynamoDB Local (the refused batches).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from dynatomic.testing.dynamodb.partiql import ConditionError, DuplicateError, parse
from dynatomic.testing.dynamodb.sizes import MAX_STATEMENT_CHARACTERS
from dynatomic.testing.dynamodb.tables import MissingTableError, Response, Tables
from dynatomic.testing.dynamodb.values import InvalidError, copied, stored

MAX_STATEMENTS: Final = 25


@dataclass(frozen=True, slots=True)
class StatementFault:
    """An error for one statement of a batch; with ``applied`` the statement takes effect anyway."""

    code: str
    message: str = ""
    applied: bool = False


def execute(
    tables: Tables, statements: Sequence[Mapping[str, Any]], hit: Mapping[int, StatementFault]
) -> Response:
    """Run the statements in order; raises `InvalidError` if the whole batch is refused."""
    if not 1 <= len(statements) <= MAX_STATEMENTS:
        limit = "less than or equal to 25" if statements else "greater than or equal to 1"
        raise InvalidError(
            "1 validation error detected: Value at 'statements' failed to satisfy constraint: "
            f"Member must have length {limit}"
        )
    for statement in statements:
        if len(statement["Statement"]) > MAX_STATEMENT_CHARACTERS:
            raise InvalidError(
                "1 validation error detected: Value at 'statements' failed to satisfy constraint: "
                f"Member must have length less than or equal to {MAX_STATEMENT_CHARACTERS}"
            )
        for parameter in statement.get("Parameters", ()):
            stored(parameter)  # an invalid number refuses the batch
    _refuse_duplicates(tables, statements)
    return {"Responses": [_run(tables, s, hit.get(i)) for i, s in enumerate(statements)]}


def _refuse_duplicates(tables: Tables, statements: Sequence[Mapping[str, Any]]) -> None:
    seen = set()
    for statement in statements:
        try:
            parsed = parse(statement["Statement"])
            key = parsed.key(tables.table(parsed.table), statement.get("Parameters", ()))
        except (InvalidError, MissingTableError):
            continue  # the error of this statement only
        if (parsed.table, key) in seen:
            raise InvalidError("Provided list of item keys contains duplicates")
        seen.add((parsed.table, key))


def _run(tables: Tables, statement: Mapping[str, Any], fault: StatementFault | None) -> Response:
    if fault and not fault.applied:
        return _error(fault.code, fault.message)
    name: str | None = None
    try:
        parsed = parse(statement["Statement"])
        table = tables.table(parsed.table)
        name = parsed.table
        parsed.run(table, statement.get("Parameters", ()))
    except MissingTableError as error:
        response = _error("ResourceNotFound", str(error))
    except InvalidError as error:
        response = _error("ValidationError", str(error))
    except DuplicateError as error:
        response = _error("DuplicateItem", str(error))
    except ConditionError as error:
        response = _error("ConditionalCheckFailed", str(error))
        if error.item is not None and (
            statement.get("ReturnValuesOnConditionCheckFailure") == "ALL_OLD"
        ):
            response["Error"]["Item"] = copied(error.item)
    else:
        response = _error(fault.code, fault.message) if fault else {}
    return response | ({"TableName": name} if name else {})


def _error(code: str, message: str) -> Response:
    return {"Error": {"Code": code, "Message": message}}
