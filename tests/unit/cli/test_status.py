"""`torpor status`: lines and pages from objects of every state of repair, and rates from gateways."""

import copy
import json
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torpor.cli import live
from torpor.cli.app import app
from torpor.cli.overview import detail, overview, table
from typer.testing import CliRunner

from tests.unit.cli.answers import PATH, Server, not_found
from tests.unit.control.test_status import status
from tests.unit.control.worlds import NOW, demand, fleet, pod, report, world

RUN = CliRunner()
ALL = "/apis/serving.torpor.dev/v1alpha1/inferenceservices"
PODS = "/api/v1/pods"
METRICS = "/api/v1/namespaces/torpor-system/pods/gw-0:9090/proxy/metrics"
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def run(*args, **more):
    result = RUN.invoke(app, ["status", *args], **more)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output


@pytest.fixture
def awake():
    pods = (pod("llm-0", ready=True),)
    seen = demand(pods={"llm-0": report(waitingCapacity=3, kvUtilization=0.42)})
    raw = fleet(status=status(world(fleet(), replicas=1, pods=pods, seen=seen)))
    raw["status"]["schedule"] = {
        "active": {"name": "office"},
        "next": {"time": "2026-11-21T20:00:00Z", "name": "outside"},
    }
    hour_ago = (NOW - timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    raw["status"]["saved"] = {
        "since": hour_ago,
        "asOf": hour_ago,
        "gpuSecondsUsed": 1800,
        "gpuSecondsAsleep": 0,
        "gpuSecondsSaved": {"max": 3600, "peak": 0},
        "peakReplicas": 2,
        "gpus": {"used": 1, "asleep": 0, "max": 2, "peak": 1},
        "pricePerGpuHour": "2.5",
    }
    return raw


def test_a_line_has_what_the_object_says(awake):
    line = overview(awake, NOW, {("team", "llm"): 123.4})
    assert (line["state"], line["ready"], line["replicas"]["ready"]) == ("Serving", "True", 1)
    assert (line["queuePerReplica"], line["kvPercent"]) == (3.0, 42.0)
    head, row = table([line], NOW).splitlines()
    assert head.split() == [
        "NAMESPACE",
        "NAME",
        "STATE",
        "REPLICAS",
        "QUEUE",
        "KV",
        "TOKENS/S",
        "NEXT",
        "SAVED",
        "WHY",
    ]
    for cell in ("team", "llm", "Serving", "1/1", "3", "42%", "123", "outside", "2.0 GPU h", "Steady"):
        assert cell in row


def test_the_page_adds_the_interval_that_runs_and_says_it_in_money(awake):
    line = overview(awake, NOW)
    assert line["saved"]["gpuSecondsSaved"] == {"max": 7200, "peak": 0}
    assert line["saved"]["gpuSecondsUsed"] == 5400
    told = "2.0 GPU h = 5.00 at 2.5 an hour, 57% of always on at maxReplicas; 0.0 against the peak; 1.5 used"
    assert told in detail(line, awake, NOW)


def test_what_is_not_known_is_a_dash_and_a_bare_object_a_line():
    row = table([overview({"metadata": {"namespace": "a", "name": "b"}}, NOW)], NOW).splitlines()[1]
    assert row.split() == [
        "a",
        "b",
        "Unknown",
        "?/?",
        *["-"] * 5,
        *["no", "operator", "has", "looked", "at", "it", "yet"],
    ]


def test_a_fleet_in_trouble_and_one_that_is_watched_are_marked(awake):
    bad = copy.deepcopy(awake)
    bad["status"]["conditions"] = [{"type": "Ready", "status": "False", "reason": "WakeFailed"}]
    bad["status"]["decision"] |= {"mode": "Recommend", "recommendedReplicas": 3}
    row = table([overview(bad, NOW)], NOW).splitlines()[1]
    assert "WakeFailed! (Recommend)" in row
    assert "1/1 (3 rec.)" in row


def test_a_narrow_terminal_cuts_the_reason_alone(awake):
    lines = table([overview(awake, NOW)], NOW, width=90).splitlines()
    assert all(len(line) <= 90 for line in lines)
    assert lines[1].endswith(" …")


@given(ANYTHING, ANYTHING)
def test_nothing_in_an_object_breaks_the_page(value, other):
    raw = {"metadata": {"namespace": value, "name": other}, "spec": {"scaling": value}, "status": value}
    mangled = {
        "metadata": {"namespace": "a", "name": "b"},
        "status": dict.fromkeys(
            ("conditions", "decision", "schedule", "saved", "requests", "coldStart", "readyReplicas"), value
        )
        | {"decision": {"signals": [{"name": "queueDepth", "value": other}], "message": value}}
        | {"schedule": {"next": {"time": other, "name": value}}},
    }
    for item in (raw, mangled):
        line = overview(item, NOW)
        assert "\x1b" not in table([line], NOW)
        assert detail(line, item, NOW)
        json.dumps(line)


def test_fleets_are_listed_in_order_where_they_are_asked_for(cluster, awake):
    other = copy.deepcopy(awake)
    other["metadata"] |= {"name": "aaa"}
    config = cluster(
        {PATH: (200, {"items": [awake, other]}), ALL: (200, {"items": [awake]})}, namespace="team"
    )
    code, told = run("--kubeconfig", config)
    assert (code, [line.split()[1] for line in told.splitlines()]) == (0, ["NAME", "aaa", "llm"])
    code, told = run("-A", "-o", "json", "--kubeconfig", config)
    assert [line["name"] for line in json.loads(told)["fleets"]] == ["llm"]
    code, told = run("-A", "-o", "yaml", "--kubeconfig", config)
    assert (code, "name: llm" in told) == (0, True)


def test_no_fleets_is_said(cluster):
    code, told = run("--kubeconfig", cluster({PATH: (200, {"items": []})}, namespace="team"))
    assert (code, "there is no InferenceService in namespace team; -A shows all" in told) == (0, True)


def test_one_fleet_has_a_page(cluster, awake):
    awake["status"]["requests"] = [
        {"name": "wake", "value": "2026-11-21T11:00:00Z", "state": "Refused", "message": "it is Paused"}
    ]
    code, told = run("team/llm", "--kubeconfig", cluster({f"{PATH}/llm": (200, awake)}))
    assert code == 0
    for words in (
        "team/llm",
        "1/1 ready of wanted, 0 to 4 allowed",
        "Refused, it is Paused",
        "SpecValid",
        "42%",
    ):
        assert words in told


@pytest.mark.parametrize(
    ("args", "answers", "code", "words"),
    [
        (["llm", "-A"], {}, 2, "NAME and -A exclude each other"),
        (["-o", "wide"], {}, 2, "must be table, json or yaml"),
        (["--interval", "0", "-w"], {}, 2, "--interval"),
        (["lmm", "-n", "team"], {f"{PATH}/lmm": not_found("lmm")}, 1, "there is no InferenceService lmm"),
        (["-n", "team"], {}, 3, "is Torpor installed in this cluster?"),
        (
            ["-A"],
            {ALL: (403, {"message": "you cannot list"})},
            3,
            "refuses to list the fleets of all namespaces",
        ),
    ],
)
def test_what_goes_wrong_is_a_sentence(args, answers, code, words, cluster):
    found, told = run(*args, "--kubeconfig", cluster(answers))
    assert found == code
    assert words in " ".join(told.split())


def exposition(tokens):
    return (
        "# TYPE x counter\n"
        f'torpor_gateway_tokens_total{{kind="output",name="llm",namespace="team"}} {tokens}\n'
        'torpor_gateway_tokens_total{kind="prompt",name="llm",namespace="team"} 7.0\n'
        'torpor_gateway_tokens_total{kind="output",name="odd",namespace="team"} nonsense\n'
    )


def test_rates_are_read_through_the_servers_proxy(cluster, awake, monkeypatch):
    monkeypatch.setattr("torpor.cli.status.LIVE_SECONDS", 0.01)
    told = iter(range(100, 10_000, 100))
    metadata = {"namespace": "torpor-system", "name": "gw-0"}
    gateway = {"metadata": metadata, "status": {"phase": "Running"}}
    answers = {
        PODS: (200, {"items": [gateway]}),
        METRICS: lambda _: (200, exposition(next(told))),
        PATH: (200, {"items": [awake]}),
    }
    code, told = run("--live", "-n", "team", "-o", "json", "--kubeconfig", cluster(answers))
    assert (code, json.loads(told)["fleets"][0]["outputTokensPerSecond"] > 0) == (0, True)


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        (
            {PODS: (403, {"message": "pods is forbidden"})},
            "refuses to list the gateways' pods: pods is forbidden",
        ),
        ({PODS: (200, {"items": []})}, "no gateway pod runs"),
    ],
)
def test_who_may_not_read_rates_gets_the_rest(answers, words, cluster, awake):
    config = cluster(answers | {PATH: (200, {"items": [awake]})})
    code, told = run("--live", "-n", "team", "--kubeconfig", config)
    assert code == 0
    assert "note: no tokens per second: " in told
    assert words in told
    assert "Serving" in told


def test_a_rate_is_the_growth_of_each_process():
    key = ("team", "llm")
    before = live.Reading(10.0, {("a", key): 100.0, ("b", key): 1000.0})
    after = live.Reading(12.0, {("a", key): 120.0, ("b", key): 30.0, ("new", key): 500.0})
    assert live.rates(before, after) == {key: (20.0 + 30.0) / 2}
    assert live.rates(before, before) == {}
    assert live.counted(exposition("1e3")) == {key: 1000.0}


def test_watching_ends_with_the_reader(cluster, awake, monkeypatch):
    looks = []

    async def soon(seconds):
        looks.append(seconds)
        if len(looks) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr("torpor.cli.status.pause", soon)
    code, told = run("-n", "team", "-w", "--kubeconfig", cluster({PATH: (200, {"items": [awake]})}))
    assert (code, told.count("Serving"), looks) == (130, 3, [2.0] * 3)


def test_watching_goes_on_while_the_cluster_is_away(cluster, awake, monkeypatch):
    answers = iter([(200, {"items": [awake]}), (503, {"message": "draining"}), (200, {"items": [awake]})])
    looks = []

    async def soon(seconds):
        looks.append(seconds)
        if len(looks) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr("torpor.cli.status.pause", soon)
    code, told = run("-n", "team", "-w", "--kubeconfig", cluster({PATH: lambda _: next(answers)}))
    assert (code, told.count("Serving")) == (130, 2)
    assert "refuses to list the fleets of namespace team: draining; trying again" in told


def test_watching_goes_on_where_nobody_answers_any_more(clean, tmp_path, awake, monkeypatch):
    server = Server({PATH: (200, {"items": [awake]})})
    looks = []

    async def soon(seconds):
        looks.append(seconds)
        if len(looks) == 1:
            server.stop()
        if len(looks) == 2:
            raise KeyboardInterrupt

    config = tmp_path / "config"
    document = {
        "clusters": [{"name": "a", "cluster": {"server": f"http://127.0.0.1:{server.http.server_port}"}}],
        "contexts": [{"name": "a", "context": {"cluster": "a", "namespace": "team"}}],
        "current-context": "a",
    }
    config.write_text(json.dumps(document))
    monkeypatch.setattr("torpor.cli.status.pause", soon)
    code, told = run("-w", "--kubeconfig", str(config))
    assert (code, told.count("Serving")) == (130, 1)
    assert "note: as it was before: http://127.0.0.1:" in told
    assert "is the cluster up?; trying again" in told


@pytest.mark.parametrize("answer", [(404, {"message": "gone"}), (403, {"message": "no longer"})])
def test_watching_ends_where_waiting_does_not_help(answer, cluster, awake, monkeypatch):
    answers = iter([(200, {"items": [awake]}), answer])

    async def soon(seconds):
        pass

    monkeypatch.setattr("torpor.cli.status.pause", soon)
    code, told = run("-n", "team", "-w", "--kubeconfig", cluster({PATH: lambda _: next(answers)}))
    assert (code, "trying again" in told) == (3, False)
