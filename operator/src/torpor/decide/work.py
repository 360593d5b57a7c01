"""Work: what a request costs a replica, how much of it a replica can do within the objectives, and how many
replicas a stream of it needs.

A request of I prompt and O output tokens costs W = d·I + O·(b + c·(I + O/2)) milliseconds of step time beyond
the constant part a of each step. With λ such requests per millisecond the step takes t = a/(1 − λW), and
ρ = λW = 1 − a/t is linear in load, additive over requests, known at zero replicas and does not saturate
(research, section 11.3 and 11.4). Queue depth and cache utilization have none of these four properties.

Every limit is therefore a largest ρ. `capacity` takes the smallest over the ITL objective, the TTFT
objective, KV space, the number of sequences and the tokens of a step. `need` divides: work now, plus room
for chance (section 12.2 item 3: much for two replicas, little for twenty; never a fixed share), plus the
queue's work spread over the time in which it should be gone.

An objective that the hardware cannot meet, or meets only nearly empty, is said to be so, and its limit is
held at a quarter of the load: no number of replicas makes one step shorter than an idle one, and paying
without end for it would be no better. Formulas of the mean use the mean of products where those are known;
section 11.3's table uses products of means.
"""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist

from torpor.decide.hardware import Hardware
from torpor.decide.quick import quick

WITHOUT_OBJECTIVE = 0.90  # ρ where no ITL objective is given: beyond, short bursts multiply every latency
MOST = 0.95  # ρ whatever the objectives: t = a/(1 − ρ) is too steep to plan with above
LEAST = 0.25  # ρ below which an objective counts as out of reach
LEAST_SLACK = 0.1  # of the TTFT objective, however little a long prompt leaves of it
MOST_REPLICAS = 1_000_000

ITL = "interTokenLatency"
TTFT = "timeToFirstToken"
KV = "kvCache"
SEQUENCES = "maxNumSeqs"
TOKENS = "maxNumBatchedTokens"
STABILITY = "utilization"


@quick
@dataclass(frozen=True, slots=True)
class Objectives:
    """The owner's objectives in milliseconds; None: not given, and then it bounds nothing."""

    ttft_ms: float | None = None
    itl_ms: float | None = None

    def __post_init__(self) -> None:
        for name, value in (("timeToFirstToken", self.ttft_ms), ("interTokenLatency", self.itl_ms)):
            if value is not None and not 0 < value < math.inf:
                raise ValueError(f"objectives.{name}Milliseconds={value!r}: must be above 0")


@quick
@dataclass(frozen=True, slots=True)
class Mix:
    """The mean request of a fleet, in tokens.

    prompt, output: means. context: mean of I·O + O²/2, the tokens in the cache summed over a request's steps;
    None: taken from the means. spread: squared coefficient of variation of W between requests (the shared
    traces have 0.02 to 2.3). computed: share of the prompt that no prefix cache holds. longer: standard
    deviation of the prompt over its mean.
    """

    prompt: float
    output: float
    context: float | None = None
    spread: float = 1.0
    computed: float = 1.0
    longer: float = 0.0

    def __post_init__(self) -> None:
        if (
            0 <= self.prompt < math.inf
            and 0 <= self.output < math.inf
            and 0 <= self.spread < math.inf
            and 0 <= self.computed < math.inf
            and 0 <= self.longer < math.inf
            and (self.context is None or 0 <= self.context < math.inf)
        ):
            return
        for name in ("prompt", "output", "spread", "computed", "longer"):
            value = getattr(self, name)
            if not 0 <= value < math.inf:
                raise ValueError(f"mix: {name}={value!r}: must be a number of at least 0")
        if self.context is not None and not 0 <= self.context < math.inf:
            raise ValueError(f"mix: context={self.context!r}: must be a number of at least 0")

    @property
    def cached_steps(self) -> float:
        """Token-steps in the cache per request: E[I·O + O²/2]."""
        return self.output * (self.prompt + self.output / 2) if self.context is None else self.context

    @property
    def steps(self) -> float:
        """Steps a request is in the batch: one per output token, at least the one that prefills it."""
        return max(self.output, 1.0)


def work_ms(hardware: Hardware, mix: Mix) -> float:
    """W of the mean request in milliseconds (section 11.3), above 0."""
    prompt = max(mix.prompt * mix.computed, 1.0)
    return hardware.d * prompt + hardware.b * mix.output + hardware.c * mix.cached_steps


def utilization(step_ms: float, hardware: Hardware) -> float:
    """ρ = 1 − ITL_idle/ITL as an engine shows it (section 11.4), 0 to 1."""
    return max(0.0, 1.0 - hardware.a / step_ms) if step_ms > 0 else 0.0


@quick
@dataclass(frozen=True, slots=True)
class Operating:
    """One replica in steady state at utilization ρ: requests per second, step in ms, sequences, cached
    tokens, prompt tokens per step.
    """

    rho: float
    requests: float
    step_ms: float
    running: float
    kv_tokens: float
    prompt_tokens: float


def operating(hardware: Hardware, mix: Mix, rho: float) -> Operating:
    """The closed form at `rho`, 0 to less than 1 (section 11.3)."""
    per_ms = rho / work_ms(hardware, mix)
    step = hardware.a / (1.0 - rho)
    return Operating(
        rho,
        per_ms * 1000.0,
        step,
        per_ms * mix.steps * step,
        per_ms * mix.cached_steps * step,
        per_ms * mix.prompt * mix.computed * step,
    )


@quick
@dataclass(frozen=True, slots=True)
class Capacity:
    """What one replica carries within every limit: `at` that point, `limit` names the one that binds.

    unreachable: a sentence for each objective or size that this hardware cannot meet for the mean request.
    """

    at: Operating
    limit: str
    work_ms: float
    unreachable: tuple[str, ...] = ()

    @property
    def rho(self) -> float:
        """The largest utilization."""
        return self.at.rho


def capacity(hardware: Hardware, mix: Mix, objectives: Objectives) -> Capacity:
    """The smallest of the limits on ρ."""
    work, a = work_ms(hardware, mix), hardware.a
    told: list[str] = []

    def linear(size: float, per_request: float) -> float:
        """ρ at which λ·per_request·t reaches `size`: λ = size / (per_request·a + size·W)."""
        return size * work / (per_request * a + size * work)

    limits = {
        STABILITY: MOST if objectives.itl_ms else WITHOUT_OBJECTIVE,
        ITL: _itl(hardware, mix, objectives, told),
        KV: linear(hardware.kv_tokens, mix.cached_steps),
        SEQUENCES: linear(hardware.max_num_seqs, mix.steps),
        TOKENS: linear(hardware.max_num_batched_tokens, mix.prompt * mix.computed + mix.output),
    }
    if mix.prompt + mix.output > hardware.kv_tokens:
        told.append(
            f"the KV cache of {hardware.kv_tokens} tokens cannot hold the mean request of "
            f"{mix.prompt + mix.output:.0f}"
        )
    limits[TTFT] = _ttft(hardware, mix, objectives, min(limits.values()), told)
    name = min(limits, key=limits.__getitem__)
    return Capacity(operating(hardware, mix, limits[name]), name, work, tuple(told))


def _itl(hardware: Hardware, mix: Mix, objectives: Objectives, told: list[str]) -> float:
    objective = objectives.itl_ms
    if objective is None or mix.output <= 1:
        return 1.0  # one token has no gap to the next
    alone = hardware.step_ms(1, mix.prompt + mix.output / 2, 0)
    if alone > objective:
        told.append(
            f"one request alone has an ITL of {alone:.0f} ms, above the objective of {objective:g} ms: more "
            f"replicas do not help"
        )
    rho = 1.0 - hardware.a / objective
    if rho < LEAST <= 1.0 and not told:
        told.append(
            f"an ITL of {objective:g} ms is kept only below {LEAST:.0%} of a replica's load ({rho:.0%}): "
            f"capacity is held there"
        )
    return max(LEAST, rho)


def _ttft(hardware: Hardware, mix: Mix, objectives: Objectives, most: float, told: list[str]) -> float:
    objective = objectives.ttft_ms
    if objective is None:
        return 1.0
    alone = ttft_ms(hardware, mix, 0.0)
    if alone > objective:
        told.append(
            f"the prefill of {mix.prompt * mix.computed:.0f} prompt tokens alone takes {alone:.0f} ms, above "
            f"the TTFT objective of {objective:g} ms: more replicas do not help"
        )
        return LEAST
    ttft = _ttft_of(hardware, mix)
    rho = _largest(lambda r: ttft(r) <= objective, LEAST, most)
    if rho is None:
        told.append(
            f"a TTFT of {objective:g} ms is kept only below {LEAST:.0%} of a replica's load: capacity is "
            f"held there"
        )
        return LEAST
    return 1.0 if rho >= most else rho


def ttft_ms(hardware: Hardware, mix: Mix, rho: float, *, times: float = 1.0) -> float:
    """TTFT of a prompt of `times` the mean on a replica at `rho` where no prompt waits before it, in
    milliseconds.

    The step under way, then the prompt's own steps: each gives it the tokens that decoding leaves of the
    budget. Infinite where it leaves none. Waiting is no business of one replica: `burst_work` has it for the
    fleet, and `TOKENS` is the load at which prefill would fall behind for good.
    """
    return _ttft_of(hardware, mix, times)(rho)


def _ttft_of(hardware: Hardware, mix: Mix, times: float = 1.0) -> Callable[[float], float]:
    """`ttft_ms` as a function of ρ alone, for a search: what does not depend on it is worked out once."""
    work, each, cached = work_ms(hardware, mix), mix.steps, mix.cached_steps
    a, b, c, most = hardware.a, hardware.b, hardware.c, hardware.max_num_batched_tokens
    prompt = max(times * mix.prompt * mix.computed, 1.0)
    prefill = hardware.d * prompt

    def ttft(rho: float) -> float:
        per_ms = rho / work
        step = a / (1.0 - rho)
        running = per_ms * each * step
        budget = most - running
        if budget < 1:
            return math.inf
        decode = a + b * running + c * (per_ms * cached * step)
        return step + prefill + max(1.0, prompt / budget) * decode

    return ttft


def _largest(holds: Callable[[float], bool], low: float, high: float) -> float | None:
    """The largest number in [low, high] for which `holds`, which is true up to some point; None: nowhere."""
    if high <= low:
        return high if holds(high) else None
    if not holds(low):
        return None
    if holds(high):
        return high
    for _ in range(12):
        middle = (low + high) / 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low


@quick
@dataclass(frozen=True, slots=True)
class Burst:
    """How chance is felt: within `seconds`, and whether a queue takes it (`queued`) or latency shows it."""

    seconds: float
    queued: bool


def burst_of(hardware: Hardware, mix: Mix, reached: Capacity, objectives: Objectives) -> Burst:
    """Where a burst goes on this fleet.

    Without an ITL objective, or with a token budget that keeps a full step within it (`budget`), a burst only
    waits for its prefill, and the slack of the TTFT objective (10 s where none is given) takes it. It is that
    of a long prompt, one standard deviation above the mean, because the long ones run out of time first; and
    a mean prompt is ahead of it, because each replica has a line of its own, and one that is through early
    helps nobody in another's. Where such a prompt has no time left by itself a tenth of the objective is the
    slack. Otherwise steps grow and every request under way sees it: the ITL of a request follows the mean
    load over its life.
    """
    slack = 10.0
    if objectives.ttft_ms is not None:
        ahead, own = (ttft_ms(hardware, mix, reached.rho, times=times) for times in (1.0, 1.0 + mix.longer))
        left = objectives.ttft_ms - ahead - own
        slack = max(left, LEAST_SLACK * objectives.ttft_ms) / 1000.0
    at = reached.at
    full = hardware.step_ms(at.running, at.kv_tokens, max(0.0, hardware.max_num_batched_tokens - at.running))
    if objectives.itl_ms is None or mix.output <= 1 or full <= 1.1 * objectives.itl_ms:
        return Burst(slack, queued=True)
    return Burst(max(0.5, mix.output * at.step_ms / 1000.0), queued=False)


@quick
@dataclass(frozen=True, slots=True)
class Staffing:
    """How careful to be.

    miss: share of the time in which chance may exceed what is there. reserve: share of the capacity that is
    not planned with, the closed form's own error. drain_seconds: within which a queue should be gone.
    dispersion: variance over mean of the arrivals' counts (Poisson: 1).
    """

    miss: float = 0.05
    reserve: float = 0.0
    drain_seconds: float = 60.0
    dispersion: float = 1.0


@quick
@dataclass(frozen=True, slots=True)
class Need:
    """Replicas for a load, and of what it is made: work, burst and backlog in replica-seconds per second (how
    many replicas they would keep fully busy). rho: what one replica should carry.
    """

    replicas: int
    work: float
    burst: float
    backlog: float
    rho: float

    @property
    def total(self) -> float:
        """Work, burst and backlog."""
        return self.work + self.burst + self.backlog

    def fits(self, replicas: int, margin: float = 0.0) -> bool:
        """Whether that many replicas carry it all, with a share `margin` of their capacity to spare."""
        return self.total <= replicas * self.rho * (1.0 - margin) + 1e-9


def need(
    arriving_ms: float,
    backlog_ms: float,
    request_ms: float,
    *,
    reached: Capacity,
    spread: float,
    burst: Burst,
    staffing: Staffing,
) -> Need:
    """The smallest number of replicas for `arriving_ms` of work a second and a queue of `backlog_ms` (section
    12.2 items 3 and 5). request_ms: W of the fleet's mean request.

    The variance takes one factor of W from the work that arrives and one from the mean request: so it grows
    with the number of requests and with their size, and falls with neither.
    """
    work = arriving_ms / 1000.0
    variance = work * request_ms / 1000.0 * (spread + staffing.dispersion)
    extra = burst_work(work, variance, burst, staffing.miss)
    drain = staffing.drain_seconds
    backlog = backlog_ms / 1000.0 / (drain if drain > 1.0 else 1.0)
    total = work + extra + backlog
    rho = reached.at.rho * (1.0 - staffing.reserve)
    asked = total / rho
    replicas = math.ceil((asked if asked < MOST_REPLICAS else MOST_REPLICAS) - 1e-9)
    if replicas < 1:
        replicas = 1 if total > 0 else max(replicas, 0)
    return Need(replicas, work, extra, backlog, rho)


def burst_work(work: float, variance: float, burst: Burst, miss: float) -> float:
    """Room for chance above the mean `work`, in replica-seconds per second; `variance`: of the work that
    arrives in a second, λ·(Var W + D·E[W]²) for a compound arrival process.

    Felt by latency: the work of a window τ exceeds the room in a share `miss` of the windows, z·sqrt(V/τ)
    (square-root staffing). Taken by a queue that may be τ long: with room x − ω above the mean, its length
    exceeds q = τ·x with the chance exp(−2·(x − ω)·q/V) (reflected Brownian motion; Harrison, Brownian Motion
    and Stochastic Flow Systems, chapter 1), which gives x·(x − ω) = V·ln(1/miss)/(2τ).
    """
    if burst.queued:
        k = variance * math.log(1.0 / miss) / (2.0 * burst.seconds)
        return (math.sqrt(work * work + 4.0 * k) - work) / 2.0
    return _z(miss) * math.sqrt(variance / burst.seconds)


@functools.lru_cache(maxsize=16)
def _z(miss: float) -> float:
    """The standard normal's quantile that is exceeded in a share `miss`."""
    return NormalDist().inv_cdf(1.0 - miss)
