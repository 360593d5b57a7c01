"""Types parse what the API server stores, write it back, and refuse lax input."""

import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from pydantic import ValidationError
from torpor.api import quantity, uri
from torpor.api.names import FleetKey
from torpor.api.types import InferenceService

from tests.unit.api.examples import FULL, fleet
from tests.unit.api.strategies import SPECS


def parse(spec: dict[str, Any] | None = None, **metadata: Any) -> InferenceService:
    return InferenceService.model_validate(fleet(spec, **metadata))


def test_the_documented_defaults() -> None:
    spec = parse().spec
    assert (spec.scaling.min_replicas, spec.scaling.max_replicas, spec.scaling.replicas) == (0, 1, None)
    assert (spec.scaling.idle_seconds, spec.drain_seconds) == (None, 600)
    assert (spec.scaling.mode, spec.scaling.objectives) == ("Auto", None)
    assert (spec.scaling.signals.queue_depth.target, spec.scaling.signals.queue_depth.effective) == (None, 4)
    assert spec.scaling.signals.kv_cache_utilization.target_percent == 80
    cold = spec.traffic.cold_start
    assert (cold.response, cold.hold_seconds, cold.unary_hold_seconds) == ("KeepAlive", 900, 300)
    assert (cold.max_held_requests, cold.max_held_mebibytes, spec.traffic.max_queue_seconds) == (
        1000,
        256,
        60,
    )
    assert (spec.engine.type, spec.engine.image, spec.engine.startup_seconds) == ("vLLM", None, 1800)
    assert (spec.model.revision, spec.rollout.strategy) == ("main", "Auto")


def test_what_was_written_comes_back() -> None:
    wire = parse(FULL).to_wire()["spec"]
    for section, value in FULL.items():
        if section not in ("engine",):
            assert wire[section] == value
    assert wire["engine"]["resources"] == FULL["engine"]["resources"]
    assert wire["engine"]["args"] == FULL["engine"]["args"]


@given(spec=SPECS)
def test_parsing_what_was_written_gives_the_same_object(spec: dict[str, Any]) -> None:
    once = parse(spec)
    assert InferenceService.model_validate(once.to_wire()) == once


@pytest.mark.parametrize("value", ["3", True, 1.0, float("nan"), 10**30, None, -1])
def test_only_integers_in_bounds_are_integers(value: Any) -> None:
    with pytest.raises(ValidationError):
        parse({"scaling": {"minReplicas": value}})


def test_keys_and_model_names() -> None:
    assert parse().key == FleetKey("team", "smol")
    assert parse().model_name == "smol"
    assert parse(FULL).model_name == "smollm2"


@pytest.mark.parametrize(
    ("text", "scheme", "location", "directory"),
    [
        ("hf://org/model", "hf", "org/model", None),
        ("hf://gpt2", "hf", "gpt2", None),
        ("pvc://claim", "pvc", "claim", "/models/claim"),
        ("pvc://claim/a/b/", "pvc", "claim", "/models/claim/a/b"),
        ("image:///models/smollm2", "image", "", "/models/smollm2"),
    ],
)
def test_uris_are_read_in_one_way(text: str, scheme: str, location: str, directory: str | None) -> None:
    read = uri.parse(text)
    assert (read.scheme, read.location, read.directory) == (scheme, location, directory)


def test_a_bad_uri_says_what_to_write() -> None:
    with pytest.raises(ValueError, match=r"s3://b.* unknown scheme; use hf://"):
        uri.parse("s3://b")


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("500m", "0.5"),
        (2, "2"),
        ("1Ki", "1024"),
        ("1.5Gi", "1610612736"),
        ("2M", "2000000"),
        ("1e3", "1000"),
        (".5", "0.5"),
        ("1E", "1000000000000000000"),
        ("7n", "7e-9"),
    ],
)
def test_quantities(text: int | str, amount: str) -> None:
    assert quantity.parse(text) == quantity.Decimal(amount)


@pytest.mark.parametrize("text", ["", "-1", "1 Gi", "Gi", "1gi", "0x1", "1e", "1\n"])
def test_what_is_no_quantity(text: str) -> None:
    with pytest.raises(ValueError, match="not a quantity"):
        quantity.parse(text)


def test_whole_amounts_of_any_size() -> None:
    assert quantity.is_whole(quantity.parse("1e40"))
    assert not quantity.is_whole(quantity.parse("1500m"))


def test_extended_resources() -> None:
    assert quantity.is_extended("nvidia.com/gpu")
    assert not quantity.is_extended("cpu")
    assert not quantity.is_extended("kubernetes.io/batch")


@pytest.mark.parametrize("module", ["constants", "names", "routes"])
def test_the_gateways_half_needs_the_standard_library_alone(module: str) -> None:
    code = (
        f"import sys, torpor.api.{module}\n"
        "roots = {name.partition('.')[0] for name in sys.modules} - set(sys.stdlib_module_names)\n"
        "print(sorted(root for root in roots if root in {'pydantic', 'yaml', 'kopf', 'kubernetes', 'httpx'}))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
