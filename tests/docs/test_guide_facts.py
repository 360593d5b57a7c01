"""What the guides say that Torpor answers is what it answers: reasons, log lines, names, keys, images."""

import re
from pathlib import Path

import pytest
import yaml
from torpor.api import constants
from torpor.api.types import InferenceService
from torpor.build.common import labels
from torpor.control import findings, hardware, pods
from torpor_engine.logs import TIMES, LogReader
from torpor_engine.outcomes import Outcome
from torpor_gateway import hashkey
from torpor_gateway.keys import read_entries

from tests.docs.blocks.reading import DOCS, ROOT, blocks
from tests.docs.test_guides import rows, words


def test_each_reason_why_a_pod_does_not_start_is_in_the_guide_with_its_next_step() -> None:
    listed = {words(cell)[0]: step for cell, _, step in rows("guides/gpu.md", "## 7. When it does not start")}
    assert listed == dict(pods.NEXT_STEPS)
    assert "after 15 seconds" in (DOCS / "guides/gpu.md").read_text()
    assert findings.ROOM_PATIENCE == 15


def test_the_phases_and_lines_of_a_cold_start_are_the_launchers() -> None:
    source = "".join(path.read_text() for path in (ROOT / "runtime/src/torpor_engine").glob("*.py"))
    page = (DOCS / "guides/gpu.md").read_text()
    table = page.partition("The phases, by what they mean")[2].partition("\n\nNow")[0]
    listed = set(re.findall(r"^\| `(\w+)`", table, re.MULTILINE))
    assert listed == {*re.findall(r'_timed\("(\w+)"\)', source), *TIMES, "total"}
    told = re.findall(r"`\[torpor\] (\w+:?)`", page)
    assert told == ["accelerators:", "loading", "starting:", "ready:"]
    for line in told:
        assert re.search(rf'["\]] ?{line} ', source), line


def test_the_hardware_of_the_guides_fleet_is_called_as_it_says() -> None:
    page = DOCS / "guides/gpu.md"
    block = next(block for block in blocks(page) if block.title == "qwen.yaml")
    fleet = InferenceService.model_validate(yaml.safe_load(block.text))
    found = hardware.fleet_hardware(fleet, hardware.Engines())
    assert found is not None
    assert found.guessed
    assert f"`{found.name}` with `(a guess)`" in page.read_text()


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("RuntimeError: Failed to infer device type", Outcome.EngineCrashed),
        (
            "1 validation error for ParallelConfig\n  Value error, World size (2) is larger than",
            Outcome.InvalidEngineArgs,
        ),
        (
            "ValueError: KV cache is needed, which is larger than the available KV cache memory",
            Outcome.OutOfMemory,
        ),
    ],
)
def test_what_a_gpu_says_becomes_the_reason_of_the_guide(said: str, reason: Outcome) -> None:
    log = LogReader()
    log.feed(said.encode() + b"\n")
    assert log.diagnose(1)[0] is reason


def test_the_secret_of_the_keys_guide_is_understood_and_its_fields_are_those_of_the_table() -> None:
    page = DOCS / "guides/keys-and-limits.md"
    block = next(block for block in blocks(page) if block.title == "keys.yaml")
    entries = yaml.safe_load(block.text)["stringData"]
    keys = {key.name: key for key in read_entries(entries)}
    assert set(keys) == {"team-a", "night-batch", "operations"}
    assert keys["night-batch"].batch
    assert keys["team-a"].may_use(["llm/qwen3-8b"])
    assert not keys["team-a"].may_use(["other/qwen3-8b"])
    wished = {
        words(cell)[0].partition(":")[0] for _, cell in rows("guides/keys-and-limits.md", "## 2. The Secret")
    }
    assert {field for entry in entries.values() for field in yaml.safe_load(entry)} == wished | {"sha256"}


def test_the_file_that_hash_key_writes_is_what_the_guide_says(capsys: pytest.CaptureFixture[str]) -> None:
    assert hashkey.main(["--new"]) == 0
    told = capsys.readouterr()
    assert "the key, to be handed over" in told.err
    (key,) = read_entries({"team-a": told.out})
    assert key.digests[0].hex() in told.out
    assert all(f"# {field}" in told.out for field in ("models", "requestsPerMinute", "tokensPerMinute"))


def test_the_images_are_those_of_the_chart_and_of_the_api() -> None:
    values = yaml.safe_load((ROOT / "charts/torpor/values.yaml").read_text())
    of_chart = {
        values[part]["image"]["repository"]: f"`{part}.image`" for part in ("operator", "gateway", "engine")
    }
    listed = {words(image)[0]: cell for image, cell, _ in rows("guides/air-gapped.md", "## Images")}
    assert listed.pop(constants.DEFAULT_VLLM_IMAGE).startswith("none")
    assert listed == of_chart


def test_the_policy_against_egress_selects_engines() -> None:
    policy = next(
        yaml.safe_load(block.text)
        for block in blocks(DOCS / "guides/air-gapped.md")
        if "policyTypes" in block.text
    )
    assert policy["spec"]["podSelector"]["matchLabels"].items() <= labels("any").items()


def test_the_messages_of_the_air_gapped_guide_are_said_somewhere() -> None:
    said = "".join(path.read_text() for path in (ROOT / "runtime/src/torpor_engine").glob("*.py"))
    said += Path(str(pods.__file__)).read_text()
    for reason, message, _ in rows("guides/air-gapped.md", "## When it does not start"):
        assert words(reason)[0] in constants.POD_FAILURE_REASONS
        for part in words(message)[0].replace("65532", "…").replace("download", "…").split("…"):
            assert part.strip() in said.replace("{config}", "config.json"), part
