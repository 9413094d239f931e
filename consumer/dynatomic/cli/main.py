"""The command ``dynatomic``: reads the settings, calls one function, turns errors into exit codes.

Exit codes: 0 done; 1 failed, or a check found a problem; 2 wrong usage; 75 a server did not answer
in time; 78 wrong configuration; 130 interrupted.
"""

import contextlib
import logging
import os
import random
import sys
from collections.abc import Iterator, Sequence
from typing import Annotated, Literal, TextIO

from cyclopts import CoercionError, CycloptsError, Parameter

from dynatomic.cli import (  # noqa: F401 - all but flags are imported for their commands
    configuration,
    counters,
    explain,
    flags,
    local,
    operate,
    shell,
)
from dynatomic.cli.app import ALL, KAFKA, RULES, EndpointUrl, app, command, flag, say
from dynatomic.cli.converters import file_name, seconds, whole_number_from
from dynatomic.config.settings import Settings
from dynatomic.errors import ConfigError, DynatomicError
from dynatomic.operations import iam
from dynatomic.telemetry import logs

USAGE = 2
INTERRUPTED = 130


_logger = logging.getLogger(__name__)


@command(app, *KAFKA, "counters", "dead_letter_topic", "group_id")
def init(  # noqa: PLR0913 -- one a flag
    settings: Settings,
    *,
    wait: Annotated[
        float | None,
        Parameter(
            help="Seconds to wait for Kafka and DynamoDB.", metavar="SECONDS", converter=seconds
        ),
    ] = None,
    create_tables: Annotated[bool, flag("Create the listed tables too.")] = False,
    check_unpacked_size: Annotated[
        bool,
        flag("Create the topic so that brokers check the size of batches after decompression."),
    ] = False,
    partitions: Annotated[
        int | None,
        Parameter(
            help="Partitions of the topic, and the maximum number of consumers. Default: 6.",
            converter=whole_number_from(1),
        ),
    ] = None,
    replication_factor: Annotated[
        int | None,
        Parameter(
            help="Replicas of both topics. Default: default.replication.factor of the brokers.",
            converter=whole_number_from(1),
        ),
    ] = None,
    print_iam: Annotated[bool, flag("Print an IAM policy and do nothing else.")] = False,
    policy: flags.Policy = "run",
    region: flags.Region = "*",
    account: flags.Account = "*",
    msk_cluster: flags.MskCluster = None,
    endpoint_url: EndpointUrl = None,
) -> int:
    """Create the topics and, with --create-tables, the tables. Existing ones do not change."""
    if print_iam:
        from dynatomic.counting.from_settings import load_counters  # noqa: PLC0415 -- see `command`

        settings, _ = load_counters(settings)
        return say(iam.print_iam(policy, settings, iam.PolicyScope(region, account, msk_cluster)))
    from dynatomic.operations.init import initialise  # noqa: PLC0415 -- see `command`

    lines = initialise(
        settings,
        endpoint_url,
        wait,
        create_tables=create_tables,
        check_unpacked_size=check_unpacked_size,
        partitions=partitions,
        replication_factor=replication_factor,
    )
    return say(lines)


@command(app, *ALL)
def run(  # noqa: PLR0913 -- one a flag
    settings: Settings,
    *,
    once: Annotated[bool, flag("Stop at the end offsets that the topic had at the start.")] = False,
    start: flags.Start = None,
    accept_counters: flags.AcceptCounters = False,
    dry_run: Annotated[
        bool, flag("Print what would be added. Nothing is written or committed.")
    ] = False,
    endpoint_url: EndpointUrl = None,
) -> int:
    """Consume events: sum them in windows, add the sums to DynamoDB, commit the offsets."""
    from dynatomic.service.run import run as consume  # noqa: PLC0415 -- see `command`

    return consume(
        settings,
        endpoint_url,
        once=once,
        dry_run=dry_run,
        start=start,
        accept_counters=accept_counters,
    )


@command(app, *KAFKA)
def produce(  # noqa: PLR0913 -- one a flag
    settings: Settings,
    file: Annotated[
        str,
        Parameter(
            help="File with one JSON object on each line; '-' is stdin.",
            allow_leading_hyphen=True,  # for the "-", to cyclopts an option
            converter=file_name,
        ),
    ] = "-",
    /,
    *,
    count: Annotated[
        int | None,
        Parameter(
            help="Send this many sample events instead of a file.", converter=whole_number_from(0)
        ),
    ] = None,
    rows: Annotated[
        int,
        Parameter(help="Number of counters in the sample events.", converter=whole_number_from(1)),
    ] = 1_000,
    distribution: Annotated[
        Literal["uniform", "zipf"],
        Parameter(help="How the sample events are spread over the counters."),
    ] = "uniform",
    seed: Annotated[
        int, Parameter(help="The same seed gives the same events.", converter=whole_number_from(0))
    ] = 0,
) -> int:
    """Send row events to the topic: from a file, or sample events with --count."""
    from dynatomic.console import progress_bar  # noqa: PLC0415
    from dynatomic.operations.produce import produce_file, produce_samples  # noqa: PLC0415 -- see `command`

    if count is None:
        with _opened(file) as stream, progress_bar("events") as progress:
            sent = produce_file(settings, stream, progress=progress)
    elif file == "-" and len(settings.tables) == 1:
        with progress_bar("events", count) as progress:
            sent = produce_samples(
                settings,
                table=settings.tables[0],
                count=count,
                rows=rows,
                distribution=distribution,
                seed=seed,
                progress=progress,
            )
    else:
        raise CycloptsError(msg="--count takes exactly one --table, and no file")
    _logger.info("events stored", extra={"fields": {"events": sent, "topic": settings.topic}})
    return 0


@command(app, *KAFKA, *RULES, "dead_letter_topic", "max_requests")
def verify(  # noqa: PLR0913 - one a flag
    settings: Settings,
    *,
    baseline: flags.BaselineFile = None,
    snapshot: flags.SnapshotFile = None,
    sample: flags.Sample = None,
    seed: flags.Seed = None,
    limit: flags.Limit = 20,
    force: Annotated[bool, flag("Let --snapshot replace a file.")] = False,
    strict: flags.Strict = False,
    output: flags.Output = "text",
    endpoint_url: EndpointUrl = None,
) -> int:
    """Recount the topic and compare it with the tables; exit 1 if a counter differs.

    With exactly-once the result is exact while consumers run. With at-least-once
    the group must be idle. It takes about 150 MB of memory for a million
    counters.
    """
    from dynatomic.verify.command import VerifyOptions  # noqa: PLC0415 -- see `command`
    from dynatomic.verify.command import verify as compare  # noqa: PLC0415

    if sample is not None and snapshot is not None:
        raise CycloptsError(msg="--snapshot needs all counters: omit --sample")
    seed = random.SystemRandom().randrange(2**32) if seed is None else seed
    return compare(
        settings,
        endpoint_url,
        VerifyOptions(baseline, snapshot, sample, seed, limit, strict, output, force),
    )


@app.command
def demo(
    *,
    stay: Annotated[bool, flag("Continue until Ctrl-C, to try the other commands.")] = False,
    events: Annotated[
        Literal["rows", "json"],
        Parameter(help="'json': requests to an API in JSON, counted by a counters file."),
    ] = "rows",
) -> int:
    """Count 100,000 events on this machine, kill a consumer meanwhile, and verify the sums."""
    from dynatomic.operations.demo import demo as play  # noqa: PLC0415 -- see `command`

    logs.setup(for_people=True)
    return play(stay=stay, events=events)


@contextlib.contextmanager
def _opened(name: str) -> Iterator[TextIO]:
    try:
        source: int | str = sys.stdin.fileno() if name == "-" else name
        with open(source, encoding="utf-8", closefd=name != "-") as stream:
            yield stream
    except UnicodeDecodeError as error:
        raise DynatomicError(f"{name} is not UTF-8: {error.reason}") from None
    except OSError as error:
        if error.filename != name:
            raise
        raise DynatomicError(f"cannot read {name}: {error.strerror}") from None


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line (default: this process's) and return the exit code."""
    tokens = list(sys.argv[1:] if argv is None else argv)
    try:
        code = _dispatch(tokens)
        sys.stdout.flush()
    except CycloptsError as error:
        return _report_usage(error)
    except DynatomicError as error:
        _print_error(str(error))
        return error.exit_code
    except BrokenPipeError:
        # The reader of the pipe has ended. Python flushes stdout at exit, and that must not fail.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED
    return code


def _dispatch(tokens: list[str]) -> int:
    _, apps, _ = app.parse_commands(tokens)
    result = app(
        tokens,
        exit_on_error=False,
        print_error=False,
        verbose=False,
        result_action="return_value",
    )
    if apps[-1].default_command is None:
        return USAGE  # no command was given, and cyclopts has printed the help
    return result if isinstance(result, int) else 0


def _report_usage(error: CycloptsError) -> int:
    token = error.token if isinstance(error, CoercionError) else None
    _print_error(str(error))
    if token and token.source != "cli":
        return ConfigError.exit_code
    commands = " ".join(["dynatomic", *(error.command_chain or ())])
    sys.stderr.write(f"Try '{commands} --help'.\n")
    return USAGE


def _print_error(message: str) -> None:
    sys.stderr.write(f"dynatomic: error: {' '.join(message.splitlines())}\n")
