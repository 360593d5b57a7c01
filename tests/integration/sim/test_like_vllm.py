"""The simulated engine against vLLM 0.32: a recording always, the real one where it is installed.

The recording in tests/data/vllm-0.32 was written by probes.py. The live test is part of the stage that has
real vLLM; it reads its address and model from VLLM_ADDRESS and VLLM_MODEL.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.integration.sim.probes import PROBES, record
from tests.integration.sim.process import engine

RECORDING = Path(__file__).parents[2] / "data" / "vllm-0.32"
SIZES = (
    "--served-model-name",
    "smollm2",
    "default/smollm2",
    "--max-model-len",
    "2048",
    "--max-num-seqs",
    "4",
)

# Not simulated, as the reference says.
LEFT_OUT = (
    "python_",
    "process_",
    "http_request_size_bytes",
    "http_response_size_bytes",
    "http_request_duration_highr",
    "vllm:estimated_",
)
# Labels whose values are sizes of the machine or the version.
SIZED = {"block_size", "effective_attention_block_size", "gpu_memory_utilization", "kv_cache_max_concurrency",
         "kv_cache_memory_bytes", "kv_cache_size_tokens", "num_gpu_blocks"}  # fmt: skip


def comparable(metrics: dict[str, Any]) -> dict[str, Any]:
    """Without what is left out and without sizes."""
    kept = {}
    for name, entry in metrics.items():
        if not name.startswith(LEFT_OUT):
            labels = {
                key: None if key in SIZED else sorted(values) for key, values in entry["labels"].items()
            }
            kept[name] = {"type": entry["type"], "labels": labels}
    return kept


async def simulated() -> tuple[dict[str, Any], dict[str, Any]]:
    async with engine(*SIZES) as running:
        return await record(running.address, "smollm2")


@pytest.fixture(scope="module")
def recording() -> tuple[dict[str, Any], dict[str, Any]]:
    answers, metrics = (
        json.loads((RECORDING / f"{name}.json").read_text()) for name in ("answers", "metrics")
    )
    return answers, metrics


async def test_answers_and_metrics_have_the_recorded_shape(
    recording: tuple[dict[str, Any], dict[str, Any]],
) -> None:
    answers, metrics = await simulated()
    for probe in PROBES:
        assert answers[probe.name] == recording[0][probe.name], probe.name
    assert answers == recording[0]
    assert comparable(metrics) == comparable(recording[1])


@pytest.mark.real_vllm
async def test_the_real_engine_still_answers_as_recorded(
    recording: tuple[dict[str, Any], dict[str, Any]],
) -> None:
    address, model = os.environ.get("VLLM_ADDRESS"), os.environ.get("VLLM_MODEL", "smollm2")
    if not address:
        pytest.skip("VLLM_ADDRESS is not set: no real vLLM to compare with")
    answers, metrics = await record(address, model)
    simulated_answers, simulated_metrics = await simulated()
    for probe in PROBES:
        assert answers[probe.name] == simulated_answers[probe.name], probe.name
    assert comparable(metrics) == comparable(simulated_metrics)
    assert answers == recording[0]
