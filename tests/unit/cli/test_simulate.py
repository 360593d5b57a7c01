"""`torpor simulate` from the outside: the keys, the exit status, and nothing half-written."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
import yaml
from torpor.cli.app import app
from torpor.cli.simulate import _Told
from typer.testing import CliRunner

from tests.unit.api.examples import fleet

if TYPE_CHECKING:
    from pathlib import Path

RUN = CliRunner()
KEYS = [
    "policy", "requests", "completed", "refused", "expired", "slo_attainment_percent", "replica_hours",
    "peak_replicas", "starts", "scale_changes", "wakes", "ttft_ms", "itl_ms", "held_seconds",
    "bound_replica_hours", "ratio_to_bound", "achievable_replica_hours", "wall_seconds",
]  # fmt: skip
HARDWARE = {
    "name": "mine", "a": 11.02, "b": 0.0547, "c": 2.791e-5, "d": 0.0446,
    "kv_tokens": 640_000, "max_num_seqs": 1024, "max_num_batched_tokens": 8192,
}  # fmt: skip


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """A fleet, hardware and half an hour of one request a second."""
    names = {"fleet": "fleet.yaml", "hardware": "h.json", "trace": "trace.csv", "plot": "plot.svg"}
    made = {name: tmp_path / file for name, file in names.items()}
    made["fleet"].write_text(yaml.safe_dump(fleet({"scaling": {"maxReplicas": 8}})))
    made["hardware"].write_text(json.dumps(HARDWARE))
    rows = "".join(f"{i},{500 + i % 100},{50 + i % 50}\n" for i in range(1800))
    made["trace"].write_text(f"arrival_s,input_tokens,output_tokens\n{rows}")
    return made


def simulate(files: dict[str, Path], *more: str) -> tuple[int, str, str]:
    options = ["--trace", "--fleet", "--hardware"]
    named = [text for option in options for text in (option, str(files[option[2:]]))]
    result = RUN.invoke(app, ["simulate", *named, "--cold-start", "30", *more])
    return result.exit_code, result.stdout, result.stderr


def test_the_keys_are_those_that_were_promised(files: dict[str, Path]) -> None:
    code, out, _ = simulate(files, "--json", "--seed", "3")
    figures = json.loads(out)
    assert code == 0
    assert list(figures) == KEYS
    assert figures["requests"] == figures["completed"] == 1800
    assert (
        set(figures["held_seconds"])
        == set(figures["ttft_ms"])
        == set(figures["itl_ms"])
        == {"p50", "p95", "p99"}
    )
    assert figures["bound_replica_hours"] == pytest.approx((1800 + 30) / 3600, abs=0.001)
    again = json.loads(simulate(files, "--json", "--seed", "3")[1])
    assert {**again, "wall_seconds": 0} == {**figures, "wall_seconds": 0}


def test_scoring_from_a_second_on_limits_everything(files: dict[str, Path]) -> None:
    figures = json.loads(simulate(files, "--json", "--policy", "static:2", "--score-from", "900")[1])
    assert figures["requests"] == 900
    assert figures["starts"] == figures["scale_changes"] == figures["wakes"] == 0
    assert figures["replica_hours"] == pytest.approx(2 * 900 / 3600, rel=0.01)
    assert figures["bound_replica_hours"] == pytest.approx(900 / 3600, rel=0.03)
    assert figures["slo_attainment_percent"] == 100.0


def test_the_objective_cuts_the_budget_unless_the_user_does(files: dict[str, Path]) -> None:
    rows = "".join(f"{i * 0.6},8000,60\n" for i in range(500))
    files["trace"].write_text(f"arrival_s,input_tokens,output_tokens\n{rows}")
    cut = json.loads(simulate(files, "--json", "--policy", "static:1")[1])
    whole = json.loads(simulate(files, "--json", "--policy", "static:1", "--engine-defaults")[1])
    assert cut["itl_ms"]["p95"] < whole["itl_ms"]["p95"]
    files["fleet"].write_text(yaml.safe_dump(fleet({"engine": {"args": ["--max-num-batched-tokens=8192"]}})))
    same = json.loads(simulate(files, "--json", "--policy", "static:1")[1])
    assert same["itl_ms"] == whole["itl_ms"]


def test_people_get_a_table_and_a_picture(files: dict[str, Path]) -> None:
    code, out, _ = simulate(files, "--plot", str(files["plot"]))
    assert code == 0
    assert "slo attainment percent" in out
    assert files["plot"].read_text().startswith("<svg")
    assert [path.name for path in files["plot"].parent.iterdir() if path.name.startswith(".")] == []


def test_rivals_run_and_an_unknown_name_brings_the_list(files: dict[str, Path]) -> None:
    code, out, _ = simulate(files, "--json", "--policy", "kubeai:target=20,delay=60")
    assert code == 0
    assert json.loads(out)["policy"] == "kubeai:target=20,delay=60"
    err = simulate(files, "--policy", "magic")[2]
    assert all(name in err for name in ("torpor", "static:N", "keda", "hpa-kv", "dynamo-throughput"))


def test_troubles_on_purpose_change_the_run(files: dict[str, Path]) -> None:
    plain = json.loads(simulate(files, "--json")[1])
    failing = json.loads(simulate(files, "--json", "--failed-starts", "0.9", "--start-deadline", "60")[1])
    assert failing["starts"] > plain["starts"]
    blind = simulate(files, "--json", "--policy", "hpa-kv", "--outage", "0-900", "--stale", "900-1200")
    assert blind[0] == 0


def without(field: str) -> str:
    return json.dumps({key: value for key, value in HARDWARE.items() if key != field})


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("trace", "", "empty"),
        ("trace", "arrival_s,input_tokens,output_tokens\n5,1,1\n4,1,1\n", "unsorted"),
        ("trace", "arrival_s,input_tokens,output_tokens\n5,-1,1\n", "at least one token"),
        ("trace", "arrival_s,input_tokens,output_tokens\n5,1,1\n6,1", "truncated"),
        ("trace", "hello\n", "not a trace"),
        ("trace", "arrival_s,input_tokens,output_tokens\n1700000000000,1,1\n", "more than ten years"),
        ("hardware", without("c"), "c is missing"),
        ("hardware", json.dumps(HARDWARE | {"b": 0}), "b=0: must be a number above 0"),
        ("hardware", json.dumps(HARDWARE | {"a": float("nan")}), "a=nan"),
        ("hardware", json.dumps(HARDWARE | {"kv_tokens": "many"}), "kv_tokens='many'"),
        ("hardware", json.dumps(HARDWARE | {"e": 1}), "'e' is no field"),
        ("hardware", json.dumps(HARDWARE | {"a": 51.0}), "no fleet meets it"),
        ("hardware", "[]", "not a hardware file"),
        ("hardware", "{", "not JSON"),
        ("fleet", "kind: ConfigMap\n", "holds 0 objects"),
        ("fleet", yaml.safe_dump(fleet({"scaling": {"maxReplica": 3}})), "maxReplica"),
        ("fleet", "a: [", "cannot be read"),
    ],
)
def test_wrong_files_are_one_line_and_status_2(
    files: dict[str, Path], file: str, text: str, said: str
) -> None:
    files[file].write_text(text)
    refused(simulate(files, "--json", "--plot", str(files["plot"])), files, said)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--policy", "static:1000000000"], "asked for 1000000000 replicas"),
        (["--policy", "magic"], "'magic': unknown"),
        (["--policy", "static:x"], "unknown"),
        (["--rate-scale", "0"], "rate scale"),
        (["--rate-scale", "nan"], "rate scale"),
        (["--score-from", "9999"], "--score-from"),
        (["--score-from", "-1"], "--score-from"),
        (["--look", "0"], "look=0"),
        (["--cold-start", "-5"], "cold start"),
        (["--cold-start", "nan"], "cold start"),
        (["--hardware", "h1000"], "unknown"),
        (["--hardware", "instant"], "b, c, d is 0"),
        (["--policy", "keda:target=0"], "target=0: must be a number above 0"),
        (["--policy", "keda:goal=3"], "'goal' is no parameter"),
        (["--policy", "static:-1"], "unknown"),
        (["--failed-starts", "1.5"], "failed_starts=1.5"),
        (["--start-deadline", "0"], "start_deadline=0"),
        (["--outage", "5"], "must be FROM-TO"),
        (["--outage", "9-5"], "outages: 9 to 5"),
        (["--stale", "x-y"], "must be FROM-TO"),
    ],
)
def test_wrong_options_are_one_line_and_status_2(
    files: dict[str, Path], options: list[str], said: str
) -> None:
    refused(simulate(files, "--json", "--plot", str(files["plot"]), *options), files, said)


def refused(result: tuple[int, str, str], files: dict[str, Path], said: str) -> None:
    code, out, err = result
    assert code == 2
    assert out == ""
    assert said in err
    assert err.count("\n") == 1
    assert not files["plot"].exists()


def test_the_bar_reaches_the_last_second_and_the_policy_is_asked_each_time():
    views = [SimpleNamespace(now=now) for now in (0.0, 0.4, 10.2, 10.9, 99.0, 250.0)]
    asked, told = [], []

    def look(view):
        asked.append(view)
        return 3

    policy = _Told(SimpleNamespace(name="p", look=look), 99.5, told.append)
    assert [policy.look(view) for view in views] == [3] * 6
    assert (asked, told, policy.name) == (views, [10, 89], "p")
