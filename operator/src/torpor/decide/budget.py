"""The prefill budget: how many tokens one step may take, so that no step breaks the ITL objective.

vLLM fills each step with prompt tokens up to `--max-num-batched-tokens`. At its default of 8192 one long
prompt makes one step of several hundred milliseconds, and every request that decodes beside it sees the gap;
no number of replicas takes it away. The right budget is the largest P with

    a + b·B + c·KV + d·P ≤ ITL objective        (research, section 11.1)

at the batch B and the cache KV of a busy replica. While prompts wait every step is full, so a request's mean
ITL is the length of full steps: B is the batch at the capacity plus what chance adds (`BATCH_Z` standard
deviations of a Poisson number; at the mean batch, one request in five of a simulated fleet missed a 50 ms ITL
by a millisecond). The flag counts decoding sequences too, a token each, so it is P + B. It must hold on an
empty replica as well, where B and KV are small and the whole budget may be prompt. What that costs in
capacity is `work.TOKENS`, the load at which prefill no longer keeps up.

Refused: a budget without an ITL objective, or against the owner's own flag.
"""

import math
from dataclasses import dataclass, replace

from torpor.decide.hardware import Hardware
from torpor.decide.work import Mix, Objectives, Operating, capacity

BATCH_Z = 2.0
LEAST_TOKENS = 64  # below, a long prompt takes hundreds of steps and each pays the constant part
MOST_TOKENS = 8192  # vLLM's own default on large GPUs
BLOCK = 16  # the flag is a whole number of blocks

# Until lengths are known: a conversation, between the shared traces' shortest and longest.
UNKNOWN_MIX = Mix(prompt=1024, output=256)


@dataclass(frozen=True, slots=True)
class Budget:
    """Flags for the engine: max_num_batched_tokens and max_num_seqs, None: leave the engine's own. reason: a
    sentence without a full stop. step_ms: the longest step that they allow on a busy replica, None where
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
    busy = _busy(hardware, objectives, mix or UNKNOWN_MIX)
    within = _within(hardware, busy, objective)
    told = f"the largest step within {objective:g} ms at {busy.running:.0f} sequences"
    tokens = max(LEAST_TOKENS, min(within, MOST_TOKENS))
    if within < LEAST_TOKENS:
        told = (
            f"the ITL objective of {objective:g} ms leaves no room for prefill on a busy replica (a step "
            f"without takes {hardware.step_ms(busy.running, busy.kv_tokens, 0):.0f} ms); {LEAST_TOKENS} are "
            f"the least"
        )
    elif within > MOST_TOKENS:
        told = f"{MOST_TOKENS} tokens, the most that is ever set, keep a step within {objective:g} ms"
    if own_seqs is not None and own_seqs > tokens:
        tokens, told = own_seqs, f"engine.args sets --max-num-seqs={own_seqs}, and a budget is at least that"
    seqs = min(hardware.max_num_seqs, tokens) if own_seqs is None else None
    share = min(1.0, tokens / busy.running)
    decodes = busy.running * share
    full = hardware.step_ms(decodes, busy.kv_tokens * share, tokens - decodes)
    return Budget(tokens, seqs, told, full)


def _busy(hardware: Hardware, objectives: Objectives, mix: Mix) -> Operating:
    """A replica at its capacity whose batch is as large as chance makes it."""
    roomy = replace(hardware, max_num_batched_tokens=max(hardware.max_num_batched_tokens, MOST_TOKENS))
    at = capacity(roomy, mix, objectives).at
    times = 1 + BATCH_Z / math.sqrt(max(at.running, 1.0))
    times = min(times, hardware.max_num_seqs / at.running, hardware.kv_tokens / max(at.kv_tokens, 1.0))
    return replace(at, running=at.running * times, kv_tokens=at.kv_tokens * times)


def _within(hardware: Hardware, busy: Operating, objective: float) -> int:
    """The largest flag that keeps a step within `objective`, on a busy and on an empty replica."""
    decoding = hardware.step_ms(busy.running, busy.kv_tokens, 0)
    if decoding <= objective:
        then = busy.running + (objective - decoding) / hardware.d
    else:  # fewer sequences, as many as the objective bears, and no prompt beside them
        then = busy.running * (objective - hardware.a) / (decoding - hardware.a)
    empty = (objective - hardware.a) / hardware.d
    return max(0, math.floor(min(then, empty, 1e9) / BLOCK) * BLOCK)
