"""Warns about environment variables with our prefix that do not name a setting."""

import logging
import os
import re
from collections.abc import Iterator

from dynatomic.cli.sources import CONFIG_ENV
from dynatomic.config.catalogue import SETTINGS
from dynatomic.errors import suggestion

log = logging.getLogger(__name__)

PREFIX = "DYNATOMIC_"
_KNOWN = {CONFIG_ENV, *(setting.env for setting in SETTINGS)}
# Kubernetes gives each container the addresses of the Services of its namespace. For a Service
# whose name begins with dynatomic, the variables have our prefix.
_OF_A_SERVICE = re.compile(
    r"DYNATOMIC_(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_\w+)?)=.*"
    r"|DYNATOMIC_(\w+_)?PORT=(tcp|udp|sctp)://.*",
    re.DOTALL,
)


def unknown_variables() -> Iterator[str]:
    """Yield the names of the environment variables that were probably meant as a setting."""
    for name, value in sorted(os.environ.items()):
        is_ours = name.startswith(PREFIX) and name not in _KNOWN
        if is_ours and not _OF_A_SERVICE.fullmatch(f"{name}={value}"):
            yield name


def warn_of_unknown_variables() -> None:
    """Log a line for each of them, with the setting that it is similar to."""
    for name in unknown_variables():
        similar = suggestion(name, _KNOWN)
        log.warning(
            "unknown variable",
            extra={
                "fields": {"variable": name, "cause": f"it is no setting{similar}"},
                "sentence": f"{name} is no setting and has no effect{similar}",
            },
        )
