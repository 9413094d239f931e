"""deploy/: the IAM policies and the Terraform module grant what `dynatomic iam` prints."""

import json
import re

import hcl2
import pytest

from dynatomic.cli.main import main
from dynatomic.config.settings import Settings
from tests.support.manifests import DEPLOY, Manifest, manifests

CLUSTER = (
    "arn:aws:kafka:eu-west-1:123456789012:cluster/billing/11111111-2222-3333-4444-555555555555-1"
)


@pytest.mark.parametrize(
    ("file", "options"),
    [
        ("run.json", []),
        ("run-msk.json", ["--msk-cluster", CLUSTER]),
        ("verify.json", ["--policy", "verify"]),
    ],
)
def test_a_policy_is_what_the_command_prints(
    file: str, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["init", "--print-iam", "--table", "usage", *options]) == 0
    assert (DEPLOY / "aws" / file).read_text() == capsys.readouterr().out


def block(found: Manifest, kind: str, *names: str) -> Manifest:
    """Return the one block of a kind with these labels, without the parser's quotes."""
    for each in found[kind]:
        for name in names:
            each = each.get(name) or each.get(f'"{name}"') or {}  # noqa: PLW2901
        if each:
            return dict(each)
    raise AssertionError(f"no {kind} {names}")


def test_terraform_gives_the_role_what_the_policy_has() -> None:
    text = (DEPLOY / "aws" / "main.tf").read_text()
    found = hcl2.loads(text)
    table = block(found, "resource", "aws_dynamodb_table", "counters")
    assert table["hash_key"].strip('"') == "pk"
    assert table["billing_mode"].strip('"') == "PAY_PER_REQUEST"
    assert table["deletion_protection_enabled"] is True
    count = block(found, "data", "aws_iam_policy_document", "count")
    (statement,) = count["statement"]
    assert "local.actions" in str(statement["actions"])
    (values,) = found["locals"]
    assert "run.json" in str(values["actions"])
    (statement,) = json.loads((DEPLOY / "aws" / "run.json").read_text())["Statement"]
    assert statement["Sid"] in str(count["statement"])
    role = block(found, "resource", "aws_iam_role", "consumer")
    assert "aws_iam_policy_document.trust" in str(role["assume_role_policy"])
    # Whatever is referred to is there.
    declared = {f"var.{name}" for each in found["variable"] for name in map(bare, each)}
    assert set(re.findall(r"\bvar\.\w+", text)) == declared
    declared = {f"local.{name}" for name in values if not name.startswith("__")}
    assert set(re.findall(r"\blocal\.\w+", text)) == declared


def msk_resources(value: str) -> dict[str, str]:
    """Return `local.msk_resources` for `CLUSTER` and the defaults of `var.msk`."""
    for kind in ("topic", "group"):
        put_in = CLUSTER.replace(":cluster/", f":{kind}/")
        value = value.replace(f'replace(var.msk.cluster_arn, ":cluster/", ":{kind}/")', put_in)
    for call, result in {
        'coalesce(var.msk.dead_letter_topic, "${var.msk.topic}.dlq")': "${var.msk.topic}.dlq",
        "= var.msk.cluster_arn": f'= "{CLUSTER}"',
        "var.msk.topic": Settings().topic,
        "var.msk.group": Settings().group_id,
    }.items():
        value = value.replace(call, result)
    found = re.findall(r'(\w+) = "([^"]+)"', value)
    return {name: re.sub(r"[${}]", "", resource) for name, resource in found}


def test_terraform_gives_the_role_what_the_policy_of_amazon_msk_has() -> None:
    found = hcl2.loads((DEPLOY / "aws" / "main.tf").read_text())
    (values,) = found["locals"]
    statements = json.loads((DEPLOY / "aws" / "run-msk.json").read_text())["Statement"]
    wanted = {each["Sid"]: each["Resource"] for each in statements if each["Sid"] != "Tables"}
    resources = msk_resources(values["msk_resources"])
    assert {name: [resource] for name, resource in resources.items()} == wanted
    assert values["msk_resources"].startswith("${var.msk == null ? {} : {")
    assert "run-msk.json" in values["msk_actions"]
    assert "each.Sid => each.Action" in values["msk_actions"]
    (dynamic,) = block(found, "data", "aws_iam_policy_document", "count")["dynamic"]
    (statement,) = dynamic.values()
    assert statement["for_each"] == "${local.msk_resources}"
    (content,) = statement["content"]
    assert content["sid"] == "${statement.key}"
    assert content["actions"] == "${local.msk_actions[statement.key]}"
    assert content["resources"] == ["${statement.value}"]
    msk = block(found, "variable", "msk")
    assert msk["default"] is None
    defaults = dict(re.findall(r'(\w+) = "?\$?{?optional\(string, "([^"]+)"\)', str(msk["type"])))
    assert defaults == {"topic": Settings().topic, "group": Settings().group_id}


def bare(name: str) -> str:
    return name.strip('"')


def test_the_role_is_for_the_service_account_of_the_manifests() -> None:
    found = hcl2.loads((DEPLOY / "aws" / "main.tf").read_text())
    account = manifests()["ServiceAccount"]["metadata"]
    who = block(found, "variable", "service_account")["default"].strip('"')
    assert who.endswith(f":{account['name']}")
    role = account["annotations"]["eks.amazonaws.com/role-arn"]
    name = block(found, "resource", "aws_iam_role", "consumer")["name"].strip('"')
    assert re.fullmatch(rf"arn:aws:iam::\d{{12}}:role/{name}", role)
