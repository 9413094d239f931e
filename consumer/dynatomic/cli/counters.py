"""The commands for single counters: incr and get."""

from typing import Annotated, Literal

from cyclopts import Parameter

from dynatomic.cli import flags
from dynatomic.cli.app import EndpointUrl, app, command, flag, say
from dynatomic.cli.converters import seconds, whole_number_from
from dynatomic.config.settings import Settings


@command(app, "counter")
def incr(  # noqa: PLR0913 -- one a flag
    settings: Settings,
    table: Annotated[str, Parameter(help="Name of the table.")],
    key: Annotated[str, Parameter(help="Hash key of the item.")],
    /,
    *,
    range_: Annotated[
        str | None,
        Parameter(name="--range", help="Range key of the item.", allow_leading_hyphen=True),
    ] = None,
    by: Annotated[int, Parameter(help="Value to add.", converter=whole_number_from(-(2**63)))] = 1,
    limit: Annotated[
        int | None,
        Parameter(
            help="Add only if the new value is at most this; otherwise exit 1.",
            converter=whole_number_from(-(2**63)),
        ),
    ] = None,
    per: Annotated[
        Literal["minute", "hour", "day"] | None,
        Parameter(help="Count in a bucket of this length (UTC), whose item expires."),
    ] = None,
    at: Annotated[
        float | None,
        Parameter(
            help="Time that chooses the bucket of --per, in seconds since the epoch. Default: now.",
            metavar="SECONDS",
            converter=seconds,
        ),
    ] = None,
    token: Annotated[
        str | None,
        Parameter(
            help="Calls with the same token within 10 minutes count once. "
            "Costs two write units, and prints no value.",
            metavar="TEXT",
        ),
    ] = None,
    endpoint_url: EndpointUrl = None,
) -> int:
    """Add to one counter now, and print its new value.

    The addition is atomic. It has no fence, and it is not in the topic that
    `verify` recounts.
    """
    from dynatomic.dynamodb.client import make_client  # noqa: PLC0415 -- see `command`
    from dynatomic.dynamodb.increment import increment  # noqa: PLC0415 -- see `command`

    name = settings.counter
    client = make_client(endpoint_url)
    if token is not None:
        increment(
            table, key, range_, name, by, limit=limit, per=per, at=at, token=token, client=client
        )
        return say(["added, or had been added with this token"])
    return say(
        [str(increment(table, key, range_, name, by, limit=limit, per=per, at=at, client=client))]
    )


@command(app, "counter")
def get(  # noqa: PLR0913 -- one a flag
    settings: Settings,
    table: Annotated[str, Parameter(help="Name of the table.")],
    key: Annotated[str, Parameter(help="Hash key of the item.")],
    /,
    *,
    range_: Annotated[
        str | None,
        Parameter(name="--range", help="Only this range key.", allow_leading_hyphen=True),
    ] = None,
    prefix: Annotated[
        str,
        Parameter(help="Only range keys that start with this.", allow_leading_hyphen=True),
    ] = "",
    total: Annotated[
        bool, flag("Print the sum of all values only, for example of shards by partition.")
    ] = False,
    output: flags.Output = "text",
    endpoint_url: EndpointUrl = None,
) -> int:
    """Print the value of a counter, or its values in several items of a hash key.

    In a table with a range key it prints one line for each item that has the
    counter. Reads are strongly consistent.
    """
    from dynatomic.operations.get import GetOptions  # noqa: PLC0415 -- see `command`
    from dynatomic.operations.get import get as values  # noqa: PLC0415

    options = GetOptions(settings.counter, range_, prefix, total, output)
    return say(values(endpoint_url, table, key, options))
