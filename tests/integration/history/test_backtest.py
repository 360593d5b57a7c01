"""`torpor backtest` against a real Prometheus that holds a past of which the truth is known."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from torpor.cli.app import app
from typer.testing import CliRunner

from tests.integration.history.conftest import COLD_START, HARDWARE

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.history.conftest import Recorded

END = "2026-01-05T04:00:00Z"
RUN = CliRunner()


def backtest(recorded: Recorded, fleet: str, *more: str, code: int = 0) -> tuple[str, str]:
    options = ["--prometheus", recorded.address, "--fleet", fleet, "--since", "4h", "--end", END]
    result = RUN.invoke(
        app, ["backtest", *options, "--cold-start", f"{COLD_START}", "--timeout", "120", *more]
    )
    assert result.exit_code == code, result.output
    return result.stdout, result.stderr


def report(recorded: Recorded, fleet: str, *more: str) -> dict[str, Any]:
    policy = ["--policy", str(recorded.policy), "--seeds", "1", "-o", "json"]
    found: dict[str, Any] = json.loads(backtest(recorded, fleet, *policy, *more)[0])
    return found


def near(found: dict[str, Any], truth: dict[str, float]) -> None:
    """The promise of the command: replica-hours within 10 %, attainment within 2 points."""
    (row,) = found["policies"]
    assert row["replica_hours"]["median"] == pytest.approx(truth["hours"], rel=0.10)
    assert row["slo_attainment_percent"]["median"] == pytest.approx(truth["attained"], abs=2.0)


def test_a_simulated_past_is_reproduced_from_the_engines_alone(recorded: Recorded) -> None:
    selector = 'namespace="team",name="chat"'
    found = report(recorded, "nobody/nobody", "--selector", selector)
    near(found, recorded.truth)
    assert found["history"]["requests"] == pytest.approx(recorded.requests, rel=0.03)
    assert found["history"]["counted_by"] == "engine"
    assert found["hardware"]["name"] == "learned from the history"
    assert found["happened"]["replica_hours"] == pytest.approx(recorded.truth["hours"], rel=0.10)
    low, high = (found["happened"]["slo_attainment_percent"][end] for end in ("low", "high"))
    assert low - 2 <= recorded.truth["attained"] <= high + 2
    assert any("learned from the history" in one for one in found["uncertainty"])


def test_the_operators_metrics_tell_what_no_engine_saw(recorded: Recorded) -> None:
    found = report(recorded, "team/chat", "--hardware", HARDWARE)
    near(found, recorded.truth)
    assert found["history"]["counted_by"] == "operator"
    assert found["history"]["requests"] == pytest.approx(recorded.requests, rel=0.001)
    assert found["happened"]["judged_by"] == "gateways"
    share = found["happened"]["slo_attainment_percent"]
    assert share["low"] == share["high"] == pytest.approx(recorded.truth["attained"], abs=0.2)


def test_the_names_of_an_older_engine_do_as_well(recorded: Recorded) -> None:
    near(report(recorded, "team/older"), recorded.truth)


def test_a_stretch_that_nobody_watched_is_left_out_and_said(recorded: Recorded) -> None:
    found = report(recorded, "gap/chat", "--hardware", HARDWARE)
    near(found, recorded.without_gap)
    assert found["history"]["missing_hours"] == pytest.approx(0.5, abs=0.02)
    assert found["happened"]["replica_hours"] == pytest.approx(recorded.without_gap["hours"], rel=0.10)
    assert any("watched by nobody" in one for one in found["uncertainty"])
    assert "3 samples were no number from 0 and were left out" in found["uncertainty"]


def test_several_policies_a_table_and_a_picture(recorded: Recorded, tmp_path: Path) -> None:
    lazy = tmp_path / "lazy.yaml"
    lazy.write_text("minReplicas: 3\nmaxReplicas: 3\n")
    open_at_two = tmp_path / "hours.yaml"
    window = {"name": "late", "days": ["Mon"], "start": "03:00", "end": "04:00", "minReplicas": 6}
    scaling = {"maxReplicas": 6, "schedule": {"timeZone": "Europe/Berlin", "windows": [window]}}
    open_at_two.write_text(yaml.safe_dump({"scaling": scaling}))
    picture = tmp_path / "week.svg"
    policies = [text for name in (lazy, open_at_two, "static:2") for text in ("--policy", str(name))]
    more = ["--hardware", HARDWARE, "--seeds", "2", "--picture", str(picture)]
    table = backtest(recorded, "team/chat", *policies, *more)[0]
    rows = {line.split("  ")[0]: line for line in table.splitlines()}
    assert {"what happened", "lazy", "hours", "static:2"} <= set(rows)
    assert " 12 " in rows["lazy"]  # three replicas for four hours
    assert "How sure this is:" in table
    ET.fromstring(picture.read_text())
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
    # Berlin's three o'clock is two in UTC: six replicas for that hour, asked for by the schedule alone.
    found = json.loads(
        backtest(
            recorded,
            "team/chat",
            "--policy",
            str(open_at_two),
            "--hardware",
            HARDWARE,
            "--seeds",
            "1",
            "-o",
            "json",
        )[0]
    )
    assert found["policies"][0]["peak_replicas"]["median"] == 6
    assert found["policies"][0]["replica_hours"]["median"] >= 6.0


def test_yaml_says_the_same_as_json(recorded: Recorded) -> None:
    options = ["--hardware", HARDWARE, "--seeds", "1", "--policy", "static:1"]
    as_json = json.loads(backtest(recorded, "team/chat", *options, "-o", "json")[0])
    assert yaml.safe_load(backtest(recorded, "team/chat", *options, "-o", "yaml")[0]) == as_json


def test_a_hundred_thousand_series_are_refused_before_they_are_read(recorded: Recorded) -> None:
    _, err = backtest(recorded, "team/chat", "--selector", 'job="everything"', code=1)
    assert err.startswith("torpor backtest: 100000 series of vllm:num_requests_running match")
    assert "narrower matchers in --selector" in err
    assert err.count("\n") == 1


def test_other_labels_are_told(recorded: Recorded) -> None:
    _, err = backtest(recorded, "team/absent", code=1)
    assert 'namespace="team" name="older"' in err or 'name="older" namespace="team"' in err
    assert "--selector" in err
    _, err = backtest(recorded, "team/chat", "--selector", 'job="none\\"} or vector(1)"', code=1)
    assert "other engines have" in err


def test_a_time_without_requests_and_one_without_a_fleet(recorded: Recorded) -> None:
    options = ["--prometheus", recorded.address, "--fleet", "team/chat", "--since", "10m"]
    result = RUN.invoke(app, ["backtest", *options, "--end", "2026-01-05T00:12:00Z"])
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("torpor backtest: no vllm:num_requests_running in that time matches")
