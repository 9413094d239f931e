"""The parameters of a round, and the options of `dynatomic run` that follow from them."""

from collections.abc import Sequence
from dataclasses import dataclass

from dynatomic.config.settings import GroupProtocol, ProcessingGuarantee, WriteMode


class StuckError(AssertionError):
    """Something that had to happen did not; the message says what."""


@dataclass(frozen=True)
class Plan:
    """The parameters of a round, all from its seed."""

    seed: str
    guarantee: ProcessingGuarantee
    protocol: GroupProtocol
    partitions: int
    members: int
    window_ms: int
    write_mode: WriteMode
    keyed: bool
    static: bool
    rate: int
    faults: tuple[str, ...]
    declared: bool = False
    kills: int = 3
    """Kills of one kind in a round."""


def options(plan: Plan, session_ms: int, slot: int, arguments: Sequence[str]) -> list[str]:
    """Return the options of one member; ``session_ms`` is for classic groups."""
    argv = ["--window-ms", str(plan.window_ms), "--write-mode", plan.write_mode]
    if plan.guarantee == "exactly-once":
        argv += ["--processing-guarantee", plan.guarantee]
    argv += ["--group-protocol", plan.protocol]
    if "--shutdown-timeout-ms" not in arguments:
        argv += ["--shutdown-timeout-ms", "5000"]
    properties = {
        "fetch.wait.max.ms": "50",
        "topic.metadata.refresh.interval.ms": "1000",
        "reconnect.backoff.max.ms": "500",
    }
    if plan.static:
        properties["group.instance.id"] = f"slot-{slot}"
    if plan.protocol == "classic":
        properties["session.timeout.ms"] = str(session_ms)
        properties["heartbeat.interval.ms"] = "300"
    for key, value in properties.items():
        argv += ["-X", f"{key}={value}"]
    return [*argv, *arguments]
