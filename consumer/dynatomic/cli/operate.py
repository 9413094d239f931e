"""The commands of whoever is on call: lag, top, offsets, dlq."""

from datetime import datetime
from typing import Annotated

from cyclopts import App, CycloptsError, Parameter

from dynatomic.cli import flags
from dynatomic.cli.app import BROKERS, KAFKA, RULES, EndpointUrl, app, command, flag
from dynatomic.cli.converters import seconds, whole_number_from
from dynatomic.config.settings import Settings

GROUP = (*BROKERS, "topic", "group_id", "group_protocol")

_dlq = App(name="dlq", help="Show the dead letters, or put them back on the topic.")
app.command(_dlq)


@command(app, *GROUP)
def lag(settings: Settings, *, output: flags.Output = "text") -> int:
    """Show how far the group is behind, partition by partition.

    The columns and numbers of `kafka-consumer-groups --describe`, and the age of
    the oldest event that is not committed.
    """
    from dynatomic.operations.lag import lag as show  # noqa: PLC0415 -- see `command`

    return show(settings, output)


@command(app, *GROUP)
def top(
    settings: Settings,
    *,
    interval: Annotated[
        float,
        Parameter(help="Seconds between two looks.", metavar="SECONDS", converter=seconds),
    ] = 1.0,
    iterations: Annotated[
        int | None,
        Parameter(help="Looks; without it, until interrupted.", converter=whole_number_from(1)),
    ] = None,
) -> int:
    """Show lag and rates live, the largest lag first; tables one by one if not on a terminal."""
    from dynatomic.operations.top import top as show  # noqa: PLC0415 -- see `command`

    return show(settings, interval_s=interval, iterations=iterations)


@command(app, *GROUP, "processing_guarantee")
def offsets(  # noqa: PLR0913 -- one a flag
    settings: Settings,
    *,
    to_earliest: Annotated[bool, flag("To the first event that is left.")] = False,
    to_latest: Annotated[bool, flag("To the end.")] = False,
    to_offset: Annotated[
        int | None,
        Parameter(help="To this offset, or the nearest there is.", converter=whole_number_from(0)),
    ] = None,
    to_datetime: Annotated[
        datetime | None,
        Parameter(help="To the first event from this time on; UTC unless it has a zone."),
    ] = None,
    partition: Annotated[
        tuple[int, ...],
        Parameter(help="Only this partition; repeatable.", negative=(), show_default=False),
    ] = (),
    execute: Annotated[bool, flag("Do it; without, only the plan is printed.")] = False,
) -> int:
    """Plan where a stopped group goes on, and what that costs.

    Without a target it finds the partitions that the consumer stops for their
    offsets, and proposes the way out.
    """
    from dynatomic.operations.offset_plan import Target  # noqa: PLC0415 -- see `command`
    from dynatomic.operations.reset_offsets import ResetOptions, reset_offsets  # noqa: PLC0415

    given = (to_earliest, to_latest, to_offset is not None, to_datetime is not None)
    if sum(given) > 1:
        raise CycloptsError(msg="give one target: --to-earliest, -latest, -offset or -datetime")
    target = Target(to_earliest, to_latest, to_offset, to_datetime) if any(given) else None
    return reset_offsets(settings, ResetOptions(target, partition, execute))


@command(_dlq, *BROKERS, "topic", "dead_letter_topic", "writer_schema")
def show(
    settings: Settings,
    *,
    reason: flags.LetterReason = None,
    limit: Annotated[
        int | None, Parameter(help="Only the newest ones, so many.", converter=whole_number_from(0))
    ] = None,
    output: flags.Output = "text",
) -> int:
    """Print the dead letters, decoded where they can be, the oldest first.

    Rows hold keys: mind who reads the output.
    """
    from dynatomic.dead_letters.show import ShowOptions  # noqa: PLC0415 -- see `command`
    from dynatomic.dead_letters.show import show as show_letters  # noqa: PLC0415

    return show_letters(settings, ShowOptions(_checked(reason), limit, output))


@command(_dlq, *KAFKA, *RULES, "dead_letter_topic")
def replay(
    settings: Settings,
    *,
    reason: flags.LetterReason = None,
    execute: Annotated[bool, flag("Do it; without, only the plan is printed.")] = False,
    force: Annotated[bool, flag("Also those that would be dead letters again.")] = False,
    endpoint_url: EndpointUrl = None,
) -> int:
    """Put dead letters back on their topic, each once however often it is run.

    Give it the consumers' settings: it says what they would do with each row.
    """
    from dynatomic.dead_letters.replay import ReplayOptions  # noqa: PLC0415 -- see `command`
    from dynatomic.dead_letters.replay import replay as put_back  # noqa: PLC0415

    return put_back(settings, endpoint_url, ReplayOptions(_checked(reason), execute, force))


def _checked(reason: str | None) -> str | None:
    from dynatomic.events.row import Reason  # noqa: PLC0415 -- see `command`

    known = [value.value for value in Reason]
    if reason is not None and reason not in known:
        raise CycloptsError(msg=f"--reason: {reason!r} is not one of {', '.join(known)}")
    return reason
