"""The manual page, dynatomic(1), from the same commands and settings as ``--help``.

It uses the man macros, which man-db, groff and mandoc support. Source: man(7).
"""

from collections.abc import Iterator, Mapping

from cyclopts import App
from cyclopts.argument import Argument

from dynatomic.config.catalogue import SETTINGS

EXIT_CODES: Mapping[int, str] = {
    0: "Done, or drained after SIGTERM.",
    1: "Failed, or a check found a problem.",
    2: "Wrong usage.",
    75: "A server did not answer in time; try again later.",
    78: "Wrong configuration; trying again cannot help.",
    130: "Forced by a second SIGINT.",
    143: "Forced by a second SIGTERM.",
}
_SETTING = {setting.name: setting for setting in SETTINGS}


def page(app: App, version: str) -> Iterator[str]:
    """Yield the lines of the page."""
    name = app.name[0]
    yield f'.TH {name.upper()} 1 "" "{_text(version)}" "User Commands"'
    yield ".SH NAME"
    yield rf"{name} \- sum events from a Kafka topic into DynamoDB counters"
    yield ".SH SYNOPSIS"
    yield rf"\fB{name}\fR \fICOMMAND\fR [\fIOPTIONS\fR]"
    yield ".SH DESCRIPTION"
    yield from _paragraph(app.help)
    yield ".SH COMMANDS"
    for path, command in commands(app, name):
        yield from _command(path, command)
    yield ".SH SETTINGS"
    yield from _paragraph(
        "A flag overrides the environment, the environment overrides the file of --config, and "
        "the file overrides the default. "
        "The file is TOML; setting names in it have underscores."
    )
    for setting in SETTINGS:
        yield from _entry(setting.flags, setting.metavar or "VALUE", setting.help)
        yield ".br"
        yield _text(f"Environment {setting.env}, default {setting.shown_default}.")
    yield ".SH ENVIRONMENT"
    yield from _entry(("DYNATOMIC_CONFIG",), "", "The settings file, as --config.")
    yield from _entry(
        ("AWS_REGION", "AWS_PROFILE", "AWS_ENDPOINT_URL_DYNAMODB"),
        "",
        "And all other variables that AWS clients read.",
    )
    yield ".SH EXIT STATUS"
    for code, meaning in EXIT_CODES.items():
        yield from _entry((str(code),), "", meaning)


def commands(app: App, path: str) -> Iterator[tuple[str, App]]:
    """Yield every command that is not only a group, with its full name."""
    for name in app:
        if name.startswith("-"):
            continue
        command = app[name]
        if command.default_command is not None:
            yield f"{path} {name}", command
        yield from commands(command, f"{path} {name}")


def _command(path: str, command: App) -> Iterator[str]:
    arguments = list(command.assemble_argument_collection())
    positional = [argument for argument in arguments if argument.is_positional_only()]
    synopsis = [path, *(_placeholder(argument) for argument in positional)]
    if len(arguments) > len(positional):
        synopsis.append("[OPTIONS]")
    yield f'.SS "{_text(" ".join(synopsis))}"'
    yield from _paragraph(command.help)
    shared = []
    for argument in arguments:
        if argument.field_info.name in _SETTING:
            shared.append(_SETTING[argument.field_info.name].flags[0])
        elif argument.parameter.show is not False:
            value = "" if argument.is_flag() or argument in positional else _metavar(argument)
            yield from _entry(argument.names, value, argument.parameter.help or "")
    if len(shared) == len(SETTINGS):
        yield from _paragraph("Takes all settings.")
    elif shared:
        yield from _paragraph(f"Takes the settings {', '.join(shared)}.")


def _placeholder(argument: Argument) -> str:
    return argument.names[0] if argument.required else f"[{argument.names[0]}]"


def _metavar(argument: Argument) -> str:
    choices = argument.get_choices()
    return argument.parameter.metavar or ("|".join(choices) if choices else "VALUE")


def _entry(names: tuple[str, ...], value: str, text: str) -> Iterator[str]:
    yield ".TP"
    shown = ", ".join(rf"\fB{_text(name)}\fR" for name in names)
    yield rf"{shown} \fI{_text(value)}\fR" if value else shown
    yield _text(text)


def _paragraph(text: str) -> Iterator[str]:
    yield ".PP"
    yield _text(text)


def _text(text: str) -> str:
    """Return the text as one line, with the characters escaped that troff interprets."""
    line = " ".join(text.split()).replace("\\", r"\e").replace("-", r"\-").replace('"', r"\(dq")
    return rf"\&{line}" if line.startswith((".", "'")) else line
