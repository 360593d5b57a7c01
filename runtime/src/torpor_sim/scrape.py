"""/metrics: the engine's series, those of the HTTP layer, and the faults that distort them."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from torpor_sim.exposition import Counter, Family, Histogram

if TYPE_CHECKING:
    from torpor_sim.engine import Engine
    from torpor_sim.faults import FaultPlan
    from torpor_sim.http import Exchange

CONTENT_TYPE = b"text/plain; version=1.0.0; charset=utf-8"
# vLLM's instrumentation leaves its own and the probes' paths out.
_UNCOUNTED = frozenset({"/metrics", "/health", "/load", "/ping", "/version"})


@dataclass(slots=True)
class Scrape:
    """Renders /metrics and counts requests."""

    engine: Engine
    faults: FaultPlan
    hidden: frozenset[str]
    _http: dict[tuple[str, str, str], Counter] = field(default_factory=dict)
    _durations: dict[tuple[str, str], Histogram] = field(default_factory=dict)
    _frozen: bytes | None = None

    def count(self, handler: str, method: str, status: int, seconds: float) -> None:
        """Count one request; `seconds` is the time to the head of its answer."""
        if handler in _UNCOUNTED:
            return
        key = (handler, method, f"{status // 100}xx")
        counter = self._http.get(key)
        if counter is None:
            labels = {"handler": handler, "method": method, "status": key[2]}
            counter = self._http[key] = Counter(labels, time.time())
        counter.inc()
        timed = self._durations.get(key[:2])
        if timed is None:
            labels = {"handler": handler, "method": method}
            timed = self._durations[key[:2]] = Histogram(labels, (0.1, 0.5, 1.0), time.time())
        timed.observe(seconds)

    def answer(self, exchange: Exchange, uptime: float) -> None:
        """Answer a scrape, or not, as the faults have it."""
        if self.faults.due("hang-metrics-after", uptime):
            return
        if self.faults.due("freeze-metrics-after", uptime):
            if self._frozen is None:
                self._frozen = self.render()
            body = self._frozen
        else:
            body = self.render()
        exchange.respond(200, body, CONTENT_TYPE)

    def render(self) -> bytes:
        """The exposition text."""
        metrics = self.engine.read_metrics()
        for name, gauges in (
            ("kv", [metrics.usage]),
            ("running", [metrics.running]),
            ("waiting", [metrics.waiting, metrics.waiting_by["capacity"]]),
        ):
            pinned = self.faults.get(name)
            for gauge in gauges if pinned is not None else []:
                gauge.value = pinned.value if pinned is not None else 0.0
        if self.faults.get("nan-metrics") is not None:
            for gauge in (metrics.usage, metrics.running, metrics.waiting, *metrics.waiting_by.values()):
                gauge.value = float("nan")
        families = [family for name, family in metrics.families.items() if name not in self.hidden]
        families.append(
            Family("http_requests", "Requests by handler, method and status.", self._http.values())
        )
        families.append(
            Family("http_request_duration_seconds", "Time to the head.", self._durations.values())
        )
        return "".join(family.render() for family in families).encode()
