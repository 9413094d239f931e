"""The commands that show and check the settings."""

from typing import Annotated

from cyclopts import App, Parameter

from dynatomic.cli.app import ALL, EndpointUrl, app, command, flag, say, sources
from dynatomic.config.settings import Settings

_config = App(name="config", help="Show or check the settings.")
app.command(_config)


@command(_config, *ALL)
def show(
    settings: Settings,
    *,
    origin: Annotated[bool, flag("Add where each value came from.")] = False,
) -> int:
    """Print the settings in effect as TOML. Secrets are masked."""
    from dynatomic.operations import show_config  # noqa: PLC0415 -- see `command`

    return say(show_config.show(settings, sources.origins if origin else None))


@command(_config, *ALL)
def check(
    settings: Settings,
    *,
    connect: Annotated[
        bool, flag("Check the brokers and the tables too. Nothing is written.")
    ] = False,
    probe: Annotated[
        str | None,
        Parameter(
            help="Try every kind of write on a test item of this table, then delete it.",
            metavar="TABLE",
        ),
    ] = None,
    endpoint_url: EndpointUrl = None,
) -> int:
    """Check the settings and, when asked, the servers: one line for each check.

    Exit 78 if the configuration is wrong, 75 if a server did not answer, 1 if a
    table gives another answer than expected.
    """
    from dynatomic.operations import check_config  # noqa: PLC0415 -- see `command`

    return check_config.check_config(settings, endpoint_url, connect=connect, probe=probe)
