"""``dynatomic config check``: checks the settings, the servers, and how a table answers."""

import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace

from dynatomic.config import checks
from dynatomic.config.settings import Settings
from dynatomic.counting.from_settings import load_counters
from dynatomic.errors import ConfigError, DynatomicError, UnavailableError
from dynatomic.operations.show_config import CROSS, TICK, CheckResult, check

DIFFERENT = 1


def check_config(
    settings: Settings, endpoint_url: str | None, *, connect: bool, probe: str | None
) -> int:
    """Print a line for each check, and return the exit code of the worst result.

    Servers are asked only if the settings can work. Settings without tables are checked with the
    table to ``probe``.
    """
    if probe is not None and not settings.tables and not checks.table(probe):
        settings = replace(settings, tables=(probe,))
    code = _print_results(check(settings))
    if code == 0 and connect:
        from dynatomic.operations.check_servers import connect as reach  # noqa: PLC0415 -- takes a while to load

        code = _print_results(reach(*load_counters(settings), endpoint_url, probe))
    if probe is not None and code in (0, UnavailableError.exit_code):
        different = _print_results(_probed(settings, endpoint_url, probe))
        code = code or different
    return code


def _print_results(results: Iterable[CheckResult]) -> int:
    codes = set()
    for result in results:
        sys.stdout.write(f"{_writable(result.line())}\n")
        sys.stdout.flush()
        if result.error:
            codes.add(result.error.exit_code)
    order = (ConfigError.exit_code, UnavailableError.exit_code, DIFFERENT)
    return next((code for code in order if code in codes), 0)


def _writable(line: str) -> str:
    """Return the line, in ASCII if the encoding of stdout has no ticks."""
    try:
        line.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        line = line.replace(TICK, "ok").replace(CROSS, "FAIL")
        return line.encode("ascii", "replace").decode()
    return line


def _probed(settings: Settings, endpoint_url: str | None, table: str) -> Iterator[CheckResult]:
    from dynatomic.dynamodb.client import make_client  # noqa: PLC0415
    from dynatomic.operations.probe import probe  # noqa: PLC0415 -- takes a while to load

    try:
        if problem := checks.table(table):
            raise ConfigError(f"--probe: {problem}")
        batches = settings.write_mode == "batch"
        for result in probe(make_client(endpoint_url), table, batches=batches):
            error = DynatomicError(result.difference) if result.difference else None
            yield CheckResult(f"table {table}, {result.name}", error=error)
    except DynatomicError as error:
        yield CheckResult(f"table {table}", error=error)
