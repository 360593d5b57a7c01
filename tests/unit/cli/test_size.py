"""`torpor size` from the outside."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import yaml
from torpor.cli.app import app
from typer.testing import CliRunner

from tests.unit.sizing.test_model import LLAMA_8B

if TYPE_CHECKING:
    from pathlib import Path

RUN = CliRunner()
NUMBERS = ("--parameters", "8B", "--layers", "32", "--kv-heads", "8", "--model", "Llama-3.1-8B")


def size(*options: str, code: int = 0) -> str:
    result = RUN.invoke(app, ["size", *options])
    assert result.exit_code == code, result.output
    if code:
        assert result.stdout == ""
        assert result.stderr.count("\n") == 1
        assert result.stderr.startswith("torpor size: ")
    return result.stderr if code else result.stdout


def test_a_config_becomes_a_table_with_its_formula(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_text(json.dumps(LLAMA_8B))
    told = size("--config", str(file), "--users", "50")
    assert "8.0 billion parameters in bf16, 50 users" in told
    assert "replicas  n = ceil((lambda*W + room for chance)/rho)" in told


def test_json_and_yaml_say_the_same() -> None:
    found = json.loads(size(*NUMBERS, "--gpu", "NVIDIA-H100-80GB-HBM3", "--gpus", "1", "-o", "json"))
    assert yaml.safe_load(size(*NUMBERS, "--gpu", "h100", "--gpus", "1", "-o", "yaml")) == found
    assert (found["best"]["accelerator"], found["best"]["guessed"]) == ("h100", False)
    assert len(found["options"]) == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "--config FILE or --parameters NUMBER is needed"),
        (("--config", "/nowhere/config.json"), "--config /nowhere/config.json: cannot be read"),
        (("--parameters", "8B"), "--layers and --kv-heads are needed"),
        ((*NUMBERS, "--gpu", "abacus"), "--gpu 'abacus': is not known; choose of h100"),
        ((*NUMBERS, "--gpus", "0"), "--gpus 0: must be from 1 to 64"),
        ((*NUMBERS, "--users", "0"), "--users 0: must be from 0.001"),
        ((*NUMBERS, "--users", "nan"), "--users nan"),
        ((*NUMBERS, "--prompt", "9000"), "--context 8192: is less than the mean prompt and answer"),
        ((*NUMBERS, "--quantization", "q3"), "--quantization 'q3': must be one of"),
        ((*NUMBERS, "--kv-cache", "q3"), "--kv-cache 'q3': must be one of"),
        ((*NUMBERS, "--price", "h100"), "--price 'h100': must be GPU=NUMBER"),
        ((*NUMBERS, "-o", "xml"), "must be table, json or yaml"),
    ],
)
def test_a_wrong_argument_is_one_sentence(options: tuple[str, ...], said: str) -> None:
    assert said in size(*options, code=2)


def test_a_context_the_model_was_not_made_for(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_text(json.dumps(LLAMA_8B))
    assert "the model was made for 131072 tokens" in size(
        "--config", str(file), "--context", "200000", code=2
    )
    file.write_text("{")
    assert "is no JSON" in size("--config", str(file), code=2)


def test_where_nothing_does_the_nearest_reason_is_told() -> None:
    assert "weights do not fit" in size(*NUMBERS, "--gpu", "t4", "--gpus", "1", code=1)
    assert "ITL" in size(*NUMBERS, "--itl-ms", "3", code=1)
