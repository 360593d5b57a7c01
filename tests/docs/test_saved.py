"""The page about what sleeping saves: its prices are read as it says, and what it names exists."""

import json
import re
from pathlib import Path

import yaml
from torpor import metrics
from torpor.api import status
from torpor.decide.prices import Prices

PAGE = (Path(__file__).parents[2] / "docs/reference/saved.md").read_text()


def block(language: str) -> str:
    found: list[str] = re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    assert len(found) == 1
    return found[0]


def test_each_price_of_the_example_is_the_one_of_its_line() -> None:
    values = yaml.safe_load(block("yaml"))["gpuHourPrices"]
    prices = Prices.parse(json.dumps(values))
    asked = [
        ("NVIDIA H100 80GB HBM3", "nvidia.com/gpu"),
        ("NVIDIA-H100-SXM5-94GB", "nvidia.com/gpu"),
        (None, "amd.com/gpu"),
        ("NVIDIA-L4", "nvidia.com/gpu"),
    ]
    assert [prices.of(*one) for one in asked] == list(values.values())


def test_every_field_and_series_that_it_names_exists() -> None:
    fields = {field.alias for field in status.SavedRecord.model_fields.values()}
    named = set(re.findall(r"`(gpuSeconds\w+)[.`]", PAGE))
    assert named <= fields
    assert len(named) == 3
    series = {f"{family.name}_total" if family.type == "counter" else family.name
              for family in metrics.REGISTRY.collect()}  # fmt: skip
    assert set(re.findall(r"torpor_fleet_\w+", PAGE)) <= series
