"""Flags that several commands share, and the flags of commands that have many."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from dynatomic.cli.converters import whole_number_from
from dynatomic.operations.iam import Command

BaselineFile = Annotated[
    Path | None,
    Parameter(help="Start from the values in this snapshot, not from zero.", metavar="FILE"),
]
SnapshotFile = Annotated[
    Path | None,
    Parameter(
        help="Write the current values of the tables, for a later --baseline. Without --baseline "
        "nothing is compared. With --baseline the file is written only if nothing differs.",
        metavar="FILE",
    ),
]
Sample = Annotated[
    int | None,
    Parameter(help="Compare this many counters, chosen at random.", converter=whole_number_from(1)),
]
Seed = Annotated[
    int | None,
    Parameter(help="The same seed gives the same sample.", converter=whole_number_from(0)),
]
Limit = Annotated[
    int,
    Parameter(
        help="Maximum number of differences to print, the largest first.",
        converter=whole_number_from(0),
    ),
]
Start = Annotated[
    Literal["earliest", "latest"] | None,
    Parameter(help="Where a group without committed offsets starts, even in an old topic."),
]
AcceptCounters = Annotated[
    bool,
    Parameter(
        help="Start although the group has counted by another counters file until now.",
        negative=(),
        show_default=False,
    ),
]
Strict = Annotated[
    bool,
    Parameter(
        help="Exit 1 also if dead letters wait for a replay.", negative=(), show_default=False
    ),
]
Output = Annotated[
    Literal["text", "json"],
    Parameter(name=("--output", "-o"), help="'json' prints everything, for programs."),
]

Policy = Annotated[Command, Parameter(help="The command that the IAM policy is for.")]
Region = Annotated[str, Parameter(help="Region in the ARNs of the IAM policy.")]
Account = Annotated[str, Parameter(help="Account in the ARNs of the IAM policy.", metavar="DIGITS")]
MskCluster = Annotated[
    str | None,
    Parameter(help="Amazon MSK cluster with IAM. The policy then allows Kafka too.", metavar="ARN"),
]

LetterReason = Annotated[
    str | None, Parameter(name="--reason", help="Only dead letters with this reason.")
]
