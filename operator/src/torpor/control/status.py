"""The status: written once at the end of a look, and only if it says something new.

Numbers of the signals move with every request, and with them the reason of a number that stays. Writing each
of them would turn the API server into a metrics store, so they count as news only when the last write is
`REFRESH_SECONDS` old; a condition or another number of replicas is news at once. What is compared is the
status as it would be written, so an equal world writes nothing, for hours. How old a reading is says nothing
new: it is written with the reading and never for itself.
"""

import copy
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from torpor.api import conditions, constants, names
from torpor.api.conditions import Finding, timestamp
from torpor.api.status import (
    Clamp,
    ColdStartPhase,
    ColdStartRecord,
    Condition,
    EngineStatus,
    InferenceServiceStatus,
    SavedRecord,
    ScheduleActive,
    ScheduleNext,
    ScheduleStatus,
    SignalReading,
)
from torpor.api.status import Decision as DecisionRecord
from torpor.cluster.resources import Object
from torpor.control.cold_start import ColdStarts
from torpor.control.findings import Facts, start_failure
from torpor.control.pods import parse_time
from torpor.control.prospects import prospects
from torpor.control.requests import Requests, request_statuses
from torpor.decide import Reading, Standing, Unknown

REFRESH_SECONDS = 30.0

# Of status.decision, so that it stays below 32 KiB whatever the names of windows, pods and gateways are.
LONGEST_LINE = 400
LONGEST_MESSAGE = 1200
MOST_SIGNALS = 16
MOST_CLAMPS = 32
MOST_CHANGES = 16


def status_of(
    facts: Facts,
    found: list[Finding],
    cold: ColdStarts,
    *,
    cluster_domain: str,
    gateway_tls: bool = False,
    engine: EngineStatus | None = None,
    saved: SavedRecord | None = None,
    requests: Requests | None = None,
) -> dict[str, Any]:
    """Return the whole status for this look as it goes over the wire."""
    world = facts.world
    before = world.fleet.get("status") or {}
    return InferenceServiceStatus(
        observed_generation=world.generation,
        replicas=len(world.living),
        ready_replicas=len(world.ready),
        desired_replicas=facts.desired,
        selector=names.selector_text(world.key.name),
        url=names.url(world.key, cluster_domain, tls=gateway_tls),
        conditions=conditions.update(
            _known_conditions(before), found, generation=world.generation, now=world.now
        ),
        decision=_decision(facts, before.get("decision") or {}, world.now),
        schedule=_schedule(world.hours),
        cold_start=_cold_start(facts, cold),
        engine=engine,
        saved=saved,
        requests=request_statuses(requests or {}, before, world.now),
    ).to_wire()


def worth_writing(
    before: Mapping[str, Any], after: Mapping[str, Any], last_write: float | None, clock: float
) -> bool:
    """Whether `after` is news. `last_write`: when this process wrote the status last, monotonic seconds."""
    if same(before, after):
        return False
    if _gist(before) != _gist(after):
        return True
    return last_write is None or clock - last_write >= REFRESH_SECONDS


def same(before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    """Whether two statuses say the same, at whatever age of the readings."""
    return before == after or _ageless(before) == _ageless(after)


def status_manifest(fleet: Object, status: Mapping[str, Any]) -> Object:
    """Return the body of the one status write. The uid makes a namesake that came meanwhile refuse it."""
    metadata = fleet["metadata"]
    return {
        "apiVersion": constants.API_VERSION,
        "kind": constants.KIND,
        "metadata": {key: metadata[key] for key in ("name", "namespace", "uid")},
        "status": dict(status),
    }


def _known_conditions(before: Mapping[str, Any]) -> list[Condition]:
    """Read the conditions of an earlier look; what somebody else mangled is written anew."""
    known = []
    listed = before.get("conditions")
    for item in listed if isinstance(listed, list) else ():
        try:
            condition = Condition.model_validate(item)
        except ValueError:
            continue
        if condition.type in constants.CONDITION_TYPES and parse_time(condition.last_transition_time):
            known.append(condition)
    return known


def _decision(facts: Facts, before: Mapping[str, Any], now: datetime) -> DecisionRecord | None:
    decision = facts.decision
    if decision is None:
        return None
    same = (
        before.get("desiredReplicas") == decision.replicas
        and before.get("recommendedReplicas") == decision.recommended
        and before.get("reason") == decision.reason
        and parse_time(before.get("time")) is not None
    )
    return DecisionRecord(
        mode=facts.mode,
        desired_replicas=decision.replicas,
        recommended_replicas=decision.recommended,
        reason=decision.reason,
        message=conditions.shortened(decision.message, LONGEST_MESSAGE),
        time=str(before["time"]) if same else timestamp(now),
        signals=[_signal(reading) for reading in decision.signals[:MOST_SIGNALS]],
        clamps=[
            Clamp(name=line.name, from_=line.before, to=line.after, message=_line(line.message))
            for line in decision.clamps[:MOST_CLAMPS]
        ],
        would_change=[_line(told) for told in _prospects(facts)[:MOST_CHANGES]],
    )


def _prospects(facts: Facts) -> list[str]:
    if facts.decision is None or facts.rules is None:
        return []
    return prospects(facts.decision, facts.rules)


def _line(text: str) -> str:
    return conditions.shortened(text, LONGEST_LINE)


def _signal(reading: Reading) -> SignalReading:
    percent = reading.name == "kvCacheUtilization"
    scale = 100 if percent else 1
    age = reading.unknown.age if reading.unknown else reading.age
    return SignalReading(
        name=reading.name,
        value=None if reading.value is None else f"{reading.value * scale:.2f}",
        target=f"{reading.target * scale:g}",
        age_seconds=None if age is None else int(min(max(age, 0.0), 1e9)),
        raw_replicas=reading.raw,
        unknown=_line(reading.unknown.reason) if reading.unknown else None,
        lower_bound=_line(reading.gap or "not everything reports") if reading.partial else None,
    )


def _schedule(hours: Standing | Unknown | None) -> ScheduleStatus | None:
    if not isinstance(hours, Standing):
        return None
    following = None
    if hours.until is not None and hours.after is not None:
        limits = hours.after.limits
        following = ScheduleNext(
            time=timestamp(hours.until),
            name=conditions.shortened(hours.after.told),
            min_replicas=limits.floor,
            max_replicas=limits.ceiling,
        )
    limits = hours.state.limits
    return ScheduleStatus(
        active=ScheduleActive(
            name=conditions.shortened(hours.names),
            min_replicas=limits.floor,
            max_replicas=limits.ceiling,
            ready_by_time=timestamp(hours.until) if hours.state.warming and hours.until else None,
        ),
        next=following,
        opens_time=None if hours.opens is None else timestamp(hours.opens),
    )


def _cold_start(facts: Facts, cold: ColdStarts) -> ColdStartRecord | None:
    failed = start_failure(facts.world) if facts.desired and not facts.world.ready else None
    attempt = failed.retry_at if failed else None
    if attempt is not None and attempt + timedelta(seconds=5) < facts.world.now:
        attempt = None
    if cold.last is None and attempt is None:
        return None
    return ColdStartRecord(
        last_seconds=None if cold.last is None else f"{cold.last:.1f}",
        p95_seconds=None if cold.p95 is None else f"{cold.p95:.1f}",
        next_attempt_time=None if attempt is None else timestamp(attempt),
        phases=[ColdStartPhase(name=name, seconds=f"{seconds:.2f}") for name, seconds in cold.phases],
    )


def _ageless(status: Mapping[str, Any]) -> Mapping[str, Any]:
    decision = status.get("decision")
    signals = decision.get("signals") if isinstance(decision, Mapping) else None
    if not isinstance(signals, list):
        return status
    bare = [
        {key: value for key, value in signal.items() if key != "ageSeconds"}
        if isinstance(signal, Mapping)
        else signal
        for signal in signals
    ]
    return {**status, "decision": {**status["decision"], "signals": bare}}


def _gist(status: Mapping[str, Any]) -> dict[str, Any]:
    """The status without what moves with every request."""
    gist = copy.deepcopy(dict(status))
    decision = gist.get("decision")
    if isinstance(decision, dict):
        gist["decision"] = decision.get("desiredReplicas")
    for condition in gist.get("conditions") or ():
        if isinstance(condition, dict) and condition.get("type") == constants.SIGNALS_AVAILABLE:
            condition.pop("message", None)
    return gist
