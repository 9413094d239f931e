"""The commands for operations: lag, top, offsets, dlq."""

from datetime import datetime
from typing import Annotated

from cyclopts import App, CycloptsError, Parameter

from dynatomic.cli import flags
from dynatomic.cli.app import BROKERS, KAFKA, RULES, EndpointUrl, app, command, flag
from dynatomic.cli.converters import seconds, whole_number_from
from dynatomic.config.settings import Settings

GROUP = (*BROKERS, "topic", "group_id", "group_protocol")

_ExecuteFlag = Annotated[bool, flag("Carry out the plan. Without it the plan is only printed.")]

_dlq = App(name="dlq", help="Print the dead letters, or send them to the topic again.")
app.command(_dlq)


@command(app, *GROUP)
def lag(settings: Settings, *, output: flags.Output = "text") -> int:
    """Show the lag of the group for each partition.

    It shows offsets and lag as `kafka-consumer-groups --describe` does, the age of
    the oldest event that is not committed, and the host and process of each member.
    """
    from dynatomic.operations.lag import lag as show  # noqa: PLC0415 -- see `command`

    return show(settings, output)


@command(app, *GROUP)
def top(
    settings: Settings,
    *,
    interval: Annotated[
        float,
        Parameter(help="Seconds between two updates.", metavar="SECONDS", converter=seconds),
    ] = 1.0,
    iterations: Annotated[
        int | None,
        Parameter(help="Number of updates. Default: until Ctrl-C.", converter=whole_number_from(1)),
    ] = None,
) -> int:
    """Show lag and rates live, the partition with the largest lag first."""
    from dynatomic.operations.top import top as show  # noqa: PLC0415 -- see `command`

    return show(settings, interval_s=interval, iterations=iterations)


@command(app, *KAFKA, *RULES)
def hot(
    settings: Settings,
    *,
    count: Annotated[
        int,
        Parameter(
            name=("--count", "-n"),
            help="Number of counters to print.",
            converter=whole_number_from(1),
        ),
    ] = 20,
    minutes: Annotated[
        float,
        Parameter(help="Events of this many minutes.", metavar="MINUTES", converter=seconds),
    ] = 5.0,
    output: flags.Output = "text",
    endpoint_url: EndpointUrl = None,
) -> int:
    """Print the counters with the most events in the last minutes.

    It reads the events from the topic, joins no group and commits nothing. The
    output contains keys of items, which may be personal data.
    """
    from dynatomic.operations.hot import HotOptions  # noqa: PLC0415 -- see `command`
    from dynatomic.operations.hot import hot as show  # noqa: PLC0415

    return show(settings, endpoint_url, HotOptions(count, minutes, output))


@command(app, *GROUP, "tables", "processing_guarantee")
def offsets(  # noqa: PLR0913 -- one a flag
    settings: Settings,
    *,
    to_earliest: Annotated[bool, flag("To the oldest event in the topic.")] = False,
    to_latest: Annotated[bool, flag("To the end of the topic.")] = False,
    to_offset: Annotated[
        int | None,
        Parameter(
            help="To this offset, or to the nearest one that exists.",
            converter=whole_number_from(0),
        ),
    ] = None,
    to_datetime: Annotated[
        datetime | None,
        Parameter(help="To the first event at or after this time. UTC unless it has a time zone."),
    ] = None,
    partition: Annotated[
        tuple[int, ...],
        Parameter(help="Only this partition. Repeatable.", negative=(), show_default=False),
    ] = (),
    adopt: Annotated[
        str | None,
        Parameter(
            help="Continue in a copy of the topic that had this id, if the copy has the same "
            "offsets (Cluster Linking).",
            metavar="TOPIC_ID",
        ),
    ] = None,
    execute: _ExecuteFlag = False,
    create_group: Annotated[
        bool, flag("Accept a group that does not exist yet, and commit its first offsets.")
    ] = False,
    endpoint_url: EndpointUrl = None,
) -> int:
    """Plan new committed offsets for a stopped group, and show their effects.

    Without a target it finds the partitions that the consumer stopped because of
    their committed offsets, and proposes an offset. With exactly-once it also
    changes the fences in the tables, where the log of a partition lost events,
    or where a copy of the topic is adopted.
    """
    from dynatomic.operations.offset_plan import Target  # noqa: PLC0415 -- see `command`
    from dynatomic.operations.reset_offsets import ResetOptions, reset_offsets  # noqa: PLC0415

    given = (to_earliest, to_latest, to_offset is not None, to_datetime is not None)
    if sum(given) + (adopt is not None) > 1:
        raise CycloptsError(
            msg="give one target: --to-earliest, --to-latest, --to-offset, --to-datetime or --adopt"
        )
    if to_offset is not None and not partition:
        raise CycloptsError(
            msg="--to-offset needs --partition: the same offset is another event in each partition"
        )
    target = Target(to_earliest, to_latest, to_offset, to_datetime) if any(given) else None
    chosen = ResetOptions(target, partition, execute, create_group, adopt)
    return reset_offsets(settings, chosen, endpoint_url)


@command(_dlq, *BROKERS, "topic", "dead_letter_topic", "writer_schema")
def show(
    settings: Settings,
    *,
    reason: flags.LetterReason = None,
    limit: Annotated[
        int | None,
        Parameter(help="Only this many of the newest letters.", converter=whole_number_from(0)),
    ] = None,
    output: flags.Output = "text",
) -> int:
    """Print the dead letters, decoded where possible, the oldest first.

    The output contains keys of items, which may be personal data.
    """
    from dynatomic.dead_letters.show import ShowOptions  # noqa: PLC0415 -- see `command`
    from dynatomic.dead_letters.show import show as show_letters  # noqa: PLC0415

    return show_letters(settings, ShowOptions(_checked(reason), limit, output))


@command(_dlq, *KAFKA, *RULES, "dead_letter_topic")
def replay(
    settings: Settings,
    *,
    reason: flags.LetterReason = None,
    execute: _ExecuteFlag = False,
    force: Annotated[
        bool, flag("Send also the letters that would become dead letters again.")
    ] = False,
    endpoint_url: EndpointUrl = None,
) -> int:
    """Send dead letters to their topic again, each only once over all runs.

    It needs the settings of the consumers, to predict what they do with each
    event.
    """
    from dynatomic.dead_letters.replay import ReplayOptions  # noqa: PLC0415 -- see `command`
    from dynatomic.dead_letters.replay import replay as put_back  # noqa: PLC0415

    return put_back(settings, endpoint_url, ReplayOptions(_checked(reason), execute, force))


@command(_dlq, *GROUP, "dead_letter_topic")
def skip_batch(
    settings: Settings,
    *,
    partition: Annotated[int, Parameter(help="The partition that stopped.")],
    offset: Annotated[int, Parameter(help="The first offset of the batch.")],
    execute: _ExecuteFlag = False,
) -> int:
    """Skip one batch that the Kafka client cannot unpack, and store a dead letter.

    The group must be stopped. Only the batch at the next offset of the group can
    be skipped.
    """
    from dynatomic.dead_letters.skip_batch import SkipOptions  # noqa: PLC0415 -- see `command`
    from dynatomic.dead_letters.skip_batch import skip_batch as skip  # noqa: PLC0415

    return skip(settings, SkipOptions(partition, offset, execute))


def _checked(reason: str | None) -> str | None:
    from dynatomic.counting.reasons import RejectReason  # noqa: PLC0415 -- see `command`
    from dynatomic.events.row import Reason  # noqa: PLC0415

    known = list(dict.fromkeys(value.value for value in (*Reason, *RejectReason)))
    if reason is not None and reason not in known:
        raise CycloptsError(msg=f"--reason: {reason!r} is not one of {', '.join(known)}")
    return reason
