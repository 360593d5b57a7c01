"""`torpor suggest` against a real Prometheus, and its patch against a real API server."""

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING

import pytest
import yaml
from torpor.cli.app import app
from typer.testing import CliRunner

from tests.integration.history.conftest import COLD_START, FLEET, HARDWARE

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.history.conftest import Recorded
    from tests.integration.kube import Kube

RUN = CliRunner()


def suggest(recorded: Recorded, *more: str, code: int = 0) -> tuple[str, str]:
    options = [
        "--prometheus",
        recorded.address,
        "--fleet",
        "team/chat",
        "--since",
        "4h",
        "--end",
        "2026-01-05T04:00:00Z",
    ]
    options += ["--cold-start", f"{COLD_START}", "--hardware", HARDWARE, "--timeout", "120"]
    result = RUN.invoke(app, ["suggest", *options, *more])
    assert result.exit_code == code, result.output
    return result.stdout, result.stderr


def test_the_patch_is_taken_by_a_real_api_server(
    recorded: Recorded, kube: Kube, namespace: str, tmp_path: Path
) -> None:
    told = suggest(recorded, "--policy", str(recorded.policy), "--time-zone", "Europe/Berlin")[0]
    assert told.startswith("# kubectl patch isvc chat -n team --type merge --patch-file")
    assert "as it is" in told
    patch = yaml.safe_load(told)
    scaling = patch["spec"]["scaling"]
    assert scaling["maxReplicas"] == pytest.approx(recorded.truth["peak"], abs=1)
    live = copy.deepcopy(FLEET)
    live["metadata"] = {"name": "chat", "namespace": namespace}
    live["spec"]["scaling"]["idleSeconds"] = 77
    kube.kubectl("create", "-f", "-", stdin=yaml.safe_dump(live))
    file = tmp_path / "patch.yaml"
    file.write_text(told)
    kube.kubectl("patch", "isvc", "chat", "-n", namespace, "--type", "merge", "--patch-file", str(file))
    stored = json.loads(kube.kubectl("get", "isvc", "chat", "-n", namespace, "-o", "json").stdout)
    after = stored["spec"]["scaling"]
    assert after["maxReplicas"] == scaling["maxReplicas"]
    assert after.get("idleSeconds") == scaling["idleSeconds"]
    assert after["objectives"] == FLEET["spec"]["scaling"]["objectives"]  # what is not proposed stays


def test_what_was_tried_is_told_and_the_choice_is_among_it(recorded: Recorded) -> None:
    found = json.loads(suggest(recorded, "-o", "json")[0])
    tried = {row["policy"]: row for row in found["tried"]}
    assert {"sleeps", "sleeps-after-900s", "always-one"} <= set(tried)
    best = max(row["slo_attainment_percent"]["median"] for row in tried.values())
    chosen = tried[found["chosen"]]
    assert chosen["slo_attainment_percent"]["median"] >= best - 0.5
    assert chosen["replica_hours"]["median"] < tried["always-one"]["replica_hours"]["median"] + 0.01
    assert any("flatter" in one for one in found["why"])


def test_wrong_arguments_are_one_sentence(recorded: Recorded) -> None:
    for more, said in (
        (("--time-zone", "Mars/Base"), "--time-zone 'Mars/Base': must be an IANA zone"),
        (("-o", "svg"), "must be patch, table, json or yaml"),
        (("--policy", "/nowhere.yaml"), "--policy /nowhere.yaml: cannot be read"),
    ):
        out, err = suggest(recorded, *more, code=2)
        assert (out, err.count("\n")) == ("", 1)
        assert said in err
