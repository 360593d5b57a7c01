"""The metrics of several workers as those of one gateway.

Prometheus scrapes one port and is not to know how many processes stand behind it, so counters, histograms and
most gauges are added up; what describes the whole (whether it is in sync, how many fleets it knows) is the
word of the worst. What Python and the kernel tell of a process stays apart, under the label `worker`.

A sum of counters may not shrink when a worker dies, or a rate over it would jump: what a dead worker was last
seen to have counted stays in the sum. What it counted after that is lost with it.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeAlias

from prometheus_client.core import Metric
from prometheus_client.registry import Collector, CollectorRegistry

from torpor_gateway.metrics import PREFIX

Family: TypeAlias = list[Any]  # [name, documentation, type, [[sample's name, labels, value], …]]
Key: TypeAlias = tuple[str, tuple[tuple[str, str], ...]]

_LEAST = frozenset(
    PREFIX + name
    for name in (
        "synced",
        "fleets",
        "demand_readers",
        "api_keys",
        "certificate_start_timestamp_seconds",
        "certificate_expiry_timestamp_seconds",
    )
)
_MOST = frozenset(
    PREFIX + name
    for name in (
        "draining",
        "oldest_held_seconds",
        "routable_endpoints",
        "open",
        "api_keys_stale",
        "certificate_stale",
        "sharing_processes",
    )
)
_GROWS = frozenset({"counter", "histogram"})


def snapshot(registry: CollectorRegistry) -> list[Family]:
    """Return everything that a process counts, as values that JSON can carry."""
    return [
        [
            family.name,
            family.documentation,
            family.type,
            [[sample.name, sample.labels, sample.value] for sample in family.samples],
        ]
        for family in registry.collect()
    ]


class Sums(Collector):
    """Adds up. `latest` are the newest snapshots by worker; `retire` moves one into what is past."""

    def __init__(self) -> None:
        self.latest: dict[str, list[Family]] = {}
        self._past: dict[str, dict[Key, float]] = {}  # by family

    def retire(self, worker: str) -> None:
        """A worker is gone: what it counted stays."""
        for name, _, kind, samples in self.latest.pop(worker, ()):
            if kind in _GROWS and name.startswith(PREFIX):
                past = self._past.setdefault(name, {})
                for key, value in _keyed(samples):
                    past[key] = past.get(key, 0.0) + value

    def collect(self) -> Iterator[Metric]:
        """Yield every family once."""
        self._forget()
        found: dict[str, tuple[Metric, dict[Key, float]]] = {}
        for worker, families in self.latest.items():
            for name, documentation, kind, samples in families:
                metric, values = found.setdefault(name, (Metric(name, documentation, kind), {}))
                if name.startswith(PREFIX):
                    _add(values, samples, name)
                else:
                    for sample, labels, value in samples:
                        metric.add_sample(sample, labels | {"worker": worker}, value)
        for name, (metric, values) in found.items():
            for key, value in self._past.get(name, {}).items():
                values[key] = values.get(key, 0.0) + value
            for (sample, labels), value in values.items():
                metric.add_sample(sample, dict(labels), value)
            yield metric

    def _forget(self) -> None:
        """Drop the past of fleets that no worker knows any more, as a single process does."""
        told = [samples for families in self.latest.values() for _, _, _, samples in families]
        fleets = {_fleet(labels) for samples in told for _, labels, _ in samples}
        for name, past in self._past.items():
            self._past[name] = {key: value for key, value in past.items() if _fleet(dict(key[1])) in fleets}


def _add(values: dict[Key, float], samples: Iterable[list[Any]], name: str) -> None:
    for key, value in _keyed(samples):
        if key not in values:
            values[key] = value
        elif name in _LEAST:
            values[key] = min(values[key], value)
        elif name in _MOST:
            values[key] = max(values[key], value)
        else:
            values[key] += value


def _keyed(samples: Iterable[list[Any]]) -> Iterator[tuple[Key, float]]:
    for sample, labels, value in samples:
        yield (sample, tuple(sorted(labels.items()))), value


def _fleet(labels: Mapping[str, str]) -> tuple[str, str] | None:
    return (labels["namespace"], labels["name"]) if "namespace" in labels and "name" in labels else None
