"""The prefill budget: how many tokens one step may take, so that no step breaks the ITL objective.

vLLM fills each step with prompt tokens up to `--max-num-batched-tokens`. At its default of 8192 one long
prompt makes one step of several hundred milliseconds, and every request that decodes beside it sees the gap;
no number of replicas takes it away. The right budget is the largest P with

    a + b·B + c·KV + d·P ≤ ITL objective        (research, section 11.1)

at the batch B and the cache KV at which the fleet is meant to run. The flag counts decoding sequences too, a
token each, so it is P + B. It must hold on an empty replica as well, where B and KV are small and the whole
budget may be prompt. Prefill still has to keep up: the operating point is `AIM` of the capacity, since at the
capacity itself the steps would be full on average and prompts would queue without end.

Refused: a budget without an ITL objective, or against the owner's own flag.
"""

import math
from dataclasses import dataclass, replace

from torpor.decide.hardware import Hardware
from torpor.decide.work import Mix, Objectives, capacity, operating

AIM = 0.9  # share of the capacity at which a replica is meant to run
LEAST_TOKENS = 64  # below, a long prompt takes hundreds of steps and each pays the constant part
MOST_TOKENS = 8192  # vLLM's own default on large GPUs
BLOCK = 16  # the flag is a whole number of blocks

# Until lengths are known: a conversation, between the shared traces' shortest and longest.
UNKNOWN_MIX = Mix(prompt=1024, output=256)


@dataclass(frozen=True, slots=True)
class Budget:
    """Flags for the engine: max_num_batched_tokens and max_num_seqs, None: leave the engine's own. reason: a
    sentence without a full stop. step_ms: the longest step that they allow at the operating point, None where
    nothing is set.
    """

    max_num_batched_tokens: int | None
    max_num_seqs: int | None
    reason: str
    step_ms: float | None = None


def prefill_budget(
    hardware: Hardware,
    objectives: Objectives,
    mix: Mix | None = None,
    *,
    own_tokens: int | None = None,
    own_seqs: int | None = None,
) -> Budget:
    """Return the flags. own_tokens, own_seqs: what the owner put into engine.args; they are never changed.

    vLLM refuses a budget below its number of sequences: the sequences are lowered to the budget, or, where
    the owner set them, the budget is raised to them.
    """
    if own_tokens is not None:
        return Budget(None, None, f"engine.args sets --max-num-batched-tokens={own_tokens}")
    objective = objectives.itl_ms
    if objective is None:
        return Budget(None, None, "no inter-token latency objective is given, so the engine's default holds")
    if mix is not None and mix.output <= 1:
        return Budget(None, None, "answers of one token have no inter-token latency to keep")
    fleet = mix or UNKNOWN_MIX
    within, running = _within(hardware, objectives, fleet, objective)
    told = f"the largest step within {objective:g} ms at {running:.0f} sequences"
    tokens = max(LEAST_TOKENS, min(within, MOST_TOKENS))
    if within < LEAST_TOKENS:
        told = (
            f"the ITL objective of {objective:g} ms leaves no room for prefill (a step without any takes "
            f"{hardware.step_ms(running, 0, 0):.0f} ms); {LEAST_TOKENS} tokens are the least"
        )
    elif within > MOST_TOKENS:
        told = f"{MOST_TOKENS} tokens, the most that is ever set, keep a step within {objective:g} ms"
    if own_seqs is not None and own_seqs > tokens:
        tokens, told = own_seqs, f"engine.args sets --max-num-seqs={own_seqs}, and a budget is at least that"
    seqs = min(hardware.max_num_seqs, tokens) if own_seqs is None else None
    at = operating(hardware, fleet, AIM * capacity(hardware, fleet, objectives).rho)
    full = hardware.step_ms(at.running, at.kv_tokens, max(0.0, tokens - at.running))
    return Budget(tokens, seqs, told, full)


def _within(hardware: Hardware, objectives: Objectives, mix: Mix, objective: float) -> tuple[int, float]:
    """The largest flag that keeps a step within `objective`, and the sequences at the operating point."""
    roomy = replace(hardware, max_num_batched_tokens=max(hardware.max_num_batched_tokens, MOST_TOKENS))
    at = operating(roomy, mix, AIM * capacity(roomy, mix, objectives).rho)
    busy = at.running + (objective - hardware.step_ms(at.running, at.kv_tokens, 0)) / hardware.d
    empty = (objective - hardware.a) / hardware.d
    return max(0, math.floor(min(busy, empty, 1e9) / BLOCK) * BLOCK), at.running
