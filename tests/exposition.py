"""A scrape of a real process, held against docs/reference/metrics.md and read by Prometheus' own tool.

What a registry would say is not what a scrape brings: samples come and go, labels are put together at run
time, and Prometheus is stricter about the text than its client library. So a page here is what was served.
"""

import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from e2e.cluster.prometheus import promtool

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "metrics.md"
OPERATOR, GATEWAY, LAUNCHER = "Metrics of the operator", "Metrics of the gateway", "Metrics of the launcher"
# What the client library tells of any Python process.
LIBRARY = re.compile(r"(process|python)_\w+")


@dataclass(frozen=True)
class Metric:
    """A metric as Prometheus sees it: its type and the labels of its samples."""

    kind: str
    labels: frozenset[str]


def documented(part: str) -> dict[str, Metric]:
    """Return the metrics that the page has under a heading, by the names that a scrape shows."""
    page = re.sub(r"```.*?```", "", PAGE.read_text(), flags=re.DOTALL)
    sections = dict(re.findall(r"^# ([^\n]+)\n(.*?)(?=^# |\Z)", page, re.MULTILINE | re.DOTALL))
    found: dict[str, Metric] = {}
    for section in sections[part].split("\n## ")[1:]:
        of_fleets = (
            frozenset({"namespace", "name"}) if "Labels: `namespace`, `name`" in section else frozenset()
        )
        for name, labels, kind in re.findall(
            r"^\| `(torpor_\w+)` \| (.*?) ?\| (\w+) \| ", section, re.MULTILINE
        ):
            found[name] = Metric(kind, of_fleets | set(re.findall(r"`(\w+)`", labels)))
    return found


class Exposition:
    """One scrape. Raises ValueError where its text is not in Prometheus' format."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.families = list(text_string_to_metric_families(text))

    def metrics(self) -> dict[str, Metric]:
        """Return what has samples, by the names under which it is written about."""
        found: dict[str, Metric] = {}
        for family in self.families:
            labels = frozenset(label for sample in family.samples for label in sample.labels) - {"le"}
            if family.samples and not LIBRARY.fullmatch(family.name):
                shown = f"{family.name}_total" if family.type == "counter" else family.name
                found[shown] = Metric(family.type, labels)
        return found

    def samples(self, series: str, **labels: str) -> Iterator[tuple[dict[str, str], float]]:
        """Yield the labels and values of a series' samples that have the given labels."""
        for family in self.families:
            for sample in family.samples:
                if sample.name == series and labels.items() <= sample.labels.items():
                    yield sample.labels, sample.value

    def sum(self, series: str, **labels: str) -> float:
        """Return the sum of these samples, 0 where there is none."""
        return sum(value for _, value in self.samples(series, **labels))

    def by(self, series: str, label: str, **labels: str) -> dict[str, float]:
        """Return the sums of these samples by the values of a label, those that are 0 left out."""
        found: dict[str, float] = {}
        for own, value in self.samples(series, **labels):
            found[own[label]] = found.get(own[label], 0) + value
        return {word: value for word, value in found.items() if value}

    def checked_by_promtool(self) -> None:
        """Have promtool read it and say what it would change; fails with its words."""
        done = subprocess.run(
            [promtool(), "check", "metrics"],
            input=self.text,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert (done.returncode, done.stdout + done.stderr) == (0, "")

    def histograms_are_sound(self) -> None:
        """The buckets of each histogram grow, the last of them is its count, and it has a sum."""
        for family in self.families:
            if family.type != "histogram":
                continue
            rows: dict[frozenset[tuple[str, str]], list[tuple[float, float]]] = {}
            for labels, value in self.samples(f"{family.name}_bucket"):
                key = frozenset(item for item in labels.items() if item[0] != "le")
                rows.setdefault(key, []).append((float(labels["le"]), value))
            for key, buckets in rows.items():
                assert buckets == sorted(buckets), f"{family.name}: bounds or counts fall"
                assert [count for _, count in buckets] == sorted(count for _, count in buckets)
                assert buckets[-1] == (float("inf"), self.sum(f"{family.name}_count", **dict(key)))
                assert len(list(self.samples(f"{family.name}_sum", **dict(key)))) == 1
