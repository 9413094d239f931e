"""Flink SQL: sums by key in its own state and overwrites the items with the totals, 25 a request.

::

    python -m bench.peers.flink_job JARS '{"topic": ..., "events": ..., ...}'

Its design differs from the other peers. Its DynamoDB sink can only put whole items. So the totals
are in the state of Flink, no other program may add to the items, and an item has only the attribute
``count``. It reads the topic up to the end offsets at the start, in one process: PyFlink submits
the SQL, and a local cluster, which is a child process in Java, does the work.

As for the other peers, the time starts with the first event. The start of Java and of the job takes
about ten seconds and is not counted. It is tuned according to its documentation: see `_OPTIONS`.
"""

import json
import os
import re
import signal
import socket
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from py4j.protocol import Py4JError
from pyflink.common import Configuration
from pyflink.java_gateway import get_gateway
from pyflink.table import EnvironmentSettings, TableEnvironment

Moment = tuple[float, float]

# The columns of schemas/row.avsc, in order: without a registry the format reads plain Avro with
# the schema that it derives from them. It writes a nullable column as ["null", type], as we do.
_ROWS: Final = """
CREATE TABLE `rows` (
    `table` STRING NOT NULL,
    `key` STRING NOT NULL,
    `range` STRING,
    `counter` STRING,
    `incr` BIGINT NOT NULL
) WITH (
    'connector' = 'kafka',
    'format' = 'avro',
    'properties.bootstrap.servers' = '{bootstrap_servers}',
    'properties.group.id' = '{group}',
    'topic' = '{topic}',
    'scan.startup.mode' = 'earliest-offset',
    'scan.bounded.mode' = 'latest-offset'
)"""

# Each writer sends one request at a time, because an old total must not overtake a newer one. A
# batch that is not full is sent after 0.1 s; the default is 5 s.
_COUNTERS: Final = """
CREATE TABLE `counters` (
    `pk` STRING NOT NULL,
    `count` BIGINT NOT NULL,
    PRIMARY KEY (`pk`) NOT ENFORCED
) PARTITIONED BY (`pk`) WITH (
    'connector' = 'dynamodb',
    'table-name' = '{table}',
    'aws.region' = '{region}',
    'aws.endpoint' = '{endpoint_url}',
    'sink.batch.max-size' = '25',
    'sink.requests.max-inflight' = '1',
    'sink.flush-buffer.timeout' = '100',
    'sink.fail-on-error' = 'true'
)"""

_COUNT: Final = """
INSERT INTO `counters`
SELECT `key`, SUM(`incr`) FROM `rows`
WHERE COALESCE(`counter`, 'count') = 'count'
GROUP BY `key`"""

_OPTIONS: Final = {
    # "Mini-batch aggregation": a total is written once in each window. The planner then also sums
    # in two phases, before and after the shuffle. The size only bounds events, of which it keeps
    # sums.
    "table.exec.mini-batch.enabled": "true",
    "table.exec.mini-batch.allow-latency": "{window_ms} ms",
    "table.exec.mini-batch.size": "100000000",
    # One slot for each core.
    "parallelism.default": "{cores}",
    # No operator keeps a row, so copies are not needed.
    "pipeline.object-reuse": "true",
    # The commit of Flink: totals and offsets once in each window, without waiting for barriers.
    "execution.checkpointing.interval": "{window_ms} ms",
    "execution.checkpointing.mode": "AT_LEAST_ONCE",
    "state.checkpoints.dir": "file://{folder}",
    # The job does not wait for a checkpoint after its end. In production it does not end.
    "execution.checkpointing.checkpoints-after-tasks-finish.enabled": "false",
    # The first error ends the job. By default it would restart without end.
    "restart-strategy.type": "none",
    "pipeline.jars": "{jars}",
    # It shows when the first event was read.
    "rest.address": "127.0.0.1",
    "rest.bind-address": "127.0.0.1",
    "rest.bind-port": "{port}",
    "metrics.fetcher.update-interval": "50",
}

_ENVIRONMENT: Final = {
    # By default the heap is at most a quarter of the memory. A million counters need most of this.
    "JVM_ARGS": "-Xmx2g -Djava.io.tmpdir={folder}",
    # Otherwise PyFlink starts a server for functions in Python, which needs more packages.
    "_python_worker_execution_mode": "process",
}


def main() -> None:
    """Count the topic to the end that it has at the start."""
    jars, plan = Path(sys.argv[-2]), json.loads(sys.argv[-1])
    with tempfile.TemporaryDirectory() as folder, _ending_java():
        values = plan | {
            "jars": ";".join(jar.as_uri() for jar in sorted(jars.glob("*.jar"))),
            "cores": len(os.sched_getaffinity(0)),
            "folder": folder,
            "port": _free_port(),
            "endpoint_url": os.environ["AWS_ENDPOINT_URL_DYNAMODB"],
            "region": os.environ["AWS_REGION"],
        }
        os.environ |= {name: value.format_map(values) for name, value in _ENVIRONMENT.items()}
        config = Configuration()
        for name, value in _OPTIONS.items():
            config.set_string(name, value.format_map(values))
        settings = EnvironmentSettings.new_instance().in_streaming_mode()
        tables = TableEnvironment.create(settings.with_configuration(config).build())
        tables.execute_sql(_ROWS.format_map(values))
        tables.execute_sql(_COUNTERS.format_map(values))
        submitted = _now()
        job = tables.execute_sql(_COUNT)
        first = _first_event(f"http://127.0.0.1:{values['port']}") or submitted
        job.wait()
        print(json.dumps({"first": first, "last": _now(), "peak_bytes": _peak_bytes()}))


@contextmanager
def _ending_java() -> Iterator[None]:
    """End the child process after the block and wait for it, so that its CPU time is all there."""
    try:
        yield
    except Py4JError as error:
        raise RuntimeError(str(error)) from None  # the message is in Java
    finally:
        get_gateway().shutdown()
        for pid in [*_tree()][1:]:
            os.kill(pid, signal.SIGTERM)
            os.waitpid(pid, 0)


def _first_event(url: str) -> Moment | None:
    """Return when the source has read something, or nothing if the job has ended before that."""
    while True:
        try:
            if _is_reading(url):
                return _now()
        except urllib.error.HTTPError:
            pass  # the job does not exist yet
        except OSError:
            return None  # the cluster has ended with its job
        time.sleep(0.02)


def _is_reading(url: str) -> bool:
    """Tell whether the source of the only job has handed an event on."""
    job = f"{url}/jobs/{_get(f'{url}/jobs')['jobs'][0]['id']}"
    metrics = f"{job}/vertices/{_get(job)['vertices'][0]['id']}/subtasks/metrics"
    for metric in _get(metrics):
        if re.fullmatch(r"Source.*\.numRecordsOut", metric["id"]):
            name = urllib.parse.quote(metric["id"])
            return any(each["sum"] > 0 for each in _get(f"{metrics}?agg=sum&get={name}"))
    return False


def _get(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 - our own address
        return json.load(answer)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _now() -> Moment:
    """Return the machine's clock, and the CPU time of this process and all below it."""
    ticks = sum(sum(map(int, stat[11:15])) for stat in map(_stat, _tree()) if stat)
    return time.monotonic(), ticks / os.sysconf("SC_CLK_TCK")


def _peak_bytes() -> int:
    """Return the largest resident memory of each process, added."""
    kilobytes = 0
    for pid in _tree():
        status = Path(f"/proc/{pid}/status").read_text()
        kilobytes += int(status.partition("VmHWM:")[2].split(maxsplit=1)[0])
    return kilobytes * 1024


def _tree() -> Iterator[int]:
    """Return this process and all below it."""
    parents = {
        int(path.name): int(stat[1])
        for path in Path("/proc").glob("[0-9]*")
        if (stat := _stat(int(path.name)))
    }
    ours = [os.getpid()]
    for pid in ours:
        ours += [child for child, parent in parents.items() if parent == pid]
    yield from ours


def _stat(pid: int) -> list[str]:
    """Return what /proc says of a process from its state on, or nothing if it has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


if __name__ == "__main__":
    main()
