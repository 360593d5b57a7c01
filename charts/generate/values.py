"""Read values.yaml with its comments: each key's type, description and default.

YAML parsers drop comments and values without comments explain nothing, so the file is composed into nodes
that know their lines, and the comment lines directly above a key belong to it. The last one may begin with
`type:` and states what the default alone cannot say:

    type: integer 1..10              a whole number in that range
    type: enum ClusterIP NodePort    one of these strings
    type: string REGEX               a string that matches
    type: map                        names to strings
    type: list string REGEX          strings that match
    type: list KIND, type: KIND      a Kubernetes type of kubernetes.py, or one of the names in schema.py
    type: shared                     a mapping whose other keys belong to other charts

A key without it has the type of its default: boolean, string, or a mapping with keys of its own. Numbers,
empty mappings and lists must say more, and a key without a description is an error: an undocumented value is
a defect.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

TYPE_LINE = re.compile(r"^type:\s*(?P<type>.+)$")


@dataclass(frozen=True)
class Value:
    """One key of values.yaml. `type` is the text of its type line; `children` is empty for leaves."""

    path: tuple[str, ...]
    description: str
    type: str | None
    default: Any
    children: tuple["Value", ...]

    @property
    def name(self) -> str:
        """Return the dotted path, as in `helm --set`."""
        return ".".join(self.path)

    @property
    def has_own_keys(self) -> bool:
        """Say whether the mapping's keys are values of the chart, not one value of a Kubernetes type."""
        return isinstance(self.default, dict) and self.type in (None, "shared")


def read(path: Path) -> tuple[Value, ...]:
    """Read the values of the file at `path`. ValueError names the line of a key that says too little."""
    text = path.read_text()
    root = yaml.compose(text)
    if not isinstance(root, yaml.MappingNode):
        raise ValueError(f"{path}: not a mapping; values.yaml holds one mapping of values")
    return tuple(_values(root, yaml.safe_load(text), text.splitlines(), ()))


def leaves(values: tuple[Value, ...]) -> Iterator[Value]:
    """Yield every value that has no values below it, in the file's order."""
    for value in values:
        if value.has_own_keys:
            yield from leaves(value.children)
        else:
            yield value


def _values(
    node: yaml.MappingNode, data: dict[str, Any], lines: list[str], above: tuple[str, ...]
) -> Iterator[Value]:
    for key_node, value_node in node.value:
        path = (*above, key_node.value)
        default = data[key_node.value]
        line = key_node.start_mark.line
        description, type_text = _comment(lines, line)
        value = Value(path, description, type_text, default, ())
        children: tuple[Value, ...] = ()
        if value.has_own_keys:
            children = tuple(_values(value_node, default, lines, path))
        value = Value(path, description, type_text, default, children)
        _require(value, line + 1)
        yield value


def _comment(lines: list[str], line: int) -> tuple[str, str | None]:
    first = line
    while first > 0 and lines[first - 1].strip().startswith("#"):
        first -= 1
    text = [entry.strip().removeprefix("#").strip() for entry in lines[first:line]]
    if text and (match := TYPE_LINE.match(text[-1])):
        return " ".join(text[:-1]), match["type"]
    return " ".join(text), None


def _require(value: Value, line: int) -> None:
    where = f"values.yaml line {line}, {value.name}"
    if not value.has_own_keys and not value.description:
        raise ValueError(f"{where}: no description; write a comment directly above the key")
    needs_type = not isinstance(value.default, str | bool) and not value.has_own_keys
    if value.type is None and (needs_type or value.default == {}):
        raise ValueError(
            f"{where}: the default {value.default!r} does not tell the type; add a line '# type: ...'"
        )
