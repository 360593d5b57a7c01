"""Prometheus text, as prometheus_client writes it, for a fixed set of series.

The engine's image carries no prometheus_client, and a scrape happens up to twenty times a second, so series
are plain objects that keep their rendered head and histograms keep their rendered text until the next
observation. The output matches the library's: sorted labels, `_total` on counters, a `_created` gauge for
every counter and histogram, Go's number format.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


def number(value: float) -> str:
    """A number as prometheus_client prints it: 1.0, 1e+06, +Inf, NaN."""
    value = float(value)
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    if math.isnan(value):
        return "NaN"
    text = repr(value)
    dot = text.find(".")
    if value > 0 and dot > 6:
        mantissa = f"{text[0]}.{text[1:dot]}{text[dot + 1 :]}".rstrip("0.")
        return f"{mantissa}e+0{dot - 1}"
    return text


def labels_text(labels: Mapping[str, str]) -> str:
    """`{a="1",b="2"}` in name order, values escaped; empty for no labels."""
    if not labels:
        return ""
    escape = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})
    return (
        "{" + ",".join(f'{name}="{value.translate(escape)}"' for name, value in sorted(labels.items())) + "}"
    )


class Gauge:
    """One gauge series."""

    kind = "gauge"

    def __init__(self, labels: Mapping[str, str]) -> None:
        self.labels = labels_text(labels)
        self.value = 0.0

    def lines(self, name: str) -> str:
        """The sample line."""
        return f"{name}{self.labels} {number(self.value)}\n"


class Counter:
    """One counter series; `name` of its family is given without `_total`."""

    kind = "counter"

    def __init__(self, labels: Mapping[str, str], created: float) -> None:
        self.labels = labels_text(labels)
        self.created = created
        self.value = 0.0

    def inc(self, amount: float = 1.0) -> None:
        """Count."""
        self.value += amount

    def lines(self, name: str) -> str:
        """The sample line."""
        return f"{name}_total{self.labels} {number(self.value)}\n"

    def created_line(self, name: str) -> str:
        """The creation time, Unix seconds."""
        return f"{name}_created{self.labels} {number(self.created)}\n"


class Histogram:
    """One histogram series with upper bounds in rising order; +Inf is added."""

    kind = "histogram"

    def __init__(self, labels: Mapping[str, str], bounds: Sequence[float], created: float) -> None:
        self.labels = labels_text(labels)
        self.created = created
        self.sum = 0.0
        self._bounds = [*map(float, bounds), math.inf]
        self._counts = [0] * len(self._bounds)
        self._le = [labels_text({**labels, "le": number(bound)}) for bound in self._bounds]
        self._text = ""

    @property
    def count(self) -> int:
        """Observations so far."""
        return sum(self._counts)

    def observe(self, value: float) -> None:
        """Count one observation."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self.sum += value
        self._text = ""

    def lines(self, name: str) -> str:
        """Bucket, count and sum lines."""
        if not self._text:
            below = 0
            parts = []
            for le, count in zip(self._le, self._counts, strict=True):
                below += count
                parts.append(f"{name}_bucket{le} {below}.0\n")
            parts.append(f"{name}_count{self.labels} {below}.0\n{name}_sum{self.labels} {number(self.sum)}\n")
            self._text = "".join(parts)
        return self._text

    def created_line(self, name: str) -> str:
        """The creation time, Unix seconds."""
        return f"{name}_created{self.labels} {number(self.created)}\n"


Series = Gauge | Counter | Histogram


class Family:
    """All series of one metric name."""

    def __init__(self, name: str, documentation: str, series: Iterable[Series]) -> None:
        self.name = name
        self.documentation = documentation
        self.series = list(series)

    def render(self) -> str:
        """HELP, TYPE and samples, followed by the creation times."""
        if not self.series:
            return ""
        kind, name = self.series[0].kind, self.name
        shown = f"{name}_total" if kind == "counter" else name
        parts = [f"# HELP {shown} {self.documentation}\n# TYPE {shown} {kind}\n"]
        parts += [series.lines(name) for series in self.series]
        dated = [series for series in self.series if not isinstance(series, Gauge)]
        if dated:
            parts.append(f"# HELP {name}_created {self.documentation}\n# TYPE {name}_created gauge\n")
            parts += [series.created_line(name) for series in dated]
        return "".join(parts)
