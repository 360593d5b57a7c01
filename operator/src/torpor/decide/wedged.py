"""Engines whose numbers stand still: a reading that never changes is no reading.

An engine that hangs goes on answering its metrics, with the numbers of the moment in which it stopped: fresh,
plausible and wrong. Two witnesses tell. An engine says itself that it runs requests while none of its token
counters moves; or the gateways have requests under way, or see answers end, while no counter of any engine
moves (an exporter that froze at zero). Either, for `WEDGED_AFTER` seconds without a break, makes the gauges
of those engines unknown, and what is unknown never lowers; what the gateways see themselves may still raise.

It takes a minute because a long prompt is counted when it is through. An engine without counters is not
judged: nothing can be said of it. The check is made every `CHECK_SECONDS`, and its verdict holds until the
next.
"""

from dataclasses import replace

from torpor.decide.known import Known, Still, Watch
from torpor.decide.observation import Engine, Observation
from torpor.decide.samples import MOST_COUNTED
from torpor.decide.values import MOST_REQUESTS, Unknown, measured

WEDGED_AFTER = 60.0  # seconds
CHECK_SECONDS = 10.0

OWN = Unknown("its counters stand still while it claims to run")
SEEN = Unknown("its counters stand still while the gateways have requests under way")


def trusted(known: Known, observation: Observation, now: float) -> tuple[Watch, Observation]:
    """Return the verdict of this look, and the observation with unknown gauges where they are not to be
    believed. now: seconds, monotonic.
    """
    watch = known.watch
    if not 0 <= now - watch.at < CHECK_SECONDS:
        watch = _checked(known, observation, now)
    if not watch.hung and not watch.frozen:
        return watch, observation
    engines = tuple(
        _judged(engine, hung=engine.name in watch.hung, frozen=watch.frozen) for engine in observation.engines
    )
    return watch, replace(observation, engines=engines)


def _checked(known: Known, observation: Observation, now: float) -> Watch:
    before = {still.name: still for still in known.watch.stills}
    stills: list[Still] = []
    hung = []
    together, counting = 0.0, False
    for engine in observation.ready:
        total = _total(engine)
        if total is None:
            continue
        together, counting = together + total, True
        if not _claims(engine):
            continue
        still = before.get(engine.name)
        if still is None or still.total != total or still.since > now:
            still = Still(engine.name, total, now)
        stills.append(still)
        if now - still.since >= WEDGED_AFTER:
            hung.append(engine.name)
    if not counting:
        return Watch(now)
    every = None
    if _under_way(known, observation):
        every = known.watch.every
        if every is None or every.total != together or every.since > now:
            every = Still("", together, now)
    frozen = every is not None and now - every.since >= WEDGED_AFTER
    return Watch(now, tuple(stills), every, tuple(hung), frozen)


def _total(engine: Engine) -> float | None:
    """The tokens that an engine counted; None where it counts nothing."""
    counters = engine.counters
    if counters is None:
        return None
    generated, prompts = counters.generated, counters.prompts
    if (
        type(generated) is type(prompts) is float
        and 0.0 <= generated <= MOST_COUNTED
        and 0.0 <= prompts <= MOST_COUNTED
    ):
        return generated + prompts
    generated = measured(generated, high=MOST_COUNTED)
    prompts = measured(prompts, high=MOST_COUNTED)
    if isinstance(generated, Unknown):
        return None if isinstance(prompts, Unknown) else prompts
    return generated if isinstance(prompts, Unknown) else generated + prompts


def _claims(engine: Engine) -> bool:
    running = engine.running
    if type(running) is float and 1.0 <= running <= MOST_REQUESTS:
        return True
    running = measured(running)
    return not isinstance(running, Unknown) and running >= 1


def _under_way(known: Known, observation: Observation) -> bool:
    """Whether the gateways have requests at engines, or saw answers end since the last look."""
    demand = observation.demand
    in_flight = measured(demand.in_flight)
    if not isinstance(in_flight, Unknown) and in_flight >= 1:
        return True
    tally, before = demand.tally, known.tally
    return tally is not None and before is not None and tally.completed > before.completed


def _judged(engine: Engine, *, hung: bool, frozen: bool) -> Engine:
    """The engine, its gauges unknown where it hangs, or where all that counts has stopped counting."""
    if not engine.ready or not (hung or (frozen and _total(engine) is not None)):
        return engine
    why = OWN if hung else SEEN
    return replace(engine, running=why, waiting=why, kv=why, report_age=None)
