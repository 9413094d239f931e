"""``python -m tests.chaos``: starts the servers once, plays rounds, prints a report."""

import argparse
import secrets
import sys
from datetime import UTC, datetime
from pathlib import Path

from tests.chaos.backends import started
from tests.chaos.campaign import Options, campaign
from tests.chaos.kinds import KINDS
from tests.chaos.members import Nursery
from tests.chaos.report import as_json, markdown


def main() -> int:
    """Run a campaign; return 1 if a round ended with a difference."""
    arguments = _arguments()
    names = tuple(arguments.faults.split(",")) if arguments.faults else _usual()
    options = Options(
        guarantee=arguments.guarantee,
        protocol=arguments.protocol,
        rounds=arguments.rounds,
        seed=arguments.seed,
        faults=names,
        first=arguments.first,
        judged=arguments.judged,
        keep=arguments.keep,
        jobs=arguments.jobs,
        declared=arguments.declared,
    )
    head = {
        "date": datetime.now(UTC).date().isoformat(),
        "guarantee": arguments.guarantee,
        "backend": arguments.backend,
        "protocol": arguments.protocol,
        "seed": arguments.seed,
    }
    _say(f"seed {arguments.seed}, faults {','.join(names)}")
    with Nursery() as nursery, started(arguments.backend) as backend:
        results = campaign(options, backend, nursery, _say)
    _say("\n" + markdown(results, head))
    if arguments.report:
        arguments.report.write_text(as_json(results, head))
    wrong = [result.plan.seed for result in results if result.wrong]
    _say(f"seed {arguments.seed}: {len(wrong)} of {len(results)} rounds wrong")
    return 1 if wrong else 0


def _usual() -> tuple[str, ...]:
    return tuple(kind.name for kind in KINDS.values() if not kind.long)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    guarantees = ("at-least-once", "exactly-once")
    parser.add_argument("--guarantee", choices=guarantees, default="exactly-once")
    parser.add_argument("--judged", choices=guarantees, help="by another guarantee's rule")
    parser.add_argument("--backend", choices=("embedded", "real", "cluster"), default="embedded")
    parser.add_argument("--protocol", choices=("classic", "consumer"), default="classic")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--jobs", type=int, default=3, help="rounds side by side")
    parser.add_argument("--first", type=int, default=0, help="number of the first round")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1_000_000))
    parser.add_argument("--faults", help=f"of {', '.join(KINDS)}; default: all")
    parser.add_argument("--declared", action="store_true", help="JSON, by a counters file")
    parser.add_argument("--keep", type=Path, help="folder for the logs of all rounds")
    parser.add_argument("--report", type=Path, help="file for the JSON")
    return parser.parse_args()


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
