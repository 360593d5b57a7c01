"""The simulated engine against a recording of vLLM 0.32, and the comparison with a running one.

The recording in tests/data/vllm-0.32 was written by e2e/likeness/probes.py. A running vLLM is compared where
there is one, in the scenario first_token; here the comparison itself is proved on simulated engines.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from e2e.likeness.comparison import comparable, compare, differences, simulated
from e2e.likeness.probes import record

RECORDING = Path(__file__).parents[2] / "data" / "vllm-0.32"


def test_answers_and_metrics_have_the_recorded_shape() -> None:
    recorded, recorded_metrics = (
        json.loads((RECORDING / f"{name}.json").read_text()) for name in ("answers", "metrics")
    )
    with simulated(["smollm2", "default/smollm2"], 2048, "--max-num-seqs=4") as address:
        answers, metrics = record(address, "smollm2")
    assert differences(recorded, answers) == []
    assert differences(comparable(recorded_metrics), comparable(metrics)) == []


def test_an_engine_of_other_sizes_that_has_served_before_is_alike() -> None:
    with simulated(["a", "ns/a"], 1024, "--max-num-seqs=8", "--seed=7", "--profile=instant") as address:
        body = {"model": "ns/a", "prompt": "A river is", "max_tokens": 3}
        assert httpx.post(f"{address}/v1/completions", json=body, trust_env=False).status_code == 200
        assert compare(address) == []


def test_what_differs_is_told() -> None:
    # Requests that are refused for what they say are not counted: the fifth is the first streamed completion.
    faults = ("--hide-metric=num_requests_running", "--fault=status=502,every=5,times=1")
    with simulated(["a"], 1024, "--profile=instant", *faults) as address:
        told = compare(address)
    assert "metrics: only the second has 'vllm:num_requests_running'" in told
    assert any(line.startswith("answers/completion-stream/") and "502" in line for line in told), told
    assert all(line.startswith(("answers/completion-stream", "metrics")) for line in told), told


def test_an_engine_that_refuses_to_be_asked_is_no_likeness() -> None:
    with simulated(["a"], 1024, "--api-key=sesame") as address, pytest.raises(httpx.HTTPStatusError):
        compare(address)


@pytest.mark.parametrize(
    ("left", "right", "told"),
    [
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}, "fields in another order"),
        ({"a": 1}, {}, "only the first has 'a'"),
        ([{"a": None}], [{"a": "str"}], "/0/a: None and 'str'"),
        ([1], [1, 2], "[1] and [1, 2]"),
        ({"a": True}, {"a": 1}, "/a: True and 1"),
    ],
)
def test_every_kind_of_difference_is_seen(left: Any, right: Any, told: str) -> None:
    found = differences(left, right)
    assert len(found) == 1
    assert told in found[0]
    assert differences(left, left) == differences(right, right) == []
