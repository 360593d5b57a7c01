"""From pydantic's JSON Schema to the structural schema that Kubernetes accepts.

pydantic emits JSON Schema 2020-12; the API server wants OpenAPI 3.0 within stricter rules: no references,
no `null` in unions, no `const`, a type at every level, nothing but bounds inside `anyOf`. `structural`
walks the one and writes the other, and raises `UnsupportedSchemaError` for anything it does not know
instead of passing it on: a keyword that the API server drops silently would be a promise nobody keeps.

It adds what only Kubernetes knows: `default: {}` for objects whose fields have defaults (without it nested
defaults are never filled in), `format: int32`, int-or-string. It writes no `additionalProperties: false`,
which structural schemas forbid beside `properties`: unknown fields are pruned, and `kubectl apply` warns of
them.
"""

from collections.abc import Mapping
from typing import Any, Final

from pydantic import BaseModel

Schema = dict[str, Any]

_INT32_MAX: Final = 2**31 - 1
_COPIED: Final = (
    "type",
    "enum",
    "format",
    "default",
    "pattern",
    "minLength",
    "maxLength",
    "minimum",
    "maximum",
    "minItems",
    "maxItems",
    "required",
)
_KNOWN: Final = frozenset(
    (
        *_COPIED,
        "title",
        "description",
        "properties",
        "items",
        "additionalProperties",
        "propertyNames",
        "maxProperties",
    )
)


class UnsupportedSchemaError(ValueError):
    """A construct that has no structural form; the message names the place."""


def of_model(model: type[BaseModel]) -> Schema:
    """Return the structural schema of `model`, field names as on the wire, all references resolved."""
    raw = model.model_json_schema(by_alias=True, mode="validation")
    return structural(raw, raw.get("$defs", {}), model.__name__)


def structural(raw: Mapping[str, Any], definitions: Mapping[str, Any], path: str) -> Schema:
    """Convert one JSON Schema node. `path` is for errors."""
    node = _resolved(raw, definitions)
    if "anyOf" in node:
        return _union(node, definitions, path)
    node.pop("$defs", None)
    if "const" in node:
        node["enum"] = [node.pop("const")]
    unknown = [key for key in node if key not in _KNOWN and not key.startswith("x-kubernetes-")]
    if unknown:
        raise UnsupportedSchemaError(f"{path}: keywords {unknown} have no structural form")
    if "type" not in node:
        raise UnsupportedSchemaError(f"{path}: has no type; structural schemas need one at every level")

    out: Schema = {}
    if description := node.get("description"):
        out["description"] = " ".join(description.split())
    out |= {key: node[key] for key in _COPIED if key in node}
    if node["type"] == "integer":
        out["format"] = "int32" if node.get("maximum", _INT32_MAX + 1) <= _INT32_MAX else "int64"
    if "properties" in node:
        out["properties"] = {
            name: _property(name, field, node.get("required", ()), definitions, path)
            for name, field in node["properties"].items()
        }
    elif "additionalProperties" in node:
        out["additionalProperties"] = structural(node["additionalProperties"], definitions, f"{path}.*")
        if "maxProperties" in node:
            out["maxProperties"] = node["maxProperties"]
    elif "patternProperties" in node:
        raise UnsupportedSchemaError(f"{path}: patternProperties have no structural form")
    if "items" in node:
        out["items"] = structural(node["items"], definitions, f"{path}[]")
    out |= {key: value for key, value in node.items() if key.startswith("x-kubernetes-")}
    return out


def _property(
    name: str, field: Mapping[str, Any], required: Any, definitions: Mapping[str, Any], path: str
) -> Schema:
    schema = structural(field, definitions, f"{path}.{name}")
    optional = "default" in field and field["default"] is None
    if schema.get("type") == "object" and "properties" in schema and name not in required:
        schema.pop("default", None)
        # An optional object's absence has meaning; one with a default exists always, and its fields fill it.
        if not optional and not schema.get("required"):
            schema = _with_default(schema, {})
    return schema


def _with_default(schema: Schema, default: Any) -> Schema:
    head = {key: schema[key] for key in ("description", "type") if key in schema}
    return head | {"default": default} | {key: value for key, value in schema.items() if key not in head}


def _resolved(raw: Mapping[str, Any], definitions: Mapping[str, Any]) -> Schema:
    """
    Follow `$ref`. What stands beside the reference wins: a field's description says more than its type's.
    """
    node = dict(raw)
    while "$ref" in node:
        target = definitions[node.pop("$ref").removeprefix("#/$defs/")]
        node = {**target, **node}
    return node


def _union(node: Schema, definitions: Mapping[str, Any], path: str) -> Schema:
    """Convert `X | None` to X (absence is the null of Kubernetes), and integer | string to int-or-string."""
    branches = [_resolved(branch, definitions) for branch in node["anyOf"]]
    branches = [branch for branch in branches if branch.get("type") != "null"]
    beside = {key: value for key, value in node.items() if key not in ("anyOf", "title")}
    if beside.get("default", ...) is None:
        del beside["default"]
    if len(branches) == 1:
        return structural({**branches[0], **beside}, definitions, path)
    if sorted(branch.get("type", "") for branch in branches) != ["integer", "string"]:
        raise UnsupportedSchemaError(f"{path}: only integer | string has a structural form among unions")
    out: Schema = {}
    if "description" in beside:
        out["description"] = " ".join(beside["description"].split())
    out["anyOf"] = [{"type": "integer"}, {"type": "string"}]
    for branch in branches:
        out |= {key: branch[key] for key in ("pattern", "maxLength") if key in branch}
    out["x-kubernetes-int-or-string"] = True
    return out
