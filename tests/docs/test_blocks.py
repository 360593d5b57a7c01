"""Each fenced block of each page of the repository is of a kind that something checks; another kind fails.

A manifest goes through the validation of its kind, values through the chart's schema, a part of a fleet
through the fleet's; queries ask for series that are exposed; commands have the options that they are given,
and what a command of ours prints is compared with the page (the files that it names are the page's own blocks
with that title). Nothing is asked of a cluster. `tests/docs/blocks` has the kinds, one module each.
"""

import json
import sys
from pathlib import Path

import pytest

from tests.docs.blocks import code, objects, outputs, queries, shell, texts
from tests.docs.blocks.objects import API
from tests.docs.blocks.reading import BLOCK, DOCS, ROOT, Block, blocks, name, pages, spoken
from tests.docs.blocks.shell import commands

# What other tests of pages take from here.
__all__ = ["API", "BLOCK", "DOCS", "GLOBAL", "OPTIONS", "ROOT", "blocks", "commands"]

# Pages to follow step by step: what is typed is told from what is printed, so no `sh`, `text` or `python`.
GUIDES = ("overnight", "schedules", "migrate", "gpu", "quantized", "keys-and-limits", "air-gapped", "gitops")
OWN = ["README.md", "start.md", "limits.md", "concepts/*.md", *(f"guides/{name}.md" for name in GUIDES)]
OPERATIONS = ("failure-modes", "release", "security", "sizing", "uninstall", "upgrade")
OWN += [f"operations/{name}.md" for name in OPERATIONS]
PAGES = pages()
STRICT = {page for pattern in OWN for page in DOCS.glob(pattern)}
PLAIN = {"yaml", "json", "promql", "console"}

GLOBAL = {"-n", "--namespace", "--context", "--kubeconfig"}
OPTIONS = {  # of the commands that a page may show; tests/charts/test_documented.py asks the real ones
    "kubectl apply": {"-f", "--field-manager", "--server-side"},
    "kubectl annotate": {"--overwrite", "-l", "--all", "--all-namespaces"},
    "kubectl auth can-i": {"--as", "-A"},
    "kubectl create namespace": set(),
    "kubectl create secret docker-registry": {"--docker-server", "--docker-username", "--docker-password"},
    "kubectl create secret generic": {"--from-file", "--from-literal", "--dry-run", "-o"},
    "kubectl delete": {"-f", "--all", "--all-namespaces", "-A"},
    "kubectl describe": set(),
    "kubectl explain": {"--recursive"},
    "kubectl get": {"-o", "-w", "--watch", "-A", "-l", "-f", "--field-selector"},
    "kubectl logs": {"-l", "-c", "--tail", "--previous", "-f"},
    "kubectl patch": {"--type", "-p", "--patch-file"},
    "kubectl port-forward": set(),
    "kubectl rollout status": {"--timeout"},
    "kubectl run": {"--rm", "-i", "-it", "--image", "--restart", "--command"},
    "kubectl rollout restart": set(),
    "kubectl scale": {"--replicas"},
    "kubectl top pods": {"-l"},
    "kubectl wait": {"--for", "--timeout"},
    "helm history": set(),
    "helm install": {"--create-namespace", "--set", "--version", "--wait", "-f", "--values"},
    "helm rollback": {"--wait"},
    "helm test": set(),
    "helm uninstall": set(),
    "helm upgrade": {
        "--install",
        "--reuse-values",
        "--set",
        "--take-ownership",
        "--timeout",
        "--wait",
        "-f",
        "--values",
    },
}
OTHERS = ("kill", "cat", "sleep", "echo", "cd", "export")  # what they do is plain
KNOWN = {"": GLOBAL, **OPTIONS, **{name: set() for name in OTHERS}}


def check(block: Block, before: Block | None) -> None:
    """Check a block by its kind; `before` is the one above it."""
    match block.language:
        case "yaml":
            objects.check_yaml(block.text)
        case "json" if not block.title:  # a file is checked by the command that reads it
            objects.check_json(block.text)
        case "json":
            json.loads(block.text)
        case "promql":
            queries.check(block.text)
        case "python":
            code.check(block.text)
        case "sh" | "bash":
            shell.check(block.text, KNOWN)
        case "text":
            texts.check(block, before, KNOWN)
        case "console":
            for command, printed in commands(block.text):
                shell.check(command, KNOWN)
                if printed:
                    outputs.check(command, printed)
        case other:
            raise AssertionError(f"nobody checks a block of the kind {other!r}")


def check_page(page: Path) -> None:
    """Check every block of a page; those with a file's name are written into the present folder."""
    found = blocks(page)
    for block, before in zip(found, [None, *found], strict=False):
        assert page not in STRICT or block.language in PLAIN, (
            f"line {block.line}: {block.language} in a guide"
        )
        if block.title and "/" not in block.title:
            Path(block.title).write_text(block.text)
        try:
            check(block, before)
        except Exception as error:
            error.add_note(f"{page.name}, line {block.line}: {block.text[:60]!r}")
            raise


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_each_block_is_checked(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    check_page(page)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_each_command_that_a_sentence_names_exists(page: Path) -> None:
    for command in spoken(page):
        texts.check_usage(command, KNOWN)


def test_no_page_and_no_block_is_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    """The count, for the record: fences are counted apart from how blocks are found."""
    fences = sum(line.lstrip().startswith("```") for page in PAGES for line in page.read_text().splitlines())
    found = sum(len(blocks(page)) for page in PAGES)
    with capsys.disabled():
        sys.stdout.write(f" {found} of {fences // 2} blocks on {len(PAGES)} pages ")
    assert found == fences / 2
    assert found > 120
    assert all(any(DOCS.glob(pattern)) for pattern in OWN)


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("kubectl get isvc --colour", "has no"),
        ("kubectl expose isvc", "not among"),
        ("helm install torpor charts/torpor --set gateway.replicas=3", "replicas"),
        ("torpor explain llm --colour", "No such option"),
        ('kubectl patch isvc a --type merge -p \'{"spec": {"scaling": {"minimum": 1}}}\'', "minimum"),
        ("kubectl get isvc a -o jsonpath='{.status.colour}'", "has no .status.colour"),
        ("rm -rf x", "nobody checks"),
        ("curl -d '{\"model\": }' http://a", "Expecting value"),
        ("curl http://a/v1/chat", "nothing of ours serves"),
        ("python bench/gateway.py --colour", "has no"),
        ("python bench/nothing.py", "there is no"),
        ("make nothing", "no target"),
        ("pip install 'torpor[nothing]'", "no extra"),
        ("torpor-sim llm --colour 1", "has no"),
        ("torpor-gateway --colour", "has no"),
    ],
)
def test_a_command_that_does_not_exist_is_refused(command: str, said: str) -> None:
    with pytest.raises(Exception, match=said):
        shell.check(command, KNOWN)


def test_expressions_are_told_apart() -> None:
    text = "# one\nsum(up)\n  / count(up)\n# two, three\nmax(up)\nmin by (job) (\n  up\n)\n\nup\n"
    found = ["".join(one.split()) for one in queries.expressions(text)]
    assert found == ["sum(up)/count(up)", "max(up)", "minby(job)(up)", "up"]


@pytest.mark.parametrize(
    ("page", "right", "wrong"),
    [
        ("guides/backtest.md", "within objectives        delayed", "within the goals         delayed"),
        ("guides/backtest.md", "are 15 s apart: bursts shorter", "are 15 s apart: waves shorter"),
        ("guides/backtest.md", "sleeps-after-900s         237.48", "sleeps-after-900s        237.480"),
        ("guides/backtest.md", "the week:", "the month:"),
        ("guides/size.md", "weights   70.6 billion x 1 bytes", "weights   70.6 billion x 2 bytes"),
        ("reference/decisions.md", "So the signals leave it at 5", "So it is 5"),
        ("reference/keys.md", "to be handed over", "to be handed out"),
        ("reference/saved.md", '"peakReplicas":3', '"peak":3'),
        ("reference/saved.md", "87.5%", "87.4%"),
    ],
)
def test_another_output_is_refused(
    page: str, right: str, wrong: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    text = (DOCS / page).read_text()
    assert right in text
    (tmp_path / "page.md").write_text(text.replace(right, wrong))
    with pytest.raises(AssertionError):
        check_page(tmp_path / "page.md")


@pytest.mark.parametrize(
    "broken",
    [
        Block(
            "yaml", "", "{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {containers: [{port: 1}]}}", 1
        ),
        Block("yaml", "", "scaling: {minReplica: 1}", 1),
        Block("yaml", "", "gateway: {replicas: 2}", 1),
        Block("yaml", "", "keys: {a: {sha: x}}", 1),
        Block(
            "yaml",
            "",
            "{apiVersion: a.b/v1, kind: Release, metadata: {name: a}, spec: {values: {gatway: {}}}}",
            1,
        ),
        Block("json", "", "{", 1),
        Block("json", "", '{"saved": {"colour": 1}}', 1),
        Block("json", "", '{"error": {"colour": 1}}', 1),
        Block("promql", "", "sum(torpor_fleet_colour)", 1),
        Block("promql", "", "sum(", 1),
        Block("python", "", "from torpor.decide import colour", 1),
        Block("sh", "", "kubectl get isvc --colour", 1),
        Block("text", "", "torpor explain [--colour]", 1),
        Block("text", "", "a ──▶ PodColour", 1),
        Block("text", "bench/backtest.py", "the month: 3 requests", 1),
        Block("console", "", "$ torpor version\n0\n", 1),
        Block("console", "", "$ kubectl get pods\nNAME\n", 1),
        Block("", "", "x", 1),
    ],
    ids=lambda block: f"{block.language}-{block.text[:24]}",
)
def test_a_broken_block_is_refused(broken: Block) -> None:
    with pytest.raises(Exception):  # noqa: B017, PT011 - each kind has its own
        check(broken, None)
