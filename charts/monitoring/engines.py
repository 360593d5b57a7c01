"""What every vLLM of the supported releases serves: one was recorded, of the next the definitions were read.

A query about an engine has to hold on both sides of an upgrade, and fleets of both releases stand side by
side while it lasts. So what counts here is what they have in common: a name with the same kind in each
release, and of its labels those that each of them gives. What only one has is refused, naming the other.

    tests/data/vllm-0.32/metrics.json      what a running one printed (`python -m e2e.likeness.probes`)
    tests/data/vllm-0.33/definitions.json  read from its wheel (`python -m charts.monitoring.definitions`)

What stands behind a condition (`optional`) is not served by every engine, so it is not counted on.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

DATA = Path(__file__).resolve().parents[2] / "tests" / "data"
RECORDED = DATA / "vllm-0.32" / "metrics.json"
DEFINED = DATA / "vllm-0.33" / "definitions.json"
PREFIX = "vllm:"
PARTS = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_count", "_sum")}


@dataclass(frozen=True)
class Served:
    """A series of an engine: `kind` as in a TYPE line, its labels, and the values of them that were seen."""

    kind: str
    labels: frozenset[str]
    values: Mapping[str, frozenset[str]]


def recorded() -> dict[str, Served]:
    """Return what vLLM 0.32 printed, the series of its Python process among them, by name."""
    entries = json.loads(RECORDED.read_text())
    return {
        name: Served(entry["type"], frozenset(entry["labels"]), _sets(entry["labels"]))
        for name, entry in entries.items()
    }


def defined() -> dict[str, Served]:
    """Return the series that vLLM 0.33 defines for every engine, by name."""
    series: dict[str, Served] = {}
    for metric, entry in json.loads(DEFINED.read_text())["metrics"].items():
        kind, labels = entry["type"], frozenset(entry["labels"])
        for part in () if entry["optional"] else PARTS[kind]:
            # The client library puts `_total` behind a counter that does not end with it already.
            name = metric.removesuffix("_total") + part if kind == "counter" else metric + part
            series[name] = Served(kind, labels | {"le"} if part == "_bucket" else labels, {})
    return series


@cache
def releases() -> dict[str, dict[str, Served]]:
    """Return the series of each supported release."""
    return {"0.32": recorded(), "0.33": defined()}


def everywhere() -> Iterator[tuple[str, Served]]:
    """Yield what all releases serve, with the labels that all of them give; and the series of the process."""
    first, *others = releases().values()
    for name, served in first.items():
        if not name.startswith(PREFIX):
            yield name, served
            continue
        each = [other.get(name) for other in others]
        if all(other is not None and other.kind == served.kind for other in each):
            labels = served.labels.intersection(*(other.labels for other in each if other is not None))
            yield name, Served(served.kind, labels, served.values)


def said_of(name: str) -> str:
    """Return which releases have a name and which lack it, as the end of a sentence; empty where none has."""
    have = [release for release, series in releases().items() if name in series]
    lack = [release for release in releases() if release not in have]
    if not have:
        return ""
    if lack:
        return f": vLLM {', '.join(have)} has it, vLLM {', '.join(lack)} has not"
    kinds = (f"a {series[name].kind} in vLLM {release}" for release, series in releases().items())
    return f": it is {' and '.join(kinds)}"


def _sets(values: Mapping[str, list[str]]) -> dict[str, frozenset[str]]:
    return {label: frozenset(words) for label, words in values.items()}
