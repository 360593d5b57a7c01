"""Objects of Flux and Argo CD, held against their recorded schemas (gitops_schemas) and our own chart's."""

import json
from typing import Any

import jsonschema

from tests.docs.blocks.reading import ROOT

SCHEMAS = json.loads((ROOT / "tests/data/gitops/schemas.json").read_text())
VALUES = json.loads((ROOT / "charts/torpor/values.schema.json").read_text())
ENVELOPE = {"apiVersion", "kind", "metadata", "spec"}


def knows(item: dict[str, Any]) -> bool:
    return item.get("kind") in SCHEMAS


def check(item: dict[str, Any]) -> None:
    """Raise where the object's tool would not take it, or Torpor's chart the values in it."""
    known = SCHEMAS[item["kind"]]
    assert item["apiVersion"] == known["apiVersion"], f"{item['kind']} is of {known['apiVersion']}"
    assert set(item) == ENVELOPE, f"{set(item) ^ ENVELOPE}"
    assert {"name", "namespace"} <= set(item["metadata"])
    jsonschema.validate(item["spec"], known["spec"])
    for values in (
        item["spec"].get("values"),
        item["spec"].get("source", {}).get("helm", {}).get("valuesObject"),
    ):
        if values is not None:
            jsonschema.validate(values, VALUES)
