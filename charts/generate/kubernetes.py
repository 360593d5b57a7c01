"""The parts of the Kubernetes API that appear in the chart's values, as closed JSON schemas.

A toleration with a misspelt key is silently dropped by older API servers, so the chart refuses it itself. The
shapes come from the strict schemas that the package kubernetes-validate carries; descriptions are left out,
since the API's own reference explains them, and only what is reachable from the types in use is copied.
"""

import json
from functools import cache
from importlib.resources import files
from typing import Any

VERSION = "v1.37.0-local-strict"
PREFIXES = ("io.k8s.api.core.v1.", "io.k8s.api.networking.v1.", "io.k8s.api.autoscaling.v2.")
Schema = dict[str, Any]


class Definitions:
    """Collects the definitions that a schema refers to, under their short names."""

    def __init__(self) -> None:
        self.used: dict[str, Schema] = {}

    def reference(self, kind: str) -> Schema:
        """Return a reference to Kubernetes' type `kind`, such as `Toleration`. KeyError if there is none."""
        full = next((prefix + kind for prefix in PREFIXES if prefix + kind in _all()), None)
        if full is None:
            raise KeyError(
                f"{kind}: no such type in Kubernetes {VERSION}; see charts/generate/values.py for the forms"
            )
        return self._reference(full)

    def _reference(self, full: str) -> Schema:
        short = full.rpartition(".")[2]
        if short not in self.used:
            self.used[short] = {}  # a placeholder ends recursion; types may contain themselves
            self.used[short] = self._close(_all()[full])
        return {"$ref": f"#/$defs/{short}"}

    def _close(self, node: Any) -> Any:
        if isinstance(node, list):
            return [self._close(item) for item in node]
        if not isinstance(node, dict):
            return node
        if isinstance(target := node.get("$ref"), str):
            return self._reference(target.rpartition("/")[2])
        kept = {key: item for key, item in node.items() if not _is_noise(key, item)}
        closed = {
            key: self._properties(item) if key == "properties" else self._close(item)
            for key, item in kept.items()
        }
        if closed.get("type") == "object" and "properties" in closed:
            closed["additionalProperties"] = False
        return closed

    def _properties(self, properties: dict[str, Any]) -> dict[str, Any]:
        return {name: self._close(schema) for name, schema in properties.items()}


def _is_noise(key: str, item: Any) -> bool:
    # A *property* called description is a mapping and is kept; the keyword is a string.
    return (
        key in ("description", "default", "$id", "$schema") and not isinstance(item, dict)
    ) or key.startswith("x-")


@cache
def _all() -> dict[str, Schema]:
    folder = files("kubernetes_validate") / "kubernetes-json-schema" / VERSION
    definitions: dict[str, Schema] = json.loads((folder / "_definitions.json").read_text())["$defs"]
    return definitions
