"""docs/reference/crd.md: every field of an InferenceService, made from the CustomResourceDefinition.

`kubectl explain` shows one field at a time and hides the rules; the CRD's YAML shows everything and nobody
reads it. The page has a section for each object, a row for each of its fields, and below it the rules that a
value must obey, in the sentences that a refused `kubectl apply` prints. An object that Kubernetes' own types
repeat (the terms of affinity) is explained once. Patterns are left to the rules' sentences where there are
any: a person who reads a regular expression of 200 letters has been let down.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, get_args

from torpor.api import base, constants, crd

from docs.generate.words import NOTICE, anchor, code, table

Schema = Mapping[str, Any]

UNITS = {  # by the ends of names: the API puts units there
    "Milliseconds": "milliseconds",
    "Seconds": "seconds",
    "Mebibytes": "MiB",
    "Percent": "percent",
    "Tokens": "tokens",
    "seconds": "seconds",
}


def _pattern(kind: Any) -> str:
    return str(get_args(kind)[1].pattern)


FORMS = {  # what a pattern says, for those that many fields share
    base.QUANTITY_PATTERN: "is an amount as Kubernetes writes them, such as 500m, 2 or 100Gi",
    base.LABEL_KEY_PATTERN: "is a label's key: [prefix/]name",
    base.LABEL_VALUE_PATTERN: "is a label's value: letters, digits, '-', '_' and '.', or nothing",
    _pattern(base.ObjectName): "is an object's name: a-z, 0-9, '-' and '.'",
    _pattern(base.LabelName): "is a DNS label: a-z, 0-9 and '-'",
    _pattern(base.DataKey): "is a Secret's or ConfigMap's key: letters, digits, '-', '_' and '.'",
}
HEAD = """# InferenceService: every field

{notice}

`kubectl explain isvc.spec.scaling` says the same of one field, and [crds/](../../crds) is the definition
itself. What the API server checks stands below each table; `torpor validate FILE` says it before
anything is sent. Units are in the fields' names. A field without a default means something by being
absent. `x[]` is an entry of the list `x`, `x.*` a value of the map `x`.

## The resource

{resource}
## Columns of kubectl get

A column marked *wide* shows with `-o wide`.

{columns}
"""


@dataclass(frozen=True)
class Section:
    """An object of the schema with the place where it is first met."""

    path: str
    node: Schema


def page() -> str:
    """Return the page."""
    definition = crd.build()["spec"]
    version = definition["versions"][0]
    root = version["schema"]["openAPIV3Schema"]
    seen: dict[str, str] = {}
    found = [*_sections(root["properties"]["spec"], "spec", seen)]
    found += _sections(root["properties"]["status"], "status", seen)
    head = HEAD.format(
        notice=NOTICE.format(source="operator/src/torpor/api"),
        resource=_resource(definition, version, root),
        columns=table(
            ("column", "type", "is", "read from", "shown"),
            (
                (
                    column["name"],
                    column["type"],
                    column["description"],
                    code(column["jsonPath"]),
                    "wide" if column.get("priority") else "always",
                )
                for column in version["additionalPrinterColumns"]
            ),
        ),
    )
    return head + "\n".join(_section(section, seen) for section in found)


def _resource(definition: Schema, version: Schema, root: Schema) -> str:
    names, scale = definition["names"], version["subresources"]["scale"]
    rows = [
        ("`apiVersion`", code(f"{definition['group']}/{version['name']}")),
        ("`kind`", code(names["kind"])),
        (
            "names for kubectl",
            ", ".join(map(code, (names["plural"], names["singular"], *names["shortNames"]))),
        ),
        ("categories", ", ".join(map(code, names["categories"]))),
        ("scope", definition["scope"].lower()),
        ("subresource `status`", f"written by {constants.PART_OF} alone"),
        (
            "subresource `scale`",
            f"replicas {code(scale['specReplicasPath'][1:])}, which must be set for a read to succeed; "
            f"status {code(scale['statusReplicasPath'][1:])}, "
            f"selector {code(scale['labelSelectorPath'][1:])}",
        ),
        *(("rule", rule["message"]) for rule in root.get("x-kubernetes-validations", ())),
    ]
    return table(("of the resource", "is"), rows)


def _identity(node: Schema) -> str:
    """Tell objects apart by what they hold, not by how they are described where they are used."""
    return json.dumps(
        {key: node[key] for key in node if key not in ("description", "default")}, sort_keys=True
    )


def _sections(node: Schema, path: str, seen: dict[str, str]) -> Iterator[Section]:
    """Yield an object with properties and those below it, each at the first place where it is met."""
    if "properties" in node:
        if (key := _identity(node)) in seen:
            return
        seen[key] = path
        yield Section(path, node)
        for name, below in node["properties"].items():
            yield from _sections(below, f"{path}.{name}", seen)
    if "items" in node:
        yield from _sections(node["items"], f"{path}[]", seen)
    if "additionalProperties" in node:
        yield from _sections(node["additionalProperties"], f"{path}.*", seen)


def _section(section: Section, seen: Mapping[str, str]) -> str:
    node, deep = section.node, section.path.count(".")
    required = node.get("required", ())
    rows = [
        (
            code(name),
            _type(name, below, f"{section.path}.{name}", seen),
            "required" if name in required else _default(below),
            _bounds(below),
            below.get("description", ""),
        )
        for name, below in node["properties"].items()
    ]
    own = [_sentence(rule, "", section.path) for rule in node.get("x-kubernetes-validations", ())]
    of_fields = [line for name, below in node["properties"].items() for line in _rules(name, below)]
    lines = [f"{'#' * min(2 + deep, 4)} {section.path}", "", node.get("description", ""), ""]
    lines += [table(("field", "type", "default", "may be", "is"), rows)]
    if rules := [*own, *of_fields]:
        lines += ["Rules:", "", *(f"- {rule}" for rule in rules), ""]
    return "\n".join(lines)


def _type(name: str, node: Schema, path: str, seen: Mapping[str, str]) -> str:
    if node.get("x-kubernetes-int-or-string"):
        return "quantity"
    kind = node["type"]
    if "properties" in node:
        return f"[object](#{anchor(seen[_identity(node)])})"
    if kind == "array":
        return f"list of {_type('', node['items'], path + '[]', seen)}"
    if "additionalProperties" in node:
        return f"map to {_type('', node['additionalProperties'], path + '.*', seen)}"
    if node.get("format") == "date-time":
        return "time"
    unit = next((unit for end, unit in UNITS.items() if name.endswith(end)), "")
    return f"{kind}, {unit}" if unit and kind == "integer" else str(kind)


def _default(node: Schema) -> str:
    default = node.get("default", "")
    return (
        "" if default in ("", {}, []) else code(default if isinstance(default, str) else json.dumps(default))
    )


def _bounds(node: Schema) -> str:
    if "enum" in node:
        return ", ".join(map(code, node["enum"]))
    low, high = node.get("minimum"), node.get("maximum")
    if low is not None or high is not None:
        return (
            f"{low} to {high}"
            if None not in (low, high)
            else f"{low} or more"
            if high is None
            else f"up to {high}"
        )
    for least, most, what in (
        ("minLength", "maxLength", "characters"),
        ("minItems", "maxItems", "entries"),
        ("minProperties", "maxProperties", "entries"),
    ):
        if most in node:
            lowest, highest = node.get(least), node[most]
            if lowest == highest:
                return f"{highest} {what}" if highest != 1 else "one entry"
            return f"{lowest} to {highest} {what}" if lowest else f"up to {highest} {what}"
    return ""


def _rules(name: str, node: Schema) -> Iterator[str]:
    """Yield the sentences about a field, and about entries of a list or map without a section."""
    of_objects = "properties" in node  # their own section has those
    if not of_objects:
        yield from (_sentence(rule, name) for rule in node.get("x-kubernetes-validations", ()))
        if "pattern" in node and not node.get("x-kubernetes-int-or-string"):
            form = FORMS.get(node["pattern"], f"matches `{node['pattern']}`")
            yield f"`{name}` {form}"
    if node.get("x-kubernetes-list-type") == "map":
        keys = " and ".join(map(code, node["x-kubernetes-list-map-keys"]))
        yield f"`{name}` has no two entries with the same {keys}"
    if node.get("x-kubernetes-list-type") == "set":
        yield f"`{name}` has no entry twice"
    if "items" in node:
        yield from _rules(f"{name}[]", node["items"])
    if "additionalProperties" in node:
        yield from _rules(f"{name}.*", node["additionalProperties"])


def _sentence(rule: Mapping[str, str], name: str, whole: str = "") -> str:
    """Return a rule's message with what it is about: a field, or with none the object at `whole`."""
    about = (name + rule.get("fieldPath", "")).removeprefix(".") or whole
    return f"`{about}` {rule['message']}"
