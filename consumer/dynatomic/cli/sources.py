"""Where settings come from: the command line, the environment, the TOML file, the default.

cyclopts parses the flags and the environment and shows the help. `Sources` is its last source,
the file. It sees every value, so it also records where each one came from. An empty environment
variable counts as not set, because compose files and manifests often contain empty ones.
"""

import inspect
import os
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Annotated, Any, get_type_hints

from cyclopts import App, ArgumentCollection, CycloptsError, Parameter, Token
from cyclopts.argument import Argument

from dynatomic.cli.converters import decimal, pairs, split, whole
from dynatomic.config.catalogue import SETTINGS, Setting
from dynatomic.config.properties import whole_values
from dynatomic.errors import ConfigError

CONFIG_ENV = "DYNATOMIC_CONFIG"
COMMAND_LINE = "command line"
DEFAULT = "default"

ConfigFile = Annotated[
    Path | None,
    Parameter(name="--config", env_var=CONFIG_ENV, metavar="FILE", help="TOML file with settings."),
]


def parameter(setting: Setting) -> Any:
    """Return the annotation that makes cyclopts read a setting and show it in the help."""
    kind = setting.type
    details: dict[str, Any] = {"metavar": setting.metavar} if setting.metavar else {}
    if kind is int:
        details["converter"] = _convert_whole
    elif kind is float:
        details["converter"] = _convert_decimal
    elif kind == tuple[str, ...]:
        details["env_var_split"] = _split_env
    elif kind == dict[str, str]:
        kind = tuple[str, ...]
        details |= {"converter": _convert_pairs, "env_var_split": _split_env}
    return Annotated[
        kind,
        Parameter(
            name=setting.flags,
            env_var=setting.env,
            help=setting.help,
            show_default=lambda _: setting.shown_default,
            negative=(),
            **details,
        ),
    ]


def _convert_whole(_type: object, tokens: Sequence[Token]) -> int:
    return whole(tokens[0].value)


def _convert_decimal(_type: object, tokens: Sequence[Token]) -> float:
    return decimal(tokens[0].value)


def _convert_pairs(_type: object, tokens: Sequence[Token]) -> dict[str, str]:
    return pairs(token.value for token in tokens)


def _split_env(_type: object, text: str, **_: object) -> list[str]:
    return split(text)


@cache
def _annotated() -> list[tuple[Setting, Any]]:
    return [(setting, parameter(setting)) for setting in SETTINGS]


def signature(function: Callable[..., int], names: Iterable[str]) -> inspect.Signature:
    """Return the signature of a command: its own parameters, the named settings, ``--config``."""
    hints = get_type_hints(function, include_extras=True)
    own = list(inspect.signature(function).parameters.values())[1:]
    parameters = [
        own_parameter.replace(annotation=hints[own_parameter.name]) for own_parameter in own
    ]
    settings: dict[str, tuple[Any, Any]] = {
        setting.name: (annotation, setting.default)
        for setting, annotation in _annotated()
        if setting.name in names
    }
    settings["config"] = (ConfigFile, None)
    parameters += [
        inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=default
        )
        for name, (annotation, default) in settings.items()
    ]
    return inspect.Signature(parameters)


class Sources:
    """The file as a source for cyclopts, and a record of where every value came from.

    ``origins`` maps the name of a setting, or ``librdkafka.`` and a property, to one of
    ``command line``, ``environment NAME``, ``file PATH``; what is absent is a default.
    """

    def __init__(self) -> None:
        self.origins: dict[str, str] = {}

    def __call__(
        self, _app: App, _commands: tuple[str, ...], arguments: ArgumentCollection
    ) -> None:
        """Fill in the values of the file. Raise `ConfigError` for a wrong value or variable."""
        self.origins.clear()
        named = {argument.field_info.name: argument for argument in arguments}
        for argument in arguments:
            _unset_empty_environment(argument)
        if "config" not in named:
            return
        path = named["config"].tokens[0].value if named["config"].tokens else ""
        values = read_file(Path(path)) if path else {}
        for setting in SETTINGS:
            if setting.name in named:
                self._fill(setting, named[setting.name], values.get(setting.name), f"file {path}")

    def _fill(self, setting: Setting, argument: Argument, value: object, file: str) -> None:
        if setting.type == dict[str, str]:
            self._merge(setting, argument, value, file)
        elif argument.tokens and argument.tokens[0].source == "cli":
            self.origins[setting.name] = COMMAND_LINE
        elif argument.tokens:
            self.origins[setting.name] = f"environment {setting.env}"
            from_environment(setting)
        elif value is not None:
            self.origins[setting.name] = file
            _replace(argument, setting, value, file)

    def _merge(self, setting: Setting, argument: Argument, value: Any, file: str) -> None:
        """Merge properties name by name, so that one ``-X`` does not drop the login in the file."""
        flag_tokens = [token for token in argument.tokens if token.source == "cli"]
        try:
            flags = pairs(token.value for token in flag_tokens)
        except ValueError as error:
            raise CycloptsError(msg=f"Invalid value for {setting.flags[0]}: {error}") from None
        merged: dict[str, str] = {}
        for origin, properties in (
            (file, value or {}),
            (f"environment {setting.env}", from_environment(setting) or {}),
            (COMMAND_LINE, flags),
        ):
            merged |= properties
            self.origins |= {f"{setting.name}.{name}": origin for name in properties}
        if merged:
            _replace(argument, setting, merged, "")


def _unset_empty_environment(argument: Argument) -> None:
    argument.tokens[:] = [
        token
        for token in argument.tokens
        if token.source != "env" or os.environ.get(token.keyword or "", "").strip()
    ]


def _replace(argument: Argument, setting: Setting, value: object, source: str) -> None:
    if isinstance(value, dict):
        texts = [f"{name}={text}" for name, text in value.items()]
    else:
        texts = list(value) if isinstance(value, tuple) else [str(value)]
    argument.tokens[:] = [
        Token(keyword=setting.name, value=text, source=source, index=index)
        for index, text in enumerate(texts)
    ]


def from_environment(setting: Setting) -> Any:
    """Return the checked value of a setting's environment variable, None if it is empty.

    Raises `ConfigError` that names the variable.
    """
    text = os.environ.get(setting.env, "")
    if not text.strip():
        return None
    value: Any = text
    try:
        if setting.type is int:
            value = whole(text)
        elif setting.type is float:
            value = decimal(text)
        elif setting.type == tuple[str, ...]:
            value = tuple(split(text))
        elif setting.type == dict[str, str]:
            # A value that contains a comma has to be in the file or after -X.
            value = whole_values(pairs(split(text)))
        elif setting.type == Path | None:
            value = Path(text)
    except ValueError as error:
        raise ConfigError(f"{setting.name}: {error} (from environment {setting.env})") from None
    setting.validate(value, f"environment {setting.env}")
    return value


def read_file(path: Path) -> dict[str, object]:
    """Return the settings of a TOML file, every one checked.

    Raises `ConfigError` that names the file and the line or the key.
    """
    import tomllib  # noqa: PLC0415 -- slow to load

    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read the settings file {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from None
    known = {setting.name: setting for setting in SETTINGS}
    settings = {}
    for key, raw in content.items():
        if key not in known:
            raise ConfigError(f"{path}: unknown setting {key!r}; {_suggestion(key)}")
        settings[key] = _from_toml(known[key], raw)
        known[key].validate(settings[key], f"file {path}")
    return settings


def _suggestion(key: str) -> str:
    import difflib  # noqa: PLC0415 -- slow to load

    spellings = {setting.name: setting.name for setting in SETTINGS}
    spellings |= {flag.lstrip("-"): s.name for s in SETTINGS for flag in s.flags}
    close = difflib.get_close_matches(key, spellings, n=1)
    if close:
        return f"did you mean {spellings[close[0]]!r}?"
    return f"the settings are {', '.join(setting.name for setting in SETTINGS)}"


def _from_toml(setting: Setting, raw: object) -> object:
    if setting.type == tuple[str, ...] and isinstance(raw, list):
        return tuple(raw)
    if setting.type == dict[str, str] and isinstance(raw, dict):
        return dict(_flat(raw))
    return Path(raw) if setting.type == Path | None and isinstance(raw, str) else raw


def _flat(table: dict[str, object], prefix: str = "") -> Iterable[tuple[str, object]]:
    # In TOML an unquoted property such as sasl.username = "me" is a table within a table.
    for name, value in table.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        elif isinstance(value, bool):
            yield prefix + name, str(value).lower()
        else:
            yield prefix + name, str(value) if isinstance(value, int | float) else value
