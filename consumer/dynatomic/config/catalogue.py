"""The settings as users write them: flag, environment variable, default and help of each.

All of it follows from the fields of `settings.Settings`. The command line, the settings file, the
manual page and docs/reference/settings.md use it.
"""

from dataclasses import MISSING, dataclass, fields
from typing import Any, get_args, get_type_hints

from dynatomic.config.checks import Check
from dynatomic.config.settings import NOTES, Settings
from dynatomic.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Setting:
    """A setting with its flag, environment variable and check; `SETTINGS` has all of them."""

    name: str
    type: Any
    default: Any
    help: str
    flags: tuple[str, ...]
    env: str
    metavar: str
    shown_default: str
    check: Check

    def validate(self, value: object, origin: str) -> None:
        """Raise `ConfigError` if the value is wrong; ``origin`` says where it comes from."""
        if problem := self.check(value):
            raise ConfigError(f"{self.name}: {problem} (from {origin})")


def _settings() -> tuple[Setting, ...]:
    hints = get_type_hints(Settings, include_extras=True)
    settings = []
    for item in fields(Settings):
        notes = NOTES[item.name]
        default = item.default if item.default_factory is MISSING else item.default_factory()
        flag = notes.flag or "--" + item.name.replace("_", "-")
        settings.append(
            Setting(
                name=item.name,
                type=get_args(hints[item.name])[0],
                default=default,
                help=notes.help,
                flags=(flag, notes.short) if notes.short else (flag,),
                env=f"DYNATOMIC_{item.name.upper()}",
                metavar=notes.metavar,
                shown_default=_default_text(default, notes.unset),
                check=notes.check,
            )
        )
    return tuple(settings)


def _default_text(default: object, unset: str) -> str:
    if default in (None, (), {}):
        return unset
    return f"{default:g}" if isinstance(default, float) else str(default)


SETTINGS = _settings()
