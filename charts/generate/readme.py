"""Make the table of values in the chart's README, between two marks that stay in the file."""

import json
from typing import Any

from charts.generate.values import Value, leaves

BEGIN = "<!-- values: made by `python -m charts.generate` from values.yaml -->"
END = "<!-- values end -->"


def insert(readme: str, values: tuple[Value, ...]) -> str:
    """Return `readme` with the table of `values` between its marks. ValueError when a mark is missing."""
    head, begin, rest = readme.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise ValueError(
            f"README.md: the marks {BEGIN!r} and {END!r} are missing; put them where the table goes"
        )
    return f"{head}{BEGIN}\n{table(values)}{END}{tail}"


def table(values: tuple[Value, ...]) -> str:
    """Return a Markdown table of every leaf: name, description, default."""
    rows = [
        f"| `{value.name}` | {_cell(value.description)} | {_default(value.default)} |"
        for value in leaves(values)
    ]
    return "\n".join(["| value | meaning | default |", "| --- | --- | --- |", *rows]) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _default(default: Any) -> str:
    return f"`{_cell(json.dumps(default, separators=(', ', ': ')))}`"
