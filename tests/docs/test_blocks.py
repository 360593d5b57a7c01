"""Each fenced block of the site's own pages is of a kind that something here checks; another kind fails.

A manifest goes through the validation of its kind, values through the chart's schema, a part of a fleet
through the fleet's. What a `torpor` command of a page prints without a cluster is compared with the page: the
files that it names are the page's own blocks with that title. Nothing is asked of a cluster; `kubectl` and
`helm` commands are read by their options.
"""

import json
import re
import shlex
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import promql_parser
import pytest
import typer
import yaml
from torpor.api import constants, validation
from torpor.cli.app import app
from torpor_gateway.keys import read_document
from typer.testing import CliRunner

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
GUIDES = ("overnight", "schedules", "migrate")
OWN = ["README.md", "start.md", "limits.md", "concepts/*.md", *(f"guides/{name}.md" for name in GUIDES)]
OPERATIONS = ("failure-modes", "upgrade", "sizing", "security")
OWN += [f"operations/{name}.md" for name in OPERATIONS]
PAGES = sorted(page for pattern in OWN for page in DOCS.glob(pattern))
BLOCK = re.compile(r'^( *)```(\w*)(?: title="([^"]+)")?\n(.*?)^\1```$', re.DOTALL | re.MULTILINE)
HERE_DOCUMENT = re.compile(r"<<'(\w+)'\n(.*?)\n\1$", re.DOTALL | re.MULTILINE)
SCHEMA = json.loads((ROOT / "charts/torpor/values.schema.json").read_text())

API = f"{constants.GROUP}/v1alpha1"
OF_SPEC = {"model", "engine", "scaling", "traffic", "rollout", "drainSeconds"}
OF_CHART = {"metricsNamespaces", "imagePullSecrets"}  # the chart has an `engine` too

GLOBAL = {"-n", "--namespace", "--context", "--kubeconfig"}
OPTIONS = {  # of the commands that a page may show; tests/charts/test_documented.py asks the real ones
    "kubectl apply": {"-f", "--server-side"},
    "kubectl annotate": {"--overwrite", "-l"},
    "kubectl create secret generic": {"--from-file", "--from-literal"},
    "kubectl delete": {"-f", "--all", "--all-namespaces", "-A"},
    "kubectl describe": set(),
    "kubectl explain": {"--recursive"},
    "kubectl get": {"-o", "-w", "--watch", "-A", "-l", "-f"},
    "kubectl logs": {"--previous", "--tail", "-c", "-l"},
    "kubectl patch": {"--type", "-p"},
    "kubectl port-forward": set(),
    "kubectl rollout status": {"--timeout"},
    "kubectl run": {"--rm", "-i", "-it", "--image", "--restart", "--command"},
    "kubectl scale": {"--replicas"},
    "kubectl wait": {"--for", "--timeout"},
    "helm history": set(),
    "helm install": {"--create-namespace", "--set", "--wait", "-f", "--values"},
    "helm rollback": {"--wait"},
    "helm test": set(),
    "helm uninstall": set(),
    "helm upgrade": {"--install", "--reuse-values", "--set", "--wait", "-f", "--values"},
}
OTHERS = {"curl", "pip", "make", "torpor-gateway", "kill"}


@dataclass(frozen=True)
class Block:
    language: str
    title: str
    text: str


def blocks(page: Path) -> list[Block]:
    text = page.read_text()
    found = [Block(lang, title, body) for _, lang, title, body in BLOCK.findall(text)]
    assert text.count("```") == 2 * len(found), f"{page.name}: a fence that is no block"
    return found


def commands(text: str) -> list[tuple[str, str]]:
    """Return each command of a console block with what it prints; it goes on while its line is not whole."""
    found: list[tuple[str, str]] = []
    command: str | None = None
    for line in text.splitlines():
        if command is not None:
            command += "\n" + line
        elif line.startswith("$ "):
            command = line[2:]
        else:
            assert found, f"output before any command: {line}"
            found[-1] = (found[-1][0], found[-1][1] + line + "\n")
            continue
        if whole(command):
            found.append((command, ""))
            command = None
    assert command is None, f"a command without an end: {command}"
    return found


def whole(command: str) -> bool:
    if command.endswith("\\") or ("<<" in command and not HERE_DOCUMENT.search(command)):
        return False
    try:
        shlex.split(command, comments=True)
    except ValueError:
        return False
    return True


def check_yaml(text: str) -> None:
    for item in yaml.safe_load_all(text):
        assert isinstance(item, dict), "no mapping"
        if "kind" not in item:
            check_part(item)
        elif item["kind"] == constants.KIND and str(item["apiVersion"]).startswith(f"{constants.GROUP}/"):
            assert [*validation.unknown_fields(item), *validation.check(item).problems] == []
        else:
            kubernetes_validate.validate(item, "1.35", strict=True)


def check_part(item: dict[str, Any]) -> None:
    """Check values of the chart, a part of a fleet's spec, or a file of API keys; their keys tell which."""
    if set(item) == {"keys"}:
        read_document(yaml.safe_dump(item))
    elif item and set(item) <= OF_SPEC and not set(item.get("engine", {})) & OF_CHART:
        spec = {"model": {"uri": "hf://a/b"}, **item}
        fleet = {"apiVersion": API, "kind": constants.KIND, "metadata": {"name": "a"}, "spec": spec}
        assert [*validation.unknown_fields(fleet), *validation.check(fleet).problems] == []
    else:
        jsonschema.validate(item, SCHEMA)


def check_shell(text: str, page: Path) -> None:
    subprocess.run(["bash", "-n"], input=text, text=True, check=True, capture_output=True)
    for _, document in HERE_DOCUMENT.findall(text):
        check_yaml(document)
    plain = HERE_DOCUMENT.sub("", text).replace("\\\n", " ")
    for line in shlex_lines(plain):
        check_command(line, page)


def shlex_lines(text: str) -> list[list[str]]:
    """Return the words of each command; `&&`, `|`, `&`, `;` and a line's end part commands."""
    lexer = shlex.shlex(text, posix=True, punctuation_chars=";|&\n")
    lexer.whitespace, lexer.whitespace_split, lexer.commenters = " \t", True, "#"
    found: list[list[str]] = [[]]
    for word in lexer:
        if word and set(word) <= set(";|&\n"):
            found.append([])
        else:
            found[-1].append(word)
    return [words for words in found if words]


def check_command(words: list[str], page: Path) -> None:
    name = words[0]
    if name == "torpor":
        command = typer.main.get_command(app)
        with command.make_context("torpor", list(words[1:])) as context:
            _, chosen, rest = command.resolve_command(context, list(words[1:]))  # type: ignore[attr-defined]
            chosen.make_context(chosen.name, rest, parent=context).close()
    elif name in ("kubectl", "helm"):
        known = max((key for key in OPTIONS if " ".join(words).startswith(key)), key=len, default=None)
        assert known, f"{page.name}: {' '.join(words[:3])} is not among the commands that pages may show"
        given = {word.partition("=")[0] for word in words if word.startswith("-") and word not in ("-", "--")}
        if "--" in words:
            given = {word.partition("=")[0] for word in words[: words.index("--")] if word.startswith("-")}
        assert given <= OPTIONS[known] | GLOBAL, (
            f"{page.name}: {known} has no {given - OPTIONS[known] - GLOBAL}"
        )
        if name == "helm":
            check_values(words)
        for place, word in enumerate(words[:-1]):
            if word == "-p":
                check_part(json.loads(words[place + 1])["spec"])
    else:
        assert name in OTHERS, f"{page.name}: nobody checks the command {name}"
        for place, word in enumerate(words[:-1]):
            if name == "curl" and word == "-d":
                json.loads(words[place + 1])


def check_values(words: list[str]) -> None:
    for place, word in enumerate(words[:-1]):
        if word == "--set":
            path, _, value = words[place + 1].partition("=")
            values: Any = yaml.safe_load(value)
            for key in reversed(path.split(".")):
                values = {key: values}
            jsonschema.validate(values, SCHEMA)


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(DOCS)))
def test_each_block_is_checked(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for block in blocks(page):
        if block.title:
            (tmp_path / block.title).write_text(block.text)
        match block.language:
            case "yaml":
                check_yaml(block.text)
            case "json":
                json.loads(block.text)
            case "promql":
                promql_parser.parse(block.text)
            case "console":
                for command, printed in commands(block.text):
                    check_shell(command, page)
                    if printed:
                        check_output(command, printed)
            case other:
                pytest.fail(f"nobody checks a block of the kind {other!r}: {block.text[:60]!r}")


def check_output(command: str, printed: str) -> None:
    """Run a `torpor` command that needs no cluster and compare; no other command may show output."""
    words = shlex.split(command)
    assert words[:2] in (["torpor", "validate"], ["torpor", "version"]), (
        f"nobody checks what {command} prints"
    )
    assert CliRunner().invoke(app, words[1:]).output == printed


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("kubectl get isvc --colour", "has no"),
        ("kubectl expose isvc", "not among"),
        ("helm install torpor charts/torpor --set gateway.replicas=3", "replicas"),
        ("torpor explain llm --colour", "No such option"),
        ('kubectl patch isvc a --type merge -p \'{"spec": {"scaling": {"minimum": 1}}}\'', "minimum"),
        ("rm -rf x", "nobody checks"),
        ("curl -d '{\"model\": }' http://a", "Expecting value"),
    ],
)
def test_a_command_that_does_not_exist_is_refused(command: str, said: str) -> None:
    with pytest.raises(Exception, match=said):
        check_shell(command, DOCS / "README.md")


def test_manifests_are_validated() -> None:
    pod = "{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {containers: [{name: a, port: 1}]}}"
    for broken in (pod, "scaling: {minReplica: 1}", "gateway: {replicas: 2}", "keys: {a: {sha: x}}"):
        with pytest.raises(Exception):  # noqa: B017, PT011 - each validation has its own
            check_yaml(broken)
