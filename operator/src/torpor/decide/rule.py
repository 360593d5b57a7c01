"""`decide`: from what is seen to how many, with the reasons.

The order of work is fixed: bring the memory up to date, read every signal, take the largest number, let the
clamps have their say one after the other. Nothing here reads a clock, a network or a random number; the same
arguments give the same answer for ever, which is what lets a recorded night be replayed.
"""

from dataclasses import dataclass, replace

from torpor.api.constants import PAUSED
from torpor.decide import decision as words
from torpor.decide import modes, signals
from torpor.decide.clamps import CLAMPS, Facts
from torpor.decide.decision import ClampLine, Decision
from torpor.decide.memory import Memory, remember
from torpor.decide.observation import Observation, Policy
from torpor.decide.values import Unknown, Value, measured


@dataclass(frozen=True, slots=True)
class _Starting:
    """Replicas that are not ready: how many still have credit, and when the first of them loses it (caller's
    clock).
    """

    credited: int
    first_deadline: float | None


def decide(observation: Observation, policy: Policy, memory: Memory, now: float) -> tuple[Decision, Memory]:
    """Decide the number of replicas at `now` (seconds, monotonic) and return it with the memory for the next
    look.
    """
    if policy.mode == PAUSED:
        return modes.paused(observation, policy, memory)
    memory = memory.resumed(now)
    readings = signals.read(observation, policy)
    known = [reading.raw for reading in readings if reading.raw is not None]
    base = max(known) if known else observation.replicas

    starting, memory = _starting(observation, policy, memory, now)
    arrived = memory.arrivals is not None and observation.demand.arrivals != memory.arrivals
    wanted = arrived or _positive(observation.demand.held) or _positive(observation.demand.queued)
    closed_demand = _closed_demand(
        observation, policy, memory, now, arrived=arrived, woken=starting.credited > 0
    )
    idle = not arrived and not starting.credited and _silent(observation)
    idle_since = (memory.idle_since if memory.idle_since is not None else now) if idle else None
    careful = base if _complete(readings) else max(base, observation.replicas)
    memory = replace(
        memory,
        arrivals=observation.demand.arrivals,
        idle_since=idle_since,
        wanted_at=now if wanted else memory.wanted_at,
        closed=policy.closed,
        closed_demand=closed_demand,
        recommendations=remember(memory.recommendations, careful, now, policy.window_seconds),
    )
    facts = Facts(
        asked=base,
        observation=observation,
        policy=policy,
        memory=memory,
        readings=readings,
        now=now,
        credited=starting.credited,
        wanted=wanted,
        idle_for=None if idle_since is None else now - idle_since,
        unsure=_unsure(observation),
    )
    lines: list[ClampLine] = []
    for clamp in CLAMPS:
        verdict = clamp.apply(facts)
        if verdict is not None and verdict[0] != facts.asked:
            number, message = verdict
            lines.append(ClampLine(clamp.name, facts.asked, number, message))
            facts = replace(facts, asked=number)
    reason, message = _why(facts, base, tuple(lines))
    answer = Decision(
        replicas=facts.asked,
        current=observation.replicas,
        base=base,
        reason=reason,
        message=message,
        signals=readings,
        clamps=tuple(lines),
        look_at=_look_at(facts, starting, policy),
        idle_for=facts.idle_for,
    )
    return answer, memory


def _complete(readings: tuple[signals.Reading, ...]) -> bool:
    return not any(reading.unknown is not None or reading.partial for reading in readings)


def _positive(value: Value) -> bool:
    number = measured(value)
    return not isinstance(number, Unknown) and number > 0


def _silent(observation: Observation) -> bool:
    """Whether everything is known, fresh and zero: every gateway and every ready engine."""
    demand = observation.demand
    if not demand.complete:
        return False
    if any(isinstance(measured(engine.kv), Unknown) for engine in observation.ready):
        return False
    return all(measured(gauge) == 0 for gauge in _gauges(observation))


def _unsure(observation: Observation) -> bool:
    """Whether some of what counts requests is not known."""
    gauges = _gauges(observation)
    return not observation.demand.complete or any(isinstance(measured(it), Unknown) for it in gauges)


def _gauges(observation: Observation) -> list[Value]:
    """Everything that counts requests at this moment."""
    demand = observation.demand
    gauges: list[Value] = [demand.held, demand.queued, demand.in_flight]
    for engine in observation.ready:
        gauges += [engine.running, engine.waiting]
    return gauges


def _closed_demand(
    observation: Observation, policy: Policy, memory: Memory, now: float, *, arrived: bool, woken: bool
) -> float | None:
    """When requests were last seen in closed hours. One that came before the close does not count, and a wake
    that one of them began goes on without it.
    """
    if not policy.closed:
        return None
    if any(_positive(gauge) for gauge in _gauges(observation)) or (arrived and memory.closed):
        return now
    if woken and memory.closed_demand is not None:
        return now
    return memory.closed_demand


def _starting(
    observation: Observation, policy: Policy, memory: Memory, now: float
) -> tuple[_Starting, Memory]:
    """Count the replicas that are on their way: pods that are not ready, and pods that do not exist yet."""
    lives = [
        policy.credit_seconds - max(0.0, engine.age)
        for engine in observation.engines
        if not engine.ready and not engine.failing
    ]
    short = max(0, observation.replicas - len(observation.engines))
    short_since = None
    if short:
        short_since = memory.short_since if memory.short_since is not None else now
        lives += [policy.credit_seconds - (now - short_since)] * short
    alive = [life for life in lives if life > 0]
    starting = _Starting(len(alive), now + min(alive) if alive else None)
    return starting, replace(memory, short_since=short_since)


def _look_at(facts: Facts, starting: _Starting, policy: Policy) -> float | None:
    """The earliest moment at which time alone can change the answer."""
    times = []
    if policy.schedule_ends_in is not None:
        times.append(facts.now + policy.schedule_ends_in)
    if facts.current > 0 and policy.floor == 0 and not policy.closed and facts.memory.idle_since is not None:
        times.append(facts.memory.idle_since + policy.idle_seconds)
    if facts.current > 0 and policy.closed:
        since = (facts.memory.closed_demand, facts.memory.watched_since)
        times += [start + policy.idle_seconds for start in since if start is not None]
    if starting.first_deadline is not None:
        times.append(starting.first_deadline)
    if facts.memory.watched_since is not None and any(r.raw is not None for r in facts.readings):
        window_ends = [facts.memory.watched_since, *(at for at, _ in facts.memory.recommendations)]
        if facts.current > max(1, policy.floor):
            times += [start + policy.window_seconds for start in window_ends]
    later = [time for time in times if time > facts.now]
    return min(later) if later else None


def _why(facts: Facts, base: int, lines: tuple[ClampLine, ...]) -> tuple[str, str]:
    """Name the cause of the number and say it in a sentence that a person can check: what asked for another
    number, and the clamp that had the last word.
    """
    reason, asked = _asked(facts, base)
    if not lines:
        return reason, asked
    last = lines[-1]
    told = f"{last.message} ({last.before} -> {last.after})"
    return last.name, told if base == facts.current else f"{asked}; {told}"


def _asked(facts: Facts, base: int) -> tuple[str, str]:
    """What the signals say: a reason for `base` and a sentence."""
    if base == 0:
        return words.ASLEEP, "no request wants the fleet"
    if facts.current == 0:
        waiting = facts.readings[0].value or 0.0
        waits = "1 request waits" if waiting == 1 else f"{waiting:.0f} requests wait"
        return words.WAKE, f"{waits} for a fleet that sleeps, {base} needed"
    leading = max((r for r in facts.readings if r.raw is not None), key=lambda r: r.raw or 0, default=None)
    if leading is None or base == facts.current:
        told = [f"{r.name} {r.value:.2f} of {r.target:g}" for r in facts.readings if r.value is not None]
        return words.STEADY, ", ".join(told) or "no signal is known"
    told_value = f"{leading.name} is {leading.value or 0:.2f} per replica, target {leading.target:g}"
    if base < facts.current:
        return words.SCALE_IN, f"{told_value}; {base} would still meet every target"
    out = words.QUEUE_DEPTH if leading.name == signals.QUEUE_DEPTH else words.KV_CACHE_UTILIZATION
    return out, f"{told_value}; {base} needed"
