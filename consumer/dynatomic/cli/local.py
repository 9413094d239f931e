"""The commands that need no server: the demo, and the servers for this machine."""

from typing import Annotated

from cyclopts import Parameter

from dynatomic.cli.app import app, command
from dynatomic.cli.converters import whole_number_from
from dynatomic.config.settings import Settings


@command(app, "topic", "dead_letter_topic", "tables")
def dev(
    settings: Settings,
    *,
    kafka_port: Annotated[
        int, Parameter(help="Port of the broker.", converter=whole_number_from(1))
    ] = 9092,
    table_port: Annotated[
        int, Parameter(help="Port of DynamoDB.", converter=whole_number_from(1))
    ] = 8000,
) -> int:
    """Run a broker and a DynamoDB on this machine until Ctrl-C, for development.

    All data is in memory. The broker keeps about 5 MiB a partition.
    """
    from dynatomic.operations.dev import dev as serve  # noqa: PLC0415 -- see `command`

    return serve(settings, kafka_port=kafka_port, table_port=table_port)
