"""`torpor explain`: saved objects, a cluster that answers as told, and errors that say what to do."""

import json
from pathlib import Path

import pytest
import yaml
from torpor.cli.app import app
from typer.testing import CliRunner

from tests.unit.cli.answers import PATH, not_found
from tests.unit.control.test_status import status
from tests.unit.control.worlds import fleet, world

RUN = CliRunner()


def explain(*args, **more):
    result = RUN.invoke(app, ["explain", *args], **more)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, " ".join(result.output.split())


@pytest.fixture
def raw():
    return fleet(status=status(world()))


def test_a_saved_object_needs_no_cluster(raw, tmp_path, clean):
    path = tmp_path / "isvc.yaml"
    path.write_text(yaml.safe_dump(raw), encoding="utf-8")
    assert explain("-f", str(path))[1].startswith("team/llm 0 replicas wanted")
    assert explain("llm", "-n", "team", "-f", str(path))[0] == 0
    code, told = explain("-f", "-", input=json.dumps({"kind": "List", "items": [raw, {"kind": "Pod"}]}))
    assert (code, "Why 0" in told) == (0, True)


def test_json_is_the_structure(raw, clean):
    result = RUN.invoke(app, ["explain", "-f", "-", "-o", "json"], input=json.dumps(raw))
    document = json.loads(result.output)
    assert document["decision"] == raw["status"]["decision"]
    assert document["sentences"][0]["title"] == "team/llm"


@pytest.mark.parametrize(
    ("args", "text", "code", "words"),
    [
        ([], None, 2, "NAME or -f FILE is needed; torpor status -A lists the names"),
        (["llm", "-o", "wide"], None, 2, 'wide": must be table, json or yaml; choose one of them'),
        (["llm"], None, 3, "there is no kubeconfig at ~/.kube/config; name another with --kubeconfig and"),
        (["llm"], None, 3, "or explain a saved object with -f"),
        (["llm", "--kubeconfig", "/nowhere"], None, 3, "there is no kubeconfig at /nowhere"),
        (["-f", "/nowhere"], None, 2, "/nowhere: cannot be read"),
        (["-f", "-"], "a: [", 2, "-: cannot be read"),
        (["-f", "-"], "", 1, "-: holds 0 objects of kind InferenceService; name one of those in it: none"),
        (
            ["other", "-f", "-"],
            None,
            1,
            "holds 0 objects of kind InferenceService named other; name one of those",
        ),
        (["-f", "-"], "kind: InferenceService", 1, "no InferenceService with a name"),
        (["-f", "-"], yaml.safe_dump(fleet()), 1, "team/llm has no status yet"),
    ],
)
@pytest.mark.usefixtures("clean")
def test_what_cannot_be_explained(args, text, code, words):
    saved = yaml.safe_dump(fleet(status=status(world()))) if text is None else text
    found, told = explain(*args, input=saved)
    assert found == code
    assert told.startswith("torpor explain: ")
    assert words in told


def test_a_live_object_is_read_where_the_context_says(cluster, raw):
    config = cluster({f"{PATH}/llm": (200, raw)}, namespace="team")
    code, told = explain("llm", "--kubeconfig", config)
    assert (code, told.startswith("team/llm 0 replicas wanted")) == (0, True), told
    assert explain("llm", "-n", "team", "--kubeconfig", config, "--context", "now")[0] == 0


@pytest.mark.parametrize(
    ("answers", "args", "code", "words"),
    [
        (
            {f"{PATH}/lmm": not_found("lmm"), PATH: (200, {"items": [fleet()]})},
            ["lmm", "-n", "team"],
            1,
            "is no InferenceService lmm in namespace team; there is llm; name another namespace with -n",
        ),
        (
            {f"{PATH}/lmm": not_found("lmm")},
            ["lmm", "-n", "team"],
            1,
            "there is no InferenceService lmm in namespace team; name another with -n",
        ),
        (
            {},
            ["page", "-n", "team"],
            3,
            "knows no InferenceService of serving.torpor.dev; is Torpor installed",
        ),
        (
            {"/apis/serving.torpor.dev": (200, {"versions": [{"version": "v1"}, {"version": "v2"}]})},
            ["page", "-n", "team"],
            3,
            "serves serving.torpor.dev as v1, v2, and this torpor speaks v1alpha1; install the torpor of",
        ),
        (
            {f"{PATH}/llm": (401, {"reason": "Unauthorized", "message": "Unauthorized"})},
            ["llm", "-n", "team"],
            3,
            "does not accept the login of this context (Unauthorized); log in again",
        ),
        ({f"{PATH}/llm": (500, "boom")}, ["llm", "-n", "team"], 1, "refuses to show team/llm: boom"),
        (
            {f"{PATH}/llm": (403, {"reason": "Forbidden", "message": "you cannot get it"})},
            ["llm", "-n", "team"],
            3,
            "refuses to show team/llm: you cannot get it; ask its administrator for that right",
        ),
        ({f"{PATH}/llm": (200, fleet())}, ["llm", "-n", "team"], 1, "team/llm has no status yet"),
        ({}, ["llm", "--context", "other"], 3, 'has no context "other"; name one with --context: now'),
    ],
)
def test_what_a_cluster_does_not_give(answers, args, code, words, cluster):
    found, told = explain(*args, "--kubeconfig", cluster(answers))
    assert found == code
    assert words in told


def test_a_cluster_that_is_down(cluster, raw):
    config = cluster({})
    document = yaml.safe_load(Path(config).read_text(encoding="utf-8"))
    document["clusters"][0]["cluster"]["server"] = "http://127.0.0.1:1"
    Path(config).write_text(yaml.safe_dump(document), encoding="utf-8")
    code, told = explain("llm", "--kubeconfig", config)
    assert code == 3
    assert "http://127.0.0.1:1 does not answer" in told
    assert "is the cluster up?" in told
