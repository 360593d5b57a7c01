"""A model on accelerators: whether it fits, what a replica carries, and how many are needed.

Memory, per replica of k accelerators (vLLM's default 0.9 of the memory; 5.9 GB each for activations, graphs
and libraries, as in the decision's own guess):

    room = 0.9*k*memory - weights - k*5.9 GB;    cached tokens = room / bytes per token

A step takes t = a + b*B + c*KV + d*P (`decide.hardware`): from the table where that has the model, the
accelerator and the parallelism; else a roofline of the data sheet with slack, marked as a guess:

    a = 1.6*weights/bandwidth + 5 ms;  b = a/60;  c = 1.5*bytes per token/bandwidth;  d =
    1.7*2*active/arithmetic

What one replica carries and how many are needed is `decide.work`: utilization rho = lambda*W with
W = d*I + O*(b + c*(I + O/2)), the smallest of the limits on rho, and room for chance. Users are a closed
loop: each asks again some time after its answer ended, so lambda = users/(think + answer), with the shortest
answer that the hardware gives, which is the most that can come.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from torpor.decide.budget import prefill_budget
from torpor.decide.hardware import DATA_SHEETS, LARGEST, Hardware, gpu_of, lookup
from torpor.decide.work import Mix, Objectives, Staffing, burst_of, capacity, need, ttft_ms

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from torpor.sizing.model import Model

GB = 1e9
USED = 0.9  # of the memory
OVERHEAD = 5.9 * GB  # per accelerator
RANKS = (1, 2, 4, 8)
LARGE = 70.0  # GB from which vLLM's defaults are 1024 sequences and 8192 tokens a step
LEAST_RHO = 0.05  # below, the objective leaves nothing to plan with
MISS = 0.01  # share of the time in which chance may exceed what is there


@dataclass(frozen=True, slots=True)
class Load:
    """What the fleet has to carry. users at once; think: seconds between an answer and the next question;
    prompt, output: mean tokens; context: the longest prompt and answer together; cache: bytes of an element.
    """

    users: float
    think: float
    prompt: float
    output: float
    context: int
    objectives: Objectives
    cache: float = 2.0

    @property
    def mix(self) -> Mix:
        """The mean request. spread 1: lengths as different as in the shared traces."""
        return Mix(self.prompt, self.output, spread=1.0, longer=0.5)


@dataclass(frozen=True, slots=True)
class Option:
    """One way to run it. why: what forbids it, empty where nothing does. memory in GB, times in ms; price per
    hour of all of it, None where no price was given.
    """

    gpu: str
    ranks: int
    hardware: Hardware
    weights: float
    cache_tokens: int
    contexts: float
    replicas: int = 0
    requests: float = 0.0
    capacity: float = 0.0
    rho: float = 0.0
    limit: str = ""
    work_ms: float = 0.0
    step_ms: float = 0.0
    ttft_ms: float = 0.0
    running: float = 0.0
    burst: float = 0.0
    price: float | None = None
    why: str = ""

    @property
    def gpus(self) -> int:
        """Accelerators of all replicas."""
        return self.replicas * self.ranks

    def document(self) -> dict[str, Any]:
        """Plain values."""
        h = self.hardware
        return {
            "accelerator": self.gpu,
            "tensor_parallel": self.ranks,
            "replicas": self.replicas,
            "accelerators": self.gpus,
            "price_per_hour": None if self.price is None else round(self.price, 2),
            "requests_per_second": round(self.requests, 3),
            "replica_requests_per_second": round(self.capacity, 3),
            "limit": self.limit,
            "utilization": round(self.rho, 3),
            "inter_token_latency_ms": round(self.step_ms, 1),
            "time_to_first_token_ms": round(self.ttft_ms, 1),
            "weights_gb": round(self.weights, 1),
            "cache_tokens": self.cache_tokens,
            "whole_contexts": round(self.contexts, 1),
            "step_ms": {"a": h.a, "b": h.b, "c": h.c, "d": h.d},
            "max_num_batched_tokens": h.max_num_batched_tokens,
            "max_num_seqs": h.max_num_seqs,
            "source": h.source,
            "guessed": h.guessed,
            "why_not": self.why,
        }


def options(
    model: Model, load: Load, gpus: Iterable[str], ranks: Iterable[int], prices: Mapping[str, float]
) -> list[Option]:
    """Every way, the best first: those that do; the cheapest where all prices are known, else the fewest
    accelerators; a table's row before a guess. Of those that do not, what holds a context comes first.
    """
    found = [option(model, load, gpu, count, price=prices.get(gpu)) for gpu in gpus for count in ranks]
    priced = all(one.price is not None for one in found if not one.why)

    def order(one: Option) -> tuple[Any, ...]:
        cost = one.price if priced and one.price is not None else one.gpus
        return bool(one.why), -min(one.contexts, 1.0), cost, one.hardware.guessed, one.gpus, one.gpu

    return sorted(found, key=order)


def option(model: Model, load: Load, gpu: str, ranks: int, *, price: float | None = None) -> Option:
    """One way: `ranks` accelerators `gpu` (a key of DATA_SHEETS) per replica."""
    memory = DATA_SHEETS[gpu][2]
    weights = model.weight_bytes
    each = model.cache_bytes(load.cache, ranks)
    room = USED * ranks * memory * GB - weights - ranks * OVERHEAD
    tokens = max(0, int(min(room / each, LARGEST)))
    hardware = hardware_of(model, load, gpu, ranks, kv_tokens=max(tokens, 16))
    base = Option(gpu, ranks, hardware, weights / GB, tokens, tokens / load.context)
    if room <= 0:
        told = f"{weights / GB:.0f} GB of weights do not fit into {ranks * memory:g} GB with what vLLM needs"
        return replace(base, why=told)
    if tokens < load.context:
        return replace(base, why=f"the cache holds {tokens} tokens, less than one context of {load.context}")
    if model.heads and model.heads % ranks:
        return replace(base, why=f"{model.heads} attention heads cannot be split by {ranks}")
    return _carried(base, load, price)


def _carried(base: Option, load: Load, price: float | None) -> Option:
    mix, goals = load.mix, load.objectives
    budget = prefill_budget(base.hardware, goals, mix)
    hardware = replace(
        base.hardware,
        max_num_batched_tokens=budget.max_num_batched_tokens or base.hardware.max_num_batched_tokens,
        max_num_seqs=budget.max_num_seqs or base.hardware.max_num_seqs,
    )
    reached = capacity(hardware, mix, goals)
    if reached.unreachable:
        return replace(base, hardware=hardware, why=reached.unreachable[0])
    alone = (ttft_ms(hardware, mix, 0.0) + load.output * hardware.step_ms(1, load.prompt, 0)) / 1000.0
    requests = load.users / (load.think + alone)
    wanted = need(
        requests * reached.work_ms,
        0.0,
        reached.work_ms,
        reached=reached,
        spread=mix.spread,
        burst=burst_of(hardware, mix, reached, goals),
        staffing=Staffing(miss=MISS),
    )
    replicas = max(1, wanted.replicas)
    return replace(
        base,
        hardware=hardware,
        replicas=replicas,
        requests=requests,
        capacity=reached.at.requests,
        rho=reached.rho,
        limit=reached.limit,
        work_ms=reached.work_ms,
        step_ms=reached.at.step_ms,
        ttft_ms=ttft_ms(hardware, mix, reached.rho),
        running=reached.at.running,
        burst=wanted.burst,
        price=None if price is None else price * replicas * base.ranks,
    )


def hardware_of(model: Model, load: Load, gpu: str, ranks: int, *, kv_tokens: int) -> Hardware:
    """What a replica's steps take: the table's row, else the roofline."""
    row = lookup(gpu, model.name, ranks, model.quantization) if gpu_of(gpu) == gpu else None
    if row is not None:
        return replace(row, kv_tokens=kv_tokens)
    bandwidth, arithmetic, memory = (value * ranks for value in DATA_SHEETS[gpu])
    a = 1.6 * model.weight_bytes / GB / bandwidth + 5.0
    large = memory / ranks >= LARGE and not gpu.startswith("a100")
    return Hardware(
        f"{model.name}-{gpu}-tp{ranks}",
        a,
        a / 60,
        1.5 * model.cache_bytes(load.cache, ranks) / (bandwidth * 1e9),
        1.7 * 2 * model.active / 1e9 / arithmetic,
        kv_tokens=kv_tokens,
        max_num_seqs=1024 if large else 256,
        max_num_batched_tokens=8192 if large else 2048,
        source="a roofline of the data sheet with slack",
        guessed=True,
    )


def formula(model: Model, load: Load, best: Option) -> list[str]:
    """How the best option's numbers came about, a line each, every symbol with its value."""
    h, k = best.hardware, best.ranks
    bandwidth, arithmetic, memory = DATA_SHEETS[best.gpu]
    each = model.cache_bytes(load.cache, k)
    goals = load.objectives
    cache = (
        f"{model.latent} latent x {model.layers} layers x {load.cache:g} bytes x {k} ranks"
        if model.latent
        else f"2 x {model.layers} layers x {max(model.kv_heads, k)} heads x {model.head_dim} x "
        f"{load.cache:g} bytes"
    )
    lines = [
        f"weights   {model.parameters / 1e9:.1f} billion x {model.weight_bytes / model.parameters:g} bytes = "
        f"{best.weights:.1f} GB",
        f"cache     {cache} = {each / 1024:.0f} KiB a token",
        f"room      0.9 x {k} x {memory:g} GB - {best.weights:.1f} GB - {k} x 5.9 GB = "
        f"{best.cache_tokens * each / GB:.1f} GB = {best.cache_tokens} tokens, {best.contexts:.1f} "
        "whole contexts",
        f"step      t = a + b*B + c*KV + d*P ms, a={h.a:.4g} b={h.b:.4g} c={h.c:.4g} d={h.d:.4g} "
        f"({h.source})",
        f"work      W = d*I + O*(b + c*(I + O/2)) = {best.work_ms:.1f} ms with I={load.prompt:g}, "
        f"O={load.output:g}",
        f"limit     rho <= {best.rho:.3f} by {best.limit}: {best.capacity:.2f} requests/s a replica, "
        f"t = a/(1 - rho) = {best.step_ms:.1f} ms, {best.running:.0f} sequences",
        f"arriving  lambda = {load.users:g} users / ({load.think:g} s + answer) = "
        f"{best.requests:.2f} requests/s",
        "replicas  n = ceil((lambda*W + room for chance)/rho) = "
        f"ceil(({best.requests * best.work_ms / 1000:.2f} + "
        f"{best.burst:.2f})/{best.rho:.3f}) = {best.replicas}",
    ]
    if goals.itl_ms is None and goals.ttft_ms is None:
        lines.append("no objective is given: rho stays below 0.90, and latency is whatever that makes it")
    if h.guessed:
        lines.append(
            "guess     a = 1.6*weights/bandwidth + 5, c = 1.5*cache/bandwidth, d = "
            "1.7*2*active/arithmetic of "
            f"{k} x ({bandwidth:g} TB/s, {arithmetic:g} TFLOP/s): measure before you buy"
        )
    return lines
