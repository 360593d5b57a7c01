"""`torpor logs`: the cold start in a log, whatever else is in it, and what is said where there is none."""

import json

import pytest
from torpor.cli.app import app
from torpor.cli.logs import beginning
from typer.testing import CliRunner

from tests.unit.cli.answers import PATH, not_found
from tests.unit.control.worlds import fleet

RUN = CliRunner()
PODS = "/api/v1/namespaces/team/pods"
LOG = """[torpor] starting: vllm serve m
INFO loading\x1b[31m weights
[torpor] ready: preflight 0.12 s, engine_start 20.50 s, load_weights 8.25 s, warmup 0.40 s, total 21.02 s
INFO request 1
"""


def run(*args):
    result = RUN.invoke(app, ["logs", *args])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output


def pod(name, created):
    return {"metadata": {"name": name, "creationTimestamp": created}}


def test_the_log_ends_where_the_engine_is_ready():
    told = beginning("llm-0", LOG)
    assert told["ready"]
    assert [phase["name"] for phase in told["phases"]] == [
        "preflight",
        "engine_start",
        "load_weights",
        "warmup",
        "total",
    ]
    assert told["phases"][1]["seconds"] == 20.5
    assert len(told["lines"]) == 3
    assert "\x1b" not in "".join(told["lines"])
    assert len(beginning("llm-0", LOG, launcher=True)["lines"]) == 2
    assert beginning("llm-0", "[torpor] starting\n")["phases"] == []


def test_the_newest_pod_is_read(cluster):
    pods = {"items": [pod("llm-old", "2026-11-21T10:00:00Z"), pod("llm-new", "2026-11-21T11:00:00Z")]}
    config = cluster({f"{PATH}/llm": (200, fleet()), PODS: (200, pods), f"{PODS}/llm-new/log": (200, LOG)})
    code, told = run("llm", "-n", "team", "--kubeconfig", config)
    assert code == 0
    assert "load_weights  8.25" in told
    assert "request 1" not in told
    code, told = run("llm", "-n", "team", "-o", "json", "--kubeconfig", config)
    assert (code, json.loads(told)["pod"]) == (0, "llm-new")


def test_following_ends_when_the_engine_is_ready(cluster, monkeypatch):
    monkeypatch.setattr("torpor.cli.logs.POLL_SECONDS", 0.01)
    waits = (400, {"reason": "BadRequest", "message": 'container "engine" in pod "p" is waiting to start'})
    answers = iter([waits, (200, "[torpor] starting: vllm\n"), (200, LOG)])
    config = cluster({f"{PODS}/p/log": lambda _: next(answers)})
    code, told = run("llm", "-p", "p", "-n", "team", "-f", "--kubeconfig", config)
    assert (code, told.count("[torpor] starting"), "PHASE" in told) == (0, 1, True)


@pytest.mark.parametrize(
    ("answers", "code", "words"),
    [
        ({f"{PATH}/llm": not_found("llm")}, 1, "there is no InferenceService llm"),
        ({f"{PATH}/llm": (200, fleet()), PODS: (200, {"items": []})}, 1, "team/llm has no pod: it sleeps"),
        (
            {f"{PATH}/llm": (200, fleet()), PODS: (403, {"message": "no"})},
            3,
            "refuses to list the pods of team/llm: no; ask its administrator",
        ),
        (
            {
                f"{PATH}/llm": (200, fleet()),
                PODS: (200, {"items": [pod("p", "x")]}),
                f"{PODS}/p/log": (404, {"reason": "NotFound", "message": 'pods "p" not found'}),
            },
            1,
            'cannot read the log of team/p: pods "p" not found',
        ),
    ],
)
def test_what_goes_wrong_is_a_sentence(answers, code, words, cluster):
    found, told = run("llm", "-n", "team", "--kubeconfig", cluster(answers))
    assert (found, words in " ".join(told.split())) == (code, True), told
