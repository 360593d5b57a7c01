"""The signal of arriving work: from what the gateways see to a number of replicas.

The other signals see a queue or a full cache after users do. This one multiplies arrivals by what a request
costs (`work`), adds what waits, and divides by what a replica carries within the objectives. It needs no
reading of the engines, so it works at zero replicas and while metrics are out; it is absolute, so it asks for
eight replicas at once and does not climb there one cold start at a time.

The laws of every signal hold here too: what is missing is not zero, a view in part is a lower bound, more
load never asks for fewer. The number is the smallest that carries the load; fewer than run now only where
these would carry it with a margin (the n − 1 check), or the number would flap at the edge.

While the capacity is a guess that nothing has proven, it may double the fleet and no more at one look: the
guess errs to the slow side, and the first samples of the replicas that it starts correct it.
"""

import math
from dataclasses import dataclass, field

from torpor.decide.budget import UNKNOWN_MIX
from torpor.decide.hardware import Hardware
from torpor.decide.learning import Learned
from torpor.decide.quick import quick
from torpor.decide.signals import EPSILON, Reading
from torpor.decide.traffic import Traffic
from torpor.decide.values import MOST_REQUESTS, Unknown, Value, measured
from torpor.decide.work import (
    Burst,
    Capacity,
    Mix,
    Need,
    Objectives,
    Staffing,
    burst_of,
    capacity,
    need,
    work_ms,
)

WORK_RATE = "workRate"
MARGIN = 0.05  # share of the capacity that must be left over for the fleet to shrink
MOST_TOKENS = 1e12

NOT_REPORTED = Unknown("no gateway reports")
NO_STAFFING = Staffing()


@quick
@dataclass(frozen=True, slots=True)
class Load:
    """What wants the fleet now, summed over the gateways that report.

    requests: arrivals per second. prompt_tokens: of these arrivals, per second; Unknown: taken from the mean
    length. waiting: requests that wait for capacity, each once (held, queued, waiting inside engines).
    waiting_prompt_tokens: of these, where counted. complete: every gateway is in the sums, else they are
    lower bounds and `gap` says why.
    """

    requests: Value = NOT_REPORTED
    prompt_tokens: Value = NOT_REPORTED
    waiting: Value = NOT_REPORTED
    waiting_prompt_tokens: Value = NOT_REPORTED
    complete: bool = False
    gap: str = "no gateway reports"


@quick
@dataclass(frozen=True, slots=True)
class Model:
    """What a request costs and a replica carries: `model_of` makes it, once per look.

    known_lengths: requests of this fleet were seen. ratio: measured over expected work. proven: the hardware
    is measured or learned, not guessed.
    """

    hardware: Hardware
    mix: Mix
    capacity: Capacity
    burst: Burst
    staffing: Staffing = field(default_factory=Staffing)
    known_lengths: bool = True
    ratio: float = 1.0
    proven: bool = True


def model_of(
    base: Hardware,
    learned: Learned | None,
    traffic: Traffic,
    objectives: Objectives,
    staffing: Staffing | None = None,
) -> Model:
    """Put together what is known of a fleet.

    base: the table's row or the guess, with the sizes that the engine reports. staffing: its dispersion is
    replaced by the measured one, never below Poisson's.
    """
    hardware = learned.hardware(base) if learned else base
    seen = traffic.mix(hardware, UNKNOWN_MIX.output)
    mix = seen or UNKNOWN_MIX
    reached = capacity(hardware, mix, objectives)
    usual = staffing or NO_STAFFING
    dispersion = max(1.0, traffic.dispersion)
    careful = Staffing(usual.miss, usual.reserve, usual.drain_seconds, dispersion)
    return Model(
        hardware,
        mix,
        reached,
        burst_of(hardware, mix, reached, objectives),
        careful,
        known_lengths=seen is not None,
        ratio=learned.ratio if learned else 1.0,
        proven=not hardware.guessed,
    )


def load_of(traffic: Traffic, waiting: Value, *, complete: bool, gap: str = "") -> Load:
    """The load of a fleet whose gateways' counts are in `traffic`."""
    requests, prompts = traffic.rates
    return Load(requests, prompts, waiting, complete=complete, gap=gap)


def later(load: Load, seconds: float) -> Load:
    """The load `seconds` from now of a fleet that serves nobody until then: who arrives meanwhile waits too.

    A fleet that wakes is ordered for that queue at once. One that is ordered for the queue of each look grows
    until the first replica is ready, and what is ordered last comes when the queue is gone.
    """
    requests, waiting = measured(load.requests), measured(load.waiting)
    if seconds <= 0 or isinstance(requests, Unknown) or isinstance(waiting, Unknown):
        return load
    prompts, of_waiting = (
        measured(tokens, high=MOST_TOKENS) for tokens in (load.prompt_tokens, load.waiting_prompt_tokens)
    )
    tokens = load.waiting_prompt_tokens
    if not isinstance(prompts, Unknown) and not isinstance(of_waiting, Unknown):
        tokens = of_waiting + prompts * seconds
    waiting = min(waiting + requests * seconds, MOST_REQUESTS)
    return Load(load.requests, load.prompt_tokens, waiting, tokens, load.complete, load.gap)


def arriving(model: Model, requests: float, prompt_tokens: float) -> float:
    """The work of so many requests with so many prompt tokens in all, in replica-seconds, measured ones (the
    ratio is in it).
    """
    return _work_of(prompt_tokens, model, requests) * model.ratio / 1000.0


def expected_utilization(load: Load, model: Model, ready: int) -> float | None:
    """ρ that each of `ready` replicas should show by this load, the ratio left out; for
    `learning.calibrate`.
    """
    requests = measured(load.requests)
    if ready < 1 or isinstance(requests, Unknown) or not load.complete:
        return None
    return _arriving_ms(load, model, requests) / 1000.0 / ready


def assess(load: Load, model: Model) -> tuple[Need | None, str]:
    """Return what the known part of the load needs, and what of it is not known and why ("" where all is).

    None: nothing is known.
    """
    gaps = [] if load.complete else [load.gap or "not every gateway reports"]
    requests, waiting = measured(load.requests), measured(load.waiting)
    if isinstance(requests, Unknown):
        gaps.append(f"arrivals: {requests.reason}")
    if isinstance(waiting, Unknown):
        gaps.append(f"queue: {waiting.reason}")
    if isinstance(requests, Unknown) and isinstance(waiting, Unknown):
        return None, "; ".join(dict.fromkeys(gaps))
    rate = 0.0 if isinstance(requests, Unknown) else requests
    queue = 0.0 if isinstance(waiting, Unknown) else waiting
    mean = model.capacity.work_ms
    backlog = queue * mean
    prompts = load.waiting_prompt_tokens
    if prompts is not NOT_REPORTED:
        prompts = measured(prompts, high=MOST_TOKENS)
    if not isinstance(prompts, Unknown):
        backlog += model.hardware.d * model.mix.computed * (prompts - queue * model.mix.prompt)
    found = need(
        _arriving_ms(load, model, rate) * model.ratio,
        max(0.0, backlog) * model.ratio,
        mean * model.ratio,
        reached=model.capacity,
        spread=model.mix.spread,
        burst=model.burst,
        staffing=model.staffing,
    )
    if not model.known_lengths and found.total > 0:
        gaps.append("the lengths of its requests are not known yet")
    return found, "; ".join(dict.fromkeys(gaps)) if gaps else ""


def work_rate(load: Load, model: Model, replicas: int) -> Reading:
    """The reading: value and target are utilizations of a replica (at zero replicas: replicas kept fully
    busy). replicas: what the Deployment asks for now.
    """
    found, gap = assess(load, model)
    return reading_of(found, gap, model, replicas)


def reading_of(
    found: Need | None, gap: str, model: Model, replicas: int, age: float | None = None
) -> Reading:
    """The reading for what `assess` found. age: of the oldest report in it, seconds."""
    if found is None:
        return Reading(WORK_RATE, None, model.capacity.rho, None, Unknown(gap or "nothing reports"))
    return Reading(
        WORK_RATE,
        found.total / max(replicas, 1),
        found.rho,
        replicas_for(found, replicas, proven=model.proven),
        partial=bool(gap),
        gap=gap,
        age=age,
    )


def replicas_for(found: Need, replicas: int, *, proven: bool = True) -> int:
    """Replicas that `found` asks for where `replicas` are asked for now: at once up, with the margin down."""
    needed = found.replicas
    if needed < 1 <= replicas:
        needed = 1  # zero is decided by idleness
    if not proven:
        needed = min(needed, max(1, 2 * replicas))
    if needed >= replicas:
        return needed
    comfortable = math.ceil(found.total / (found.rho * (1 - MARGIN)) - EPSILON)
    return min(replicas, max(needed, comfortable))


def sentence(found: Need, model: Model, replicas: int) -> str:
    """The reading in words and numbers that can be checked, without a full stop."""
    parts = [f"arriving work keeps {found.work:.2f} replicas busy"]
    if found.burst >= 0.005:
        parts.append(f"chance adds {found.burst:.2f}")
    if found.backlog >= 0.005:
        parts.append(f"the queue {found.backlog:.2f} to be gone in {model.staffing.drain_seconds:.0f} s")
    at = model.capacity
    told = ", ".join(parts)
    told += f"; a replica carries {found.rho:.2f} (limit {at.limit}, {at.at.requests:.2f} such requests/s)"
    if model.staffing.miss > NO_STAFFING.miss:
        told += "; with less room than usual, because the objectives were kept better than promised"
    if not model.proven:
        told += "; its hardware is guessed until its engines have shown their steps"
    return "; ".join((f"{told}; {found.replicas} needed, {replicas} asked for", *at.unreachable))


def _arriving_ms(load: Load, model: Model, requests: float) -> float:
    """Work that arrives in a second, in ms: λ·W with the arrivals' own prompt tokens where they are counted
    and the fleet's mean answers (no quotient of the two rates, each of which may be near zero).
    """
    return _work_of(load.prompt_tokens, model, requests)


def _work_of(prompt_tokens: Value, model: Model, requests: float) -> float:
    hardware, mix = model.hardware, model.mix
    prompts = measured(prompt_tokens, high=MOST_TOKENS)
    if isinstance(prompts, Unknown) or mix.prompt <= 0:
        return requests * work_ms(hardware, mix)
    if mix.context is None:
        cached = mix.output * (prompts + requests * mix.output / 2)
    else:
        cached = mix.context * prompts / mix.prompt
    computed = prompts * mix.computed
    return (
        hardware.d * (requests if requests > computed else computed)
        + hardware.b * mix.output * requests
        + hardware.c * cached
    )
