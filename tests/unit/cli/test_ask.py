"""`torpor wake`, `sleep`, `restart`: what is written, when nobody is asked, and what stands in the way."""

import json
from datetime import UTC, datetime

import pytest
from torpor.api import constants as c
from torpor.cli.app import app
from torpor.cli.ask import obstacles
from torpor.decide.requests import read
from typer.testing import CliRunner

from tests.unit.cli.answers import PATH, not_found
from tests.unit.control.test_status import status
from tests.unit.control.worlds import fleet, world

RUN = CliRunner()
AT = "2026-11-22T20:00:00Z"


def run(*args, **more):
    result = RUN.invoke(app, list(args), **more)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, " ".join(result.output.split())


@pytest.fixture
def raw():
    return fleet(status=status(world()))


@pytest.mark.parametrize("verb", ["wake", "sleep", "restart"])
def test_one_annotation_is_written_and_nothing_else(verb, cluster, raw):
    config = cluster({f"{PATH}/llm": (200, raw)})
    code, told = run(
        verb, "llm", "-n", "team", "--yes", "--at", "2026-11-22T21:00:00+01:00", "--kubeconfig", config
    )
    assert code == 0
    key = f"serving.torpor.dev/{verb}-at"
    ((path, body),) = cluster.written
    assert body == {"metadata": {"annotations": {key: AT}}}
    assert path == f"{PATH}/llm?fieldManager=torpor-cli"
    assert f"{verb} of team/llm at {AT}: asked for" in told


def test_now_is_a_time_that_the_operator_reads_and_never_the_one_that_is_there(cluster, raw):
    config = cluster({f"{PATH}/llm": (200, raw)})
    before = datetime.now(UTC).timestamp()
    assert run("wake", "llm", "-n", "team", "-y", "--kubeconfig", config)[0] == 0
    first = cluster.written[0][1]["metadata"]["annotations"][c.ANNOTATION_WAKE_AT]
    assert read("wake", first).at >= int(before)
    raw["metadata"]["annotations"] = {c.ANNOTATION_WAKE_AT: first}
    assert run("wake", "llm", "-n", "team", "-y", "--kubeconfig", config)[0] == 0
    assert cluster.written[1][1]["metadata"]["annotations"][c.ANNOTATION_WAKE_AT] != first


def test_without_a_yes_nothing_is_written(cluster, raw):
    config = cluster({f"{PATH}/llm": (200, raw)})
    code, told = run("sleep", "llm", "-n", "team", "--kubeconfig", config)
    assert (code, cluster.written) == (2, [])
    assert "nothing was written; say --yes, or run it at a terminal" in told


@pytest.mark.parametrize(("answer", "code", "writes"), [("y\n", 0, 1), ("n\n", 1, 0), ("\n", 1, 0)])
def test_a_person_is_asked(answer, code, writes, cluster, raw, monkeypatch):  # noqa: PLR0917
    config = cluster({f"{PATH}/llm": (200, raw)})
    monkeypatch.setattr("torpor.cli.manners._at_terminal", lambda: True)
    found, told = run("sleep", "llm", "-n", "team", "--kubeconfig", config, input=answer)
    assert (found, len(cluster.written)) == (code, writes)
    assert "sleep team/llm at 20" in told


@pytest.mark.parametrize("at", ["now", "20:00", "2026-11-22", "2026-11-22T20:00:00", "2026-13-01T00:00:00Z"])
def test_a_time_without_a_zone_is_none(at, cluster):
    code, told = run("wake", "llm", "--at", at, "--yes", "--kubeconfig", cluster({}))
    assert (code, "must be an RFC 3339 time with its zone; write it like 2026-11-22T20:00:00Z" in told) == (
        2,
        True,
    )


@pytest.mark.parametrize(
    ("answer", "code", "words"),
    [
        (not_found("llm"), 1, "there is no InferenceService llm in namespace team"),
        (
            (403, {"message": "you may not"}),
            3,
            "refuses to show team/llm: you may not; ask its administrator",
        ),
    ],
)
def test_what_goes_wrong_is_a_sentence(answer, code, words, cluster):
    found, told = run("wake", "llm", "-n", "team", "--yes", "--kubeconfig", cluster({f"{PATH}/llm": answer}))
    assert (found, words in told) == (code, True), told


def test_a_refused_write_names_the_right(cluster, raw):
    def answer(sent):
        return (200, raw) if sent is None else (403, {"message": "cannot patch resource"})

    code, told = run("wake", "llm", "-n", "team", "--yes", "--kubeconfig", cluster({f"{PATH}/llm": answer}))
    assert (code, "refuses to annotate team/llm: cannot patch resource" in told) == (3, True)


def test_waiting_ends_with_the_operators_word(cluster, raw):
    def answer(sent):
        if sent is not None:
            (value,) = sent["metadata"]["annotations"].values()
            raw["status"]["requests"] = [
                {"name": "sleep", "value": value, "state": c.STATE_REFUSED, "message": "minReplicas is 1"}
            ]
        return 200, raw

    config = cluster({f"{PATH}/llm": answer})
    code, told = run("sleep", "llm", "-n", "team", "-y", "--wait", "-o", "json", "--kubeconfig", config)
    found = json.loads(told)
    assert (code, found["state"], found["message"]) == (1, "Refused", "minReplicas is 1")


def test_waiting_for_nobody_ends_too(cluster, raw, monkeypatch):
    monkeypatch.setattr("torpor.cli.ask.POLL_SECONDS", 0.01)
    config = cluster({f"{PATH}/llm": (200, raw)})
    code, told = run("sleep", "llm", "-n", "team", "-y", "--wait", "--timeout", "1", "--kubeconfig", config)
    assert (code, "no word of the operator within 1 s; is it running" in told) == (0, True)


@pytest.mark.parametrize(
    ("verb", "scaling", "active", "words"),
    [
        ("sleep", {"minReplicas": 2}, {}, "at least 2 replicas"),
        ("sleep", {}, {"minReplicas": 1}, "at least 1 replicas"),
        ("wake", {"replicas": 0}, {}, "spec.scaling.replicas is 0 and decides"),
        ("wake", {"mode": "Paused"}, {}, "set it to Auto first"),
        (
            "wake",
            {"schedule": {"whenClosed": "Reject"}},
            {"maxReplicas": 0},
            "whenClosed: Reject, so it will be",
        ),
        ("wake", {"schedule": {}}, {"maxReplicas": 0}, "it wakes as for a request"),
    ],
)
def test_what_stands_in_the_way_is_said_before(verb, scaling, active, words):
    found = {"spec": {"scaling": scaling}, "status": {"replicas": 0, "schedule": {"active": active}}}
    assert words in " ".join(obstacles(verb, found))
    assert not list(obstacles("restart", found))


def test_a_fleet_that_nobody_looks_at_is_said():
    assert "no operator has looked at it yet" in " ".join(obstacles("restart", {}))
