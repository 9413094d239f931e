"""docs/operations.md: each message that stops a consumer has its section, and none is made up."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from cyclopts import CycloptsError

import dynatomic.cli.main  # noqa: F401 -- its commands are the app's
from dynatomic.cli.app import app
from dynatomic.cli.man import EXIT_CODES
from dynatomic.config.catalogue import SETTINGS

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs" / "operations.md").read_text()
CHAPTER = DOCUMENT.split("## Messages and what to do\n")[1].split("\n## ")[0]
SECTIONS = re.split(r"^### ", CHAPTER, flags=re.MULTILINE)[1:]

# What a command says when it does not start, or stops.
MODULES = (
    *("config/settings", "dead_letters/replay", "dead_letters/sender", "dead_letters/show"),
    *("dead_letters/letter_producer", "dead_letters/skip_batch"),
    *("dead_letters/store", "dead_letters/topic", "dynamodb/client", "dynamodb/counters"),
    *("dynamodb/bucket", "dynamodb/increment", "dynamodb/tables", "kafka/admission"),
    *("dynamodb/fence_changes", "kafka/truncations", "operations/group_commit"),
    *("kafka/client", "kafka/groups", "kafka/messages", "service/membership"),
    "worker/stop_reasons",
    "kafka/reachability",
    *("kafka/msk_iam", "kafka/topic_identity", "kafka/topics", "operations/iam"),
    *("operations/probe", "operations/reset_offsets", "service/exit_conditions", "service/run"),
    *("service/server", "worker/offsets", "worker/ratio"),
)
ERRORS = {"ConfigError", "GroupRefusedError", "UnavailableError", "DynatomicError", "error_type"}
# They return a message that others raise or log.
RETURN = {
    *("missing_offset", "foreign_offset", "truncated", "_command"),
    *("unreadable_batch_message", "_active_message"),
    *("refusal_message", "credentials_message"),
}
ALERTS = ROOT / "deploy" / "prometheus" / "alerts.yml"
HOLE = "…"
# What can be done is nothing that a command line shows.
WITHOUT_COMMAND = {"The Kafka client failed for good"}


def text_of(node: ast.expr) -> str | None:
    """Return a message with holes for its values; None for what is computed elsewhere."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        parts = (v.value if isinstance(v, ast.Constant) else HOLE for v in node.values)
        return "".join(map(str, parts))
    if isinstance(node, ast.BinOp):
        return "".join(text_of(side) or HOLE for side in (node.left, node.right))
    return None


def messages() -> Iterator[str]:
    """Yield the messages of the code."""
    for module in MODULES:
        tree = ast.parse((ROOT / "consumer" / "dynatomic" / f"{module}.py").read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                if node.func.id in ERRORS and (text := text_of(node.args[0])):
                    yield text
            elif isinstance(node, ast.FunctionDef) and node.name in RETURN:
                returned = (n.value for n in ast.walk(node) if isinstance(n, ast.Return))
                yield from filter(None, (text_of(value) for value in returned if value))


def documented() -> list[str]:
    """Return the messages that the sections show, a line each."""
    blocks = re.findall(r"```text\n(.*?)```", CHAPTER, flags=re.DOTALL)
    return [line for block in blocks for line in block.splitlines()]


def commands() -> Iterator[str]:
    """Yield the command lines of this program that the document and the messages name."""
    for text in (DOCUMENT, *messages()):
        yield from re.findall(r"`(dynatomic [^`]*)`", text)
        for block in re.findall(r"```console\n(.*?)```", text, flags=re.DOTALL):
            yield from re.findall(r"\$ (dynatomic [^\n|>]*)", block)


def test_every_message_has_its_section() -> None:
    assert set(messages()) - set(documented()) == set()


def test_no_message_is_made_up_or_shown_twice() -> None:
    assert set(documented()) - set(messages()) == set()
    assert len(documented()) == len(set(documented()))


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.splitlines()[0])
def test_a_section_says_what_to_do(section: str) -> None:
    title, _, body = section.partition("\n")
    prose = re.sub(r"```.*?```", "", body, flags=re.DOTALL)
    assert len(prose.split()) > 15, "too short to help"
    assert "```text\n" in body
    if title not in WITHOUT_COMMAND:
        assert re.search(r"`(dynatomic |-|[a-z_]+`|[A-Z_]+`)", prose), "no command, no setting"


@pytest.mark.parametrize("line", sorted(set(commands())))
def test_every_command_exists(line: str) -> None:
    tokens = line.replace(HOLE, "1").replace("[", "").replace("]", "").split()[1:]
    try:
        command, _, unknown = app.parse_args(tokens, exit_on_error=False, print_error=False)[:3]
    except CycloptsError as error:
        pytest.fail(f"{line}: {error}")
    assert not unknown
    assert command is not None


def test_every_flag_and_setting_exists() -> None:
    shown = set(re.findall(r"`(--[a-z-]+)", DOCUMENT))
    for message in messages():
        shown |= set(re.findall(r"(?<![\w`-])(--[a-z-]+)", message))
    known = {flag for setting in SETTINGS for flag in setting.flags}
    help_pages = (ROOT / "consumer").rglob("*.py")
    source = "\n".join(path.read_text() for path in help_pages)
    for flag in shown - known:
        name = flag.removeprefix("--").replace("-", "_")
        assert f'"{flag}"' in source or re.search(rf"^    {name}_?: ", source, re.MULTILINE), flag


def test_a_message_ends_with_what_resolves_it() -> None:
    """A command, a setting, a permission, or to try again."""
    helps = re.compile(
        r"`dynatomic |--[a-z]|-[bX]\b|try again|start it again|allow |make |create |check "
        r"|set |use |give |name another|remove |decrease |pip install"
    )
    # What is put behind them has it.
    open_ended = {text for text in messages() if text.endswith((f": {HOLE}", f"; {HOLE}"))}
    open_ended |= {text for text in messages() if not text.strip(f"{HOLE}: ")}
    assert {text for text in messages() if not helps.search(text)} - open_ended == set()


def test_every_alert_says_what_it_means_and_what_to_do() -> None:
    groups = yaml.safe_load(ALERTS.read_text())["groups"]
    alerts = [rule["alert"] for group in groups for rule in group["rules"] if "alert" in rule]
    table = DOCUMENT.split("<!-- alerts -->\n")[1].split("<!-- /alerts -->")[0]
    rows = [[cell.strip() for cell in row.strip("|").split("|")] for row in table.splitlines()[2:]]
    assert [row[0] for row in rows] == [f"`{alert}`" for alert in alerts]
    assert all(len(row) == 3 and all(row) for row in rows)


def slug(heading: str) -> str:
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


def test_every_link_leads_somewhere() -> None:
    for link in re.findall(r"\]\(([^)]+)\)", DOCUMENT):
        path, _, anchor = link.partition("#")
        target = ROOT / "docs" / path if path else ROOT / "docs" / "operations.md"
        assert target.exists(), link
        if anchor:
            headings = re.findall(r"^#+ (.+)$", target.read_text(), flags=re.MULTILINE)
            assert anchor in map(slug, headings), link


def test_the_exit_codes_are_those_of_the_manual() -> None:
    table = DOCUMENT.split("## Start and stop\n\n")[1].split("\n\n")[0]
    shown = {
        int(n) for row in table.splitlines()[2:] for n in re.findall(r"\d+", row.split("|")[1])
    }
    assert shown == EXIT_CODES.keys()
