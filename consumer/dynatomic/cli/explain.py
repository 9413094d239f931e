"""The command that explains what events add to the counters of a file."""

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import CycloptsError, Parameter

from dynatomic.cli import flags
from dynatomic.cli.app import BROKERS, app, command, flag, say
from dynatomic.cli.converters import file_name, whole_number_from
from dynatomic.config.settings import Settings
from dynatomic.errors import DynatomicError


@command(app, *BROKERS, "topic", "group_id", "counters")
def explain(
    settings: Settings,
    file: Annotated[
        str,
        Parameter(
            help="File with one event on each line; '-' is stdin.",
            allow_leading_hyphen=True,
            converter=file_name,
        ),
    ] = "-",
    /,
    *,
    from_topic: Annotated[
        bool, flag("Read the newest events of the topic instead, 20 without --limit.")
    ] = False,
    limit: Annotated[
        int | None,
        Parameter(
            name=("--limit", "-n"),
            help="Only this many of the first events of a file, or of the newest of the topic.",
            converter=whole_number_from(0),
        ),
    ] = None,
    output: flags.Output = "text",
) -> int:
    """Show what each event adds to which counter of a file, or why it adds nothing.

    It checks the file and its examples first. It reads JSON events from a file,
    or those of the topic as they are. It needs no DynamoDB.
    """
    from dynatomic.operations.explain import ExplainOptions  # noqa: PLC0415 -- see `command`
    from dynatomic.operations.explain import explain as lines_of  # noqa: PLC0415

    if settings.counters is None:
        raise CycloptsError(msg="--counters FILE is missing: the file that declares the counters")
    options = ExplainOptions(settings.counters, limit, output)
    if from_topic:
        if file != "-":
            raise CycloptsError(msg="give a file or --from-topic, not both")
        from dynatomic.operations.explain import explain_topic  # noqa: PLC0415

        return say(explain_topic(settings, options))
    if file == "-":
        return say(lines_of(options, sys.stdin.buffer))
    try:
        with Path(file).open("rb") as stream:
            return say(lines_of(options, stream))
    except OSError as error:
        raise DynatomicError(f"cannot read {file}: {error.strerror}") from None
