"""The commands that need no cluster: what they print and how they end."""

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from torpor.api import crd
from torpor.cli import main
from torpor.cli.app import app
from typer.testing import CliRunner

from tests.unit.api.examples import FULL, fleet

RUN = CliRunner()


def validate(*documents: object, tmp_path: Path) -> tuple[int, str]:
    path = tmp_path / "fleets.yaml"
    path.write_text(yaml.safe_dump_all(documents), encoding="utf-8")
    result = RUN.invoke(app, ["validate", str(path)])
    return result.exit_code, result.output


def test_good_files_end_with_zero(tmp_path: Path) -> None:
    code, output = validate(fleet(FULL), {"kind": "ConfigMap"}, None, tmp_path=tmp_path)
    assert code == 0
    assert "smol: ok" in output
    assert "ConfigMap (no name): skipped" in output


def test_every_problem_is_listed_with_file_and_object(tmp_path: Path) -> None:
    bad = fleet({"scaling": {"minReplicas": 9, "maxReplica": 3}})
    code, output = validate(bad, fleet(name="fine"), tmp_path=tmp_path)
    assert code == 1
    assert "fleets.yaml: smol: spec.scaling.maxReplica: is no field" in output
    assert "did you mean maxReplicas?" in output
    assert "spec.scaling.minReplicas: 9 must not exceed" in output
    assert "fine: ok" in output


def test_lists_are_looked_into(tmp_path: Path) -> None:
    code, output = validate({"kind": "List", "items": [fleet({"drainSeconds": -1})]}, tmp_path=tmp_path)
    assert code == 1
    assert "spec.drainSeconds" in output


def test_a_file_without_fleets_is_not_a_success(tmp_path: Path) -> None:
    code, output = validate(
        {"kind": "InferenceService", "apiVersion": "serving.kserve.io/v1beta1"}, tmp_path=tmp_path
    )
    assert code == 1
    assert "no InferenceService" in output


@pytest.mark.parametrize("content", [b"a: [", b"\xff\xfe\x00", b"a: b: c"])
def test_unreadable_files_are_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.yaml"
    path.write_bytes(content)
    result = RUN.invoke(app, ["validate", str(path), str(tmp_path / "absent.yaml")])
    assert result.exit_code == 1
    assert "broken.yaml: cannot be read" in result.output
    assert "absent.yaml: cannot be read" in result.output


def test_standard_input() -> None:
    assert RUN.invoke(app, ["validate", "-"], input=yaml.safe_dump(fleet())).exit_code == 0


def test_crd_prints_what_is_committed() -> None:
    assert RUN.invoke(app, ["crd"]).output == crd.render()


def test_version() -> None:
    assert RUN.invoke(app, ["version"]).output.count(".") == 2


def test_the_result_of_a_check_is_a_document_too(tmp_path: Path) -> None:
    text = yaml.safe_dump_all([fleet({"drainSeconds": -1}), {"kind": "Secret", "metadata": {"name": "s"}}])
    result = RUN.invoke(app, ["validate", "-", "-o", "json"], input=text)
    first, second = json.loads(result.output)["objects"]
    assert (result.exit_code, first["result"], second["result"]) == (1, "invalid", "skipped")
    assert first["problems"][0].startswith("spec.drainSeconds: -1")


def test_help_waits_for_nothing_heavy() -> None:
    heavy = (
        "asyncio",
        "pydantic",
        "yaml",
        "kubernetes",
        "aiohttp",
        "numpy",
        "numba",
        "httpx",
        "rich",
        "kopf",
    )
    code = (
        "import sys\nfrom torpor.cli.app import app\ntry:\n    app(['--help'])\n"
        f"except SystemExit:\n    print(sorted(set(sys.modules) & set({heavy})))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=150, check=True
    )
    assert "simulate" in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"


def test_completion_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION", "1")
    assert "_TORPOR_COMPLETE" in RUN.invoke(app, ["--show-completion", "bash"], prog_name="torpor").output
    asked = {"_TORPOR_COMPLETE": "complete_bash", "COMP_WORDS": "torpor st", "COMP_CWORD": "1"}
    assert RUN.invoke(app, [], prog_name="torpor", env=asked).output.strip() == "status"


def test_kubectl_finds_it_and_it_knows_its_name(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    scripts = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]["scripts"]
    assert scripts["kubectl-torpor"] == scripts["torpor"] == "torpor.cli:main"
    monkeypatch.setattr(sys, "argv", ["/usr/local/bin/kubectl-torpor", "status", "--help"])
    with pytest.raises(SystemExit):
        main()
    assert "Usage: kubectl torpor status" in capsys.readouterr().out
