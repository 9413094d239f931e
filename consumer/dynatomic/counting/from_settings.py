"""The counters file that the settings name, and the tables that it writes to."""

from dataclasses import replace

from dynatomic.config.settings import Settings
from dynatomic.counting.check_schema import check_schema
from dynatomic.counting.counting import Counting
from dynatomic.counting.definition import CountersFile
from dynatomic.counting.examples import check_examples
from dynatomic.counting.file import load
from dynatomic.errors import ConfigError


def load_counters(settings: Settings) -> tuple[Settings, CountersFile | None]:
    """Return the settings with the tables of the counters file, and the file; None without one.

    Raises ConfigError for a file that is wrong, for an example that gives something else, for a
    path that a schema file does not have, and for a table that is not in the setting ``tables``,
    if that is set.
    """
    if settings.counters is None:
        return settings, None
    definition = load(settings.counters)
    check_examples(definition, Counting(definition))
    for key, schema in definition.event.schemas.items():
        # The warnings are for `run`, which logs them.
        check_schema(definition, schema, str(key))
    tables = tuple(dict.fromkeys(counter.table for counter in definition.counters))
    if settings.tables:
        for counter in definition.counters:
            if counter.table not in settings.tables:
                raise ConfigError(
                    f"{definition.path}: counter {counter.name!r}: table {counter.table} is not in "
                    "--table; add it there, or leave --table out"
                )
    return replace(settings, tables=tables), definition
