"""`decide`: from what is seen to how many, with the reasons.

The order of work is fixed: distrust what stands still, learn from what was counted (`study`), read every
signal, take the largest number, look ahead, let the clamps have their say one after the other. Nothing here
reads a clock, a network or a random number; the same arguments give the same answer for ever, which is what
lets a recorded night be replayed.
"""

from dataclasses import dataclass, replace

from torpor.api import constants
from torpor.decide import decision as words
from torpor.decide import economics, modes, signals
from torpor.decide.ahead import look_ahead
from torpor.decide.clamps import CLAMPS, Facts, drained
from torpor.decide.decision import Basis, ClampLine, Decision
from torpor.decide.gauges import Gauges, count
from torpor.decide.known import Known
from torpor.decide.memory import Memory, remember
from torpor.decide.observation import Observation, Policy
from torpor.decide.quick import quick
from torpor.decide.requests import SLEEP, WAKE
from torpor.decide.study import load as load_now
from torpor.decide.study import paused, study, works
from torpor.decide.values import Unknown, Value, measured
from torpor.decide.wedged import trusted
from torpor.decide.work import Need, Staffing
from torpor.decide.work_rate import WORK_RATE, Load, Model, assess, later, reading_of, sentence

PATIENCE = 2.0  # cold starts for which the plan is believed against a queue, and the time to work it off
SHORTEST_WINDOW = 30.0  # seconds: a lower need that lasts less is noise, whatever a start costs


@quick
@dataclass(frozen=True, slots=True)
class _Starting:
    """Replicas that are not ready: how many still have credit, and when the first of them loses it (caller's
    clock).
    """

    credited: int
    first_deadline: float | None


NONE_STARTING = _Starting(0, None)


def decide(observation: Observation, policy: Policy, memory: Memory, now: float) -> tuple[Decision, Memory]:
    """Decide the number of replicas at `now` (seconds, monotonic) and return it with the memory for the next
    look.
    """
    if policy.mode == constants.PAUSED:
        return modes.paused(observation, policy, memory)
    memory = memory.resumed(now)
    watch, observation = trusted(memory.known, observation, now)
    known = study(memory.known, observation, policy, now, watch)
    gauges = count(observation)
    starting, short_since = _starting(observation, policy, memory, now)
    arrived = memory.arrivals is not None and observation.demand.arrivals != memory.arrivals
    wanted = arrived or _positive(observation.demand.held) or _positive(observation.demand.queued)
    silent = not arrived and observation.asked != WAKE and _silent(observation, gauges)
    idle_since = (memory.idle_since if memory.idle_since is not None else now) if silent else None
    if starting.credited:
        idle_since = None
    idle_for = None if idle_since is None else now - idle_since

    found = signals.waiting(observation, gauges)
    work = _work(known, observation, policy, found, wanted=wanted)
    readings = signals.read(observation, policy, gauges, found)
    if work.reading is not None:
        readings = (*readings, work.reading)
    counted = [reading.raw for reading in readings if reading.raw is not None]
    base = max(counted) if counted else observation.replicas
    ahead = look_ahead(known, work.load, observation, policy, idle_for)
    window, idle = _window(known, policy), _idle(known, policy)
    closed_demand = _closed_demand(
        observation, policy, memory, now, arrived=arrived, woken=starting.credited > 0
    )
    complete = _complete(readings)
    queue = _queue(readings, work, observation, policy, since=memory.queued_since, now=now)
    needed = queue.enough or base
    known = paused(known, (0 if silent else max(needed, 1)) if complete else None, now)
    soon = needed if ahead.replicas is None or observation.replicas == 0 else max(needed, ahead.replicas)
    careful = soon if complete else max(soon, observation.replicas)
    memory = Memory(
        seen_at=now,
        watched_since=memory.watched_since,
        recommendations=remember(memory.recommendations, careful, now, _longest_window(policy)),
        idle_since=idle_since,
        arrivals=observation.demand.arrivals,
        short_since=short_since,
        closed=policy.closed,
        closed_demand=closed_demand,
        wanted_at=now if wanted else memory.wanted_at,
        overslept=ahead.asleep > 0 and memory.overslept,
        queued_since=queue.since,
        known=known,
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
        idle_for=idle_for,
        unsure=policy.closed and _unsure(observation),
        ahead=ahead,
        window=window,
        idle=idle,
        drained=queue.enough,
        patience=queue.patience,
    )
    lines: list[ClampLine] = []
    for clamp in CLAMPS:
        verdict = clamp.apply(facts)
        if verdict is not None and verdict[0] != facts.asked:
            number, message = verdict
            lines.append(ClampLine(clamp.name, facts.asked, number, message))
            facts = facts.asking(number)
    if facts.asked == 0 and ahead.asleep and (observation.asked == SLEEP or _idled(lines)):
        memory = replace(memory, overslept=True)
    reason, message = _why(facts, base, tuple(lines), work)
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
        basis=Basis(
            window,
            idle,
            policy.floor,
            policy.ceiling,
            work.need,
            work.requests,
            policy.schedule_ends_in,
            None if ahead.replicas is None else ahead.rate,
        ),
    )
    return answer, memory


@quick
@dataclass(frozen=True, slots=True)
class _Work:
    """The signal of arriving work; all None where it is none here."""

    reading: signals.Reading | None = None
    need: Need | None = None
    load: Load | None = None
    model: Model | None = None

    def told(self, replicas: int) -> str:
        """The signal as a sentence, "" where there is none."""
        return sentence(self.need, self.model, replicas) if self.need and self.model else ""

    @property
    def requests(self) -> float | None:
        """Arrivals per second, where known."""
        rate = measured(self.load.requests) if self.load else None
        return rate if isinstance(rate, float) else None


NO_WORK = _Work()


def _work(
    known: Known, observation: Observation, policy: Policy, found: signals.Waiting, *, wanted: bool
) -> _Work:
    """Read the arriving work. What an empty fleet's averages still hold of requests that went is no demand:
    at zero somebody has to want it.
    """
    model = known.model
    if model is None or not works(policy):
        return NO_WORK
    load = load_now(known, observation, found)
    if load is None:
        return NO_WORK
    asked = load
    if observation.replicas == 0 and not wanted and not isinstance(load.requests, Unknown):
        asked = Load(0.0, 0.0, load.waiting, load.waiting_prompt_tokens, load.complete, load.gap)
    if not observation.ready:
        asked = later(asked, _until_ready(observation, policy))
    needed, gap = assess(asked, model)
    reading = reading_of(needed, gap or found.gap, model, observation.replicas, found.age)
    return _Work(reading, needed, load, model)


def _until_ready(observation: Observation, policy: Policy) -> float:
    """Seconds until a fleet without a ready replica has its first one, by the measured cold start; 0 where
    none was measured.
    """
    oldest = max((engine.age for engine in observation.engines if not engine.failing), default=0.0)
    return max(0.0, (policy.cold_start or 0.0) - max(oldest, 0.0))


@quick
@dataclass(frozen=True, slots=True)
class _Queue:
    """A queue against the plan. since: when it began to ask for more replicas than there are (caller's
    clock), None while it does not. patience: seconds for which the plan is believed against it. enough:
    replicas that work it off by themselves, None where nobody can say so (`clamps.drained`).
    """

    since: float | None
    patience: float
    enough: int | None


def _queue(
    readings: tuple[signals.Reading, ...],
    work: _Work,
    observation: Observation,
    policy: Policy,
    *,
    since: float | None,
    now: float,
) -> _Queue:
    """Judge the queue at `now`. since: of the last look."""
    if not 0 < observation.replicas < (readings[0].raw or 0):
        since = None
    elif since is None:
        since = now
    sure = work.reading is not None and work.model is not None and work.model.proven
    planned = None
    if sure and work.reading and not work.reading.partial and not policy.queue_target_given:
        planned = work.reading.raw
    start = policy.credit_seconds if policy.cold_start is None else PATIENCE * policy.cold_start
    patience = start + Staffing().drain_seconds
    late = since is not None and now - since > patience
    return _Queue(since, patience, drained(readings, planned, observation.replicas, late=late))


def _window(known: Known, policy: Policy) -> float:
    """Seconds for which a lower need must last: what it costs to keep against what a start costs."""
    return policy.window_seconds if known.kept is None else max(known.kept.keep, SHORTEST_WINDOW)


def _longest_window(policy: Policy) -> float:
    """Seconds after which no window asks for a recommendation any more."""
    longest = economics.TRUST * economics.SURPLUS_HIT * (policy.cold_start or 0.0)
    return max(policy.window_seconds, SHORTEST_WINDOW, longest)


def _idle(known: Known, policy: Policy) -> float:
    """Seconds of silence before zero."""
    if policy.idle_seconds is not None:
        return policy.idle_seconds
    return float(constants.DEFAULT_IDLE_SECONDS) if known.kept is None else known.kept.idle


def _complete(readings: tuple[signals.Reading, ...]) -> bool:
    return not any(reading.unknown is not None or reading.partial for reading in readings)


def _positive(value: Value) -> bool:
    number = measured(value)
    return not isinstance(number, Unknown) and number > 0


def _silent(observation: Observation, gauges: Gauges) -> bool:
    """Whether everything is known, fresh and zero: every gateway and every ready engine."""
    demand = observation.demand
    if not demand.complete or not gauges.idle:
        return False
    held, queued, in_flight = demand.held, demand.queued, demand.in_flight
    return measured(held) == 0 and measured(queued) == 0 and measured(in_flight) == 0


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


def _idled(lines: list[ClampLine]) -> bool:
    return any(line.name == "IdleToZero" for line in lines)


def _closed_demand(
    observation: Observation, policy: Policy, memory: Memory, now: float, *, arrived: bool, woken: bool
) -> float | None:
    """When requests were last seen in closed hours. One that came before the close does not count, and a wake
    that one of them began goes on without it.
    """
    if not policy.closed:
        return None
    if observation.asked == WAKE:
        return now
    if any(_positive(gauge) for gauge in _gauges(observation)) or (arrived and memory.closed):
        return now
    if woken and memory.closed_demand is not None:
        return now
    return memory.closed_demand


def _starting(
    observation: Observation, policy: Policy, memory: Memory, now: float
) -> tuple[_Starting, float | None]:
    """Count the replicas that are on their way: pods that are not ready, and pods that do not exist yet; and
    since when there are fewer pods than asked for.
    """
    if len(observation.ready) == len(observation.engines) >= observation.replicas:
        return NONE_STARTING, None
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
    return starting, short_since


def _look_at(facts: Facts, starting: _Starting, policy: Policy) -> float | None:
    """The earliest moment at which time alone can change the answer."""
    times, memory = [], facts.memory
    if policy.schedule_ends_in is not None:
        times.append(facts.now + policy.schedule_ends_in)
    if starting.first_deadline is not None:
        times.append(starting.first_deadline)
    if facts.current > 0:
        floor = policy.floor
        if policy.closed:
            since = (memory.closed_demand, memory.watched_since)
            times += [start + facts.idle for start in since if start is not None]
        elif floor == 0 and memory.idle_since is not None:
            times.append(memory.idle_since + facts.idle)
        told = memory.watched_since is not None and any(r.raw is not None for r in facts.readings)
        if told and facts.current > max(1, floor):
            window_ends = (memory.watched_since, *(at for at, _ in memory.recommendations))
            times += [start + facts.window for start in window_ends if start is not None]
    later = [time for time in times if time > facts.now]
    return min(later) if later else None


def _why(facts: Facts, base: int, lines: tuple[ClampLine, ...], work: _Work) -> tuple[str, str]:
    """Name the cause of the number and say it in a sentence that a person can check: what asked for another
    number, and the clamp that had the last word.
    """
    reason, asked = _asked(facts, base, work)
    if not lines:
        return reason, asked
    last = lines[-1]
    told = f"{last.message} ({last.before} -> {last.after})"
    return last.name, told if base == facts.current else f"{asked}; {told}"


def _asked(facts: Facts, base: int, work: _Work) -> tuple[str, str]:
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
    if leading.name == WORK_RATE:
        return words.SCALE_IN if base < facts.current else words.WORK_RATE, work.told(facts.current)
    told_value = f"{leading.name} is {leading.value or 0:.2f} per replica, target {leading.target:g}"
    if base < facts.current:
        return words.SCALE_IN, f"{told_value}; {base} would still meet every target"
    out = words.QUEUE_DEPTH if leading.name == signals.QUEUE_DEPTH else words.KV_CACHE_UTILIZATION
    return out, f"{told_value}; {base} needed"
