"""Turn values.yaml into values.schema.json, closed at every level.

Helm merges what it is given over the defaults and asks nobody about keys that no template reads:
`gatway.replicaCount` would be accepted and ignored. With a schema that admits no other properties the
misspelt value is refused before anything is rendered. Two places stay open on purpose: `extraObjects`, whose
content is not ours, and keys of `global` that other charts under the same umbrella share; there, names that
begin as ours do are still refused.
"""

from copy import deepcopy

from charts.generate.kubernetes import Definitions, Schema
from charts.generate.values import Value

# Types that are the chart's own or belong to APIs outside Kubernetes' core.
OWN_TYPES: dict[str, Schema] = {
    "prices": {
        "type": "object",
        "propertyNames": {"maxLength": 128, "pattern": "^(\\*|.*[A-Za-z0-9].*)$"},
        "additionalProperties": {
            "oneOf": [
                {"type": "number", "minimum": 0, "maximum": 1_000_000},
                {"type": "string", "pattern": "^[0-9]{1,6}(\\.[0-9]{1,9})?$"},
            ]
        },
    },
    "intOrPercent": {
        "oneOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": "^(100|[0-9]{1,2})%$"}]
    },
    "parentRefs": {
        "type": "array",
        "items": {
            "type": "object",
            "required": ["name"],
            "properties": {
                "group": {"type": "string"},
                "kind": {"type": "string"},
                "namespace": {"type": "string"},
                "name": {"type": "string"},
                "sectionName": {"type": "string"},
                "port": {"type": "integer", "minimum": 1, "maximum": 65535},
            },
            "additionalProperties": False,
        },
    },
    "objects": {
        "type": "array",
        "items": {
            "oneOf": [
                {"type": "string"},
                {
                    "type": "object",
                    "required": ["apiVersion", "kind", "metadata"],
                    "properties": {
                        "apiVersion": {"type": "string"},
                        "kind": {"type": "string"},
                        "metadata": {"type": "object"},
                    },
                },
            ]
        },
    },
}


def build(values: tuple[Value, ...]) -> Schema:
    """Return the JSON schema of the whole values file."""
    definitions = Definitions()
    schema: Schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Values of the Torpor chart",
        **_object(values, definitions),
    }
    return {**schema, "$defs": dict(sorted(definitions.used.items()))}


def _object(values: tuple[Value, ...], definitions: Definitions) -> Schema:
    return {
        "type": "object",
        "properties": {value.path[-1]: _described(value, definitions) for value in values},
        "additionalProperties": False,
    }


def _described(value: Value, definitions: Definitions) -> Schema:
    description = {"description": value.description} if value.description else {}
    if value.has_own_keys:
        shared = _shared(value.children) if value.type == "shared" else {}
        return {**description, **_object(value.children, definitions), **shared}
    return {**description, **_leaf(value, definitions), "default": value.default}


def _shared(children: tuple[Value, ...]) -> Schema:
    # Go's regular expressions have no look-ahead, so "begins otherwise than ours" is told by letters.
    starts = {child.path[-1][:2] for child in children}
    if starts != {"im"}:
        raise ValueError(
            f"global: the keys begin with {sorted(starts)}; the pattern in _shared knows only 'im'"
        )
    return {
        "patternProperties": {"^([^i]|i[^m])": {"description": "Of other charts; not read here."}},
    }


def _leaf(value: Value, definitions: Definitions) -> Schema:
    if value.type is None:
        return {"type": "boolean" if isinstance(value.default, bool) else "string"}
    word, _, rest = value.type.partition(" ")
    match word:
        case "integer":
            low, high = rest.split("..")
            return {"type": "integer", "minimum": int(low), "maximum": int(high)}
        case "enum":
            return {"enum": rest.split()}
        case "string":
            return {"type": "string", "pattern": rest}
        case "map":
            return {"type": "object", "additionalProperties": {"type": "string"}}
        case "list" if rest.startswith("string "):
            return {"type": "array", "items": {"type": "string", "pattern": rest.removeprefix("string ")}}
        case "list":
            return {"type": "array", "items": definitions.reference(rest)}
        case _ if word in OWN_TYPES:
            return deepcopy(OWN_TYPES[word])
        case _:
            return definitions.reference(word)
