"""The flags that several commands share, and those of commands with many."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from dynatomic.cli.converters import whole_number_from
from dynatomic.operations.iam import Command

Baseline = Annotated[
    Path | None,
    Parameter(help="Count from what this snapshot holds, not from zero.", metavar="FILE"),
]
Snapshot = Annotated[
    Path | None,
    Parameter(
        help="Write what the tables hold now, for a later --baseline. Without a --baseline of "
        "its own nothing is compared; with one, it is written only if nothing differs.",
        metavar="FILE",
    ),
]
Sample = Annotated[
    int | None,
    Parameter(help="Check this many counters, chosen at random.", converter=whole_number_from(1)),
]
Seed = Annotated[
    int | None,
    Parameter(help="Same seed, same sample; else a new one.", converter=whole_number_from(0)),
]
Limit = Annotated[
    int,
    Parameter(help="Most differences shown; the largest first.", converter=whole_number_from(0)),
]
Output = Annotated[
    Literal["text", "json"],
    Parameter(name=("--output", "-o"), help="json: all of it, for programs."),
]

Policy = Annotated[Command, Parameter(help="The command that the IAM policy is for.")]
Region = Annotated[str, Parameter(help="Region in the IAM policy's ARNs.")]
Account = Annotated[str, Parameter(help="Account in the IAM policy's ARNs.", metavar="DIGITS")]
MskCluster = Annotated[
    str | None,
    Parameter(
        help="Amazon MSK cluster with IAM: the policy gets its Kafka side too.", metavar="ARN"
    ),
]

LetterReason = Annotated[
    str | None, Parameter(name="--reason", help="Only dead letters of this reason.")
]
