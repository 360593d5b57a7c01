"""The metrics of one fleet after a look: the numbers of its status, again.

Some series exist only while there is something to say: a signal that is known, a rule that changed the
number, a schedule, a prefill budget. Those of the look before that this one does not set are taken away, one
by one: searching all fleets' series for them would cost more than the decision.
"""

from collections.abc import Iterator, Mapping
from typing import TypeAlias

from prometheus_client import Gauge

from torpor import metrics
from torpor.api import constants
from torpor.control.cold_start import ColdStarts
from torpor.control.findings import Facts
from torpor.decide import Decision, Standing

Series: TypeAlias = frozenset[tuple[Gauge, tuple[str, ...]]]


def measure(facts: Facts, status: Mapping[str, object], cold: ColdStarts, before: Series) -> Series:
    """Set the fleet's metrics, take away what is left of `before`, return what may go next time."""
    key = (facts.world.key.namespace, facts.world.key.name)
    metrics.DESIRED.labels(*key).set(facts.desired)
    metrics.READY.labels(*key).set(len(facts.world.ready))
    conditions = status.get("conditions")
    reasons = []
    for item in conditions if isinstance(conditions, list) else ():
        metrics.condition(*key, item["type"], item["status"])
        reasons.append((metrics.CONDITION_REASON, (item["type"], item["reason"]), 1))
    if cold.last is not None:
        metrics.COLD_START_SECONDS.labels(*key).set(cold.last)
    now = set()
    for gauge, labels, value in (
        *_decided(facts),
        *_hours(facts.world.hours),
        *_engine(status),
        *_cold(cold),
        *_price(status),
        *_held(facts),
        *reasons,
    ):
        gauge.labels(*key, *labels).set(value)
        now.add((gauge, (*key, *labels)))
    for gauge, labels in before - now:
        gauge.remove(*labels)
    return frozenset(now)


def _decided(facts: Facts) -> Iterator[tuple[Gauge, tuple[str, ...], float]]:
    decision = facts.decision
    if decision is None:
        return
    yield metrics.MODE, (facts.mode,), 1
    yield metrics.DECISION, (decision.reason,), 1
    if decision.recommended is not None:
        yield metrics.RECOMMENDED, (), decision.recommended
    yield from _signals(decision)
    yield from _work(decision)
    for line in decision.clamps:
        yield metrics.CLAMP, (line.name,), line.after - line.before


def _signals(decision: Decision) -> Iterator[tuple[Gauge, tuple[str, ...], float]]:
    for reading in decision.signals:
        yield metrics.SIGNAL_TARGET, (reading.name,), reading.target
        if reading.value is not None:
            yield metrics.SIGNAL, (reading.name,), reading.value
        if reading.raw is not None:
            yield metrics.SIGNAL_REPLICAS, (reading.name,), reading.raw


def _work(decision: Decision) -> Iterator[tuple[Gauge, tuple[str, ...], float]]:
    basis = decision.basis
    if basis is None:
        return
    if basis.need is not None and basis.requests is not None:
        yield metrics.WORK, (), basis.need.work
    if basis.foreseen is not None:
        yield metrics.FORECAST, (), basis.foreseen


def _cold(cold: ColdStarts) -> Iterator[tuple[Gauge, tuple[str, ...], float]]:
    if cold.p95 is not None:
        yield metrics.COLD_START_P95_SECONDS, (), cold.p95
    for phase, seconds in cold.phases:
        yield metrics.COLD_START_PHASE_SECONDS, (phase,), seconds


def _engine(status: Mapping[str, object]) -> Iterator[tuple[Gauge, tuple[str, ...], float]]:
    engine = status.get("engine")
    tokens = engine.get("maxNumBatchedTokens") if isinstance(engine, Mapping) else None
    if tokens is not None:
        yield metrics.PREFILL_BUDGET, (), tokens


def _price(status: Mapping[str, object]) -> Iterator[tuple[Gauge, tuple[str, ...], float]]:
    saved = status.get("saved")
    price = saved.get("pricePerGpuHour") if isinstance(saved, Mapping) else None
    if price is not None:
        yield metrics.PRICE, (), float(price)


def _held(facts: Facts) -> Iterator[tuple[Gauge, tuple[str, ...], float]]:
    """Yield how long requests may wait for a wake; nothing where none is held."""
    service = facts.world.service
    if service is None or service.spec.traffic.cold_start.response == constants.RESPONSE_REJECT:
        return
    limits = service.spec.traffic.cold_start
    yield metrics.HOLD_LIMIT_SECONDS, ("stream",), limits.hold_seconds
    yield metrics.HOLD_LIMIT_SECONDS, ("unary",), min(limits.hold_seconds, limits.unary_hold_seconds)


def _hours(hours: object) -> Iterator[tuple[Gauge, tuple[str, ...], float]]:
    if not isinstance(hours, Standing):
        return
    limits = hours.state.limits
    yield metrics.SCHEDULE_CLOSED, (), hours.state.closed
    if limits.floor is not None:
        yield metrics.SCHEDULE_FLOOR, (), limits.floor
    if limits.ceiling is not None:
        yield metrics.SCHEDULE_CEILING, (), limits.ceiling
    if hours.until is not None:
        yield metrics.SCHEDULE_NEXT, (), hours.until.timestamp()
