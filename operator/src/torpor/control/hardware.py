"""On what a fleet's engines run, so that deciding knows what a step costs before any was seen.

Three say it, the surest first: the spec (a node selector with the GPU's product, the flags that spread a
model over GPUs and that quantize it), the launchers (the product as the driver names it), and what the
launchers of the fleet said before, kept because a fleet asleep has nobody to ask and must still wake to the
right number. What nobody says is not made up: before the first engine of a fleet has spoken there is no
hardware, and afterwards an engine on something that no table holds gets `hardware.conservative`, a guess that
is known as one.

The table speaks of an engine at its defaults. Flags that change what a step costs (pipelines, eager mode,
speculative decoding, weights on the CPU) make its row a guess as well; it is still the best start, and what
the fleet learns takes its place.

Of a simulated engine the truth is known: the profile that it is told to run with.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from torpor.api import constants, quantity
from torpor.api.engine_flags import expanded, flag_value, has_flag, whole_number
from torpor.api.types import InferenceService
from torpor.cluster.gateway_view import PodReport
from torpor.decide.hardware import Hardware, conservative, lookup, parameters_of
from torpor.decide.values import Unknown, measured
from torpor.simulate.profiles import PROFILES, StepCost

GPU_LABEL = "nvidia.com/gpu.product"
GPU_RESOURCE = "nvidia.com/gpu"
SLICES = "nvidia.com/mig-"
LAUNCHERS_SEQS = 256  # what the launcher gives an engine without a large GPU where no flag says otherwise
NEAR = 0.05  # sizes that differ by less are the same: no two starts find exactly the same memory
SLOWER = ("enforce-eager", "cpu-offload-gb", "data-parallel-size", "dp")
SPECULATIVE = ("speculative-config", "sc", "speculative-model", "spec-method", "spec-model")
SMALLEST = 1e-9  # ms: a constant of the simulated engine may be 0, one of a replica may not


@dataclass(frozen=True, slots=True)
class Engines:
    """What the fleet's launchers last said: `revision` of their pods ("": none ever spoke), the GPU's product
    and how many carry one copy of the model, tokens in the KV cache, sequences and tokens of one step.
    None: not told. refused: an engine came up only without the prefill budget of the fleet.
    """

    revision: str = ""
    gpu: str | None = None
    gpu_count: int | None = None
    kv_tokens: int | None = None
    max_num_seqs: int | None = None
    max_num_batched_tokens: int | None = None
    refused: bool = False


def heard(before: Engines, revision: str, reports: Iterable[PodReport]) -> Engines:
    """Return what is known after these reports, of pods of any revision; those of `revision` count.

    Of another revision than `before` only the GPU stays: the pods go to the same nodes, and everything else
    may change with the flags. Of several sizes the smallest counts, since no replica may be overestimated.
    """
    stats = [
        report.stats
        for report in reports
        if report.age < constants.STATS_FRESH_SECONDS and report.stats.get("revision") == revision
    ]
    if before.revision != revision:
        before = Engines("", before.gpu, before.gpu_count)
    if not stats:
        return before
    ready = [line for line in stats if line.get("state") == constants.STATE_READY]
    gpus = sorted({str(line["gpu"])[:128] for line in stats if isinstance(line.get("gpu"), str)})
    return Engines(
        revision,
        gpus[0] if gpus else before.gpu,
        _smallest(stats, "gpuCount") or before.gpu_count,
        _near(before.kv_tokens, _smallest(ready, "kvCapacityTokens")),
        _smallest(ready, "maxNumSeqs") or before.max_num_seqs,
        # An engine with its own default tells none, and then the last one's budget is not in effect.
        _smallest(ready, "maxNumBatchedTokens") if ready else before.max_num_batched_tokens,
        before.refused or any(_refused(line) for line in ready),
    )


def fleet_hardware(service: InferenceService, engines: Engines) -> Hardware | None:
    """Return what a replica costs per step, and its sizes without what its engines say of them; None where
    nobody knows on what it runs.
    """
    spec = service.spec.engine
    variables = {variable.name: variable.value or "" for variable in spec.env if variable.value_from is None}
    args = expanded(spec.args, variables)
    found = (
        _simulated(args) if spec.type == constants.ENGINE_TYPE_SIMULATED else _real(service, args, engines)
    )
    if found is None:
        return None
    # Six digits, as what is learned of them is written down: after a restart the start is still the same.
    a, b, c, d = (float(f"{value:.6g}") for value in (found.a, found.b, found.c, found.d))
    seqs = whole_number(args, "max-num-seqs") or found.max_num_seqs
    tokens = whole_number(args, "max-num-batched-tokens") or found.max_num_batched_tokens
    return replace(found, a=a, b=b, c=c, d=d, max_num_seqs=seqs, max_num_batched_tokens=tokens)


def in_effect(hardware: Hardware, engines: Engines, tokens: int | None) -> Hardware:
    """Return the hardware with the sizes that its engines run with, as they say; where they do not, with the
    prefill budget `tokens` that they will be started with (None: their own).
    """
    budget = engines.max_num_batched_tokens or tokens or hardware.max_num_batched_tokens
    seqs = engines.max_num_seqs or min(hardware.max_num_seqs, tokens or hardware.max_num_seqs)
    return replace(
        hardware,
        kv_tokens=engines.kv_tokens or hardware.kv_tokens,
        max_num_seqs=seqs,
        max_num_batched_tokens=budget,
    )


def _real(service: InferenceService, args: list[str], engines: Engines) -> Hardware | None:
    gpu = (service.spec.engine.pod_template.node_selector or {}).get(GPU_LABEL) or engines.gpu
    if gpu is None and not engines.revision:
        return None
    if any(name.startswith(SLICES) for name in service.spec.engine.resources.limits or {}):
        gpu = f"{gpu} MIG"  # the label and the driver name the whole card
    model = service.spec.model.uri
    if (
        parameters_of(model) is None
    ):  # a claim or a folder may be called anything; then the model's name tells
        model = f"{model} {service.model_name}"
    quantization = flag_value(args, "quantization", "q")
    count, plain = _gpus(service, args, engines)
    row = lookup(gpu, model, count, quantization)
    if row is None:
        return conservative(gpu, model, count, quantization)
    float32 = flag_value(args, "dtype") in ("float32", "float")
    usual = plain and not float32 and not has_flag(args, *SLOWER) and not speculates(args)
    return row if usual else replace(row, guessed=True)


def speculates(args: Iterable[str]) -> bool:
    """Whether flags ask for speculative decoding: as JSON, part by part (`--speculative-config.method=...`),
    or in the short forms.
    """
    return has_flag([arg.partition(".")[0] if arg.startswith("-") else arg for arg in args], *SPECULATIVE)


def _gpus(service: InferenceService, args: list[str], engines: Engines) -> tuple[int, bool]:
    """How many GPUs carry one copy of the model, and whether all of them work on the same layers."""
    tensor, pipeline = (
        whole_number(args, long) or whole_number(args, short)
        for long, short in (("tensor-parallel-size", "tp"), ("pipeline-parallel-size", "pp"))
    )
    if tensor is None and pipeline is None and has_flag(args, "config"):  # the file may say it
        booked = quantity.parse((service.spec.engine.resources.limits or {}).get(GPU_RESOURCE, 1))
        return engines.gpu_count or max(1, int(booked)), False
    return (tensor or 1) * (pipeline or 1), (pipeline or 1) == 1


def _simulated(args: list[str]) -> Hardware | None:
    """The simulated engine's own truth; None for flags with which it does not start."""
    name = flag_value(args, "profile") or "tiny"
    base = PROFILES.get(name)
    if base is None:
        return None
    blocks, size = whole_number(args, "num-gpu-blocks-override"), whole_number(args, "block-size") or 16
    kv = blocks * size if blocks else whole_number(args, "kv-tokens") or base.kv_tokens
    try:
        cost = _step_cost(flag_value(args, "step-ms")) or base.cost
        cost = cost.faster(float(flag_value(args, "speed") or 1.0))
        a, b, c, d = (max(value, SMALLEST) for value in (cost.a, cost.b, cost.c, cost.d))
        budget = base.max_num_batched_tokens
        told = "the profile that the simulated engine runs with"
        return Hardware(f"simulated-{name}", a, b, c, d, kv, LAUNCHERS_SEQS, budget, told)
    except ValueError:
        return None


def _step_cost(text: str | None) -> StepCost | None:
    if text is None:
        return None
    numbers = [float(part) for part in text.split(",")]
    if len(numbers) != 4:
        raise ValueError(f"{text!r}: must be four numbers")
    return StepCost(*numbers)


def _smallest(stats: Iterable[Mapping[str, Any]], name: str) -> int | None:
    values = [measured(line.get(name), low=1.0, high=1e9) for line in stats]
    return min((int(value) for value in values if not isinstance(value, Unknown)), default=None)


def _near(before: int | None, now: int | None) -> int | None:
    """The new size, or the old one where it is as good as the same."""
    if now is None or before is None:
        return before if now is None else now
    return before if abs(now - before) <= NEAR * before else now


def _refused(line: Mapping[str, Any]) -> bool:
    tuning = line.get("tuning")
    return isinstance(tuning, Mapping) and tuning.get("refused") is True
