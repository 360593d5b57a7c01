"""Engines whose numbers stand still: a reading that never changes is no reading.

An engine that hangs goes on answering its metrics, with the numbers of the moment in which it stopped: fresh,
plausible and wrong. Two witnesses tell. An engine says itself that it runs requests while none of its token
counters moves; or the gateways have requests under way, or see answers end, while no counter of any engine
moves (an exporter that froze at zero). Either, for `WEDGED_AFTER` seconds without a break, makes the gauges
of those engines unknown, and what is unknown never lowers; what the gateways see themselves may still raise.

It takes a minute because a long prompt is counted when it is through. An engine without counters is not
judged: nothing can be said of it.
"""

from dataclasses import replace

from torpor.decide.known import Known, Still
from torpor.decide.observation import Engine, Observation
from torpor.decide.samples import MOST_COUNTED
from torpor.decide.values import Unknown, measured

WEDGED_AFTER = 60.0  # seconds
MOST_STILL = 64  # engines remembered

OWN = Unknown("its counters stand still while it claims to run")
SEEN = Unknown("its counters stand still while the gateways have requests under way")


def trusted(known: Known, observation: Observation, now: float) -> tuple[Known, Observation]:
    """Return what is known after this look, and the observation with unknown gauges where they are not to be
    believed. now: seconds, monotonic.
    """
    totals = {engine.name: total for engine in observation.ready if (total := _total(engine)) is not None}
    if not totals:
        nothing = not known.stills and known.still is None
        return known if nothing else replace(known, stills=(), still=None), observation
    before = {still.name: still for still in known.stills}
    stills = []
    hung: set[str] = set()
    for engine in observation.ready:
        total = totals.get(engine.name)
        if total is None or not _claims(engine):
            continue
        still = _going_on(before.get(engine.name), engine.name, total, now)
        stills.append(still)
        if now - still.since >= WEDGED_AFTER:
            hung.add(engine.name)
    still_all = None
    if _under_way(known, observation):
        still_all = _going_on(known.still, "", sum(totals.values()), now)
    frozen = still_all is not None and now - still_all.since >= WEDGED_AFTER
    known = replace(known, stills=tuple(stills[:MOST_STILL]), still=still_all)
    if not hung and not frozen:
        return known, observation
    engines = tuple(
        _unknown(engine, OWN if engine.name in hung else SEEN)
        if engine.name in hung or (frozen and engine.name in totals)
        else engine
        for engine in observation.engines
    )
    return known, replace(observation, engines=engines)


def _going_on(before: Still | None, name: str, total: float, now: float) -> Still:
    if before is not None and before.total == total and before.since <= now:
        return before
    return Still(name, total, now)


def _total(engine: Engine) -> float | None:
    """The tokens that an engine counted; None where it counts nothing."""
    counters = engine.counters
    if counters is None:
        return None
    parts = [measured(part, high=MOST_COUNTED) for part in (counters.generated, counters.prompts)]
    known = [part for part in parts if not isinstance(part, Unknown)]
    return sum(known) if known else None


def _claims(engine: Engine) -> bool:
    running = measured(engine.running)
    return not isinstance(running, Unknown) and running >= 1


def _under_way(known: Known, observation: Observation) -> bool:
    """Whether the gateways have requests at engines, or saw answers end since the last look."""
    demand = observation.demand
    in_flight = measured(demand.in_flight)
    if not isinstance(in_flight, Unknown) and in_flight >= 1:
        return True
    tally, before = demand.tally, known.tally
    return tally is not None and before is not None and tally.completed > before.completed


def _unknown(engine: Engine, why: Unknown) -> Engine:
    return replace(engine, running=why, waiting=why, kv=why)
