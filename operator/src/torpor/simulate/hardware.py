"""Sizes and step costs of one replica for a simulation: by name, from a file, and cut to an objective.

It is `decide.hardware`'s replica: what is simulated and what deciding starts from are one value.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from torpor.decide.budget import prefill_budget
from torpor.decide.hardware import NUMBERS, Hardware, parse
from torpor.decide.work import Mix, Objectives
from torpor.simulate.profiles import PROFILES, StepCost

if TYPE_CHECKING:
    from torpor.simulate.traces import Trace

BLOCK = 16  # tokens; the least that a cache of blocks can be


class HardwareError(Exception):
    """Not usable as hardware; the message is one line."""


def cost_of(hardware: Hardware) -> StepCost:
    """The constants of a step."""
    return StepCost(hardware.a, hardware.b, hardware.c, hardware.d)


def find(name: str) -> Hardware:
    """The hardware of a built-in name or of a file (a name that ends in .json or holds a slash).

    Raises HardwareError.
    """
    if not (name.endswith(".json") or "/" in name):
        return _built_in(name)
    try:
        document = json.loads(Path(name).read_text(encoding="utf-8"))
    except OSError as error:
        raise HardwareError(f"{name}: cannot be read: {error.strerror or error}") from None
    except ValueError as error:
        raise HardwareError(f"{name}: not JSON: {error}") from None
    try:
        found = parse(document)
    except ValueError as error:
        raise HardwareError(f"{name}: {error}") from None
    if found.kv_tokens < BLOCK:
        raise HardwareError(f"{name}: kv_tokens={found.kv_tokens}: must hold one block of {BLOCK} tokens")
    return found


def _built_in(name: str) -> Hardware:
    known = PROFILES.get(name)
    if known is None:
        raise HardwareError(f"hardware {name!r}: unknown; name a .json file or one of {', '.join(PROFILES)}")
    k = known.cost
    zero = [field for field in NUMBERS if getattr(k, field) == 0]
    if zero:
        raise HardwareError(
            f"hardware {name!r}: {', '.join(zero)} is 0: an engine without service time cannot be sized; "
            "name another, or a .json file"
        )
    sizes = (known.kv_tokens, known.max_num_seqs, known.max_num_batched_tokens)
    return Hardware(name, k.a, k.b, k.c, k.d, *sizes, source=known.source)


def work_ms(hardware: Hardware, trace: Trace) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Milliseconds of step time that each request costs beyond the constant part of a step:
    W = d*I + O*(b + c*(I + O/2)) (autoscaling.md 11.3). Where prompts share beginnings, only what is new of I
    counts in the first term: the least that any fleet computes.
    """
    h = hardware
    return h.d * trace.new_tokens() + trace.output * (h.b + h.c * (trace.prompt + trace.output / 2))


def mean_request(hardware: Hardware, trace: Trace) -> Mix:
    """The mean request of a trace on that hardware, as deciding knows it."""
    context = trace.output * (trace.prompt + trace.output / 2)
    work = work_ms(hardware, trace)
    mean = float(np.mean(work))
    return Mix(
        prompt=float(np.mean(trace.prompt)),
        output=float(np.mean(trace.output)),
        context=float(np.mean(context)),
        spread=float(np.var(work)) / mean**2 if mean > 0 else 0.0,
    )


def for_objective(
    hardware: Hardware,
    trace: Trace,
    itl_ms: float | None,
    *,
    seqs: int | None,
    budget: int | None,
    ttft_ms: float | None = None,
) -> Hardware:
    """The replica as the engine would be started: the user's flags where given (`seqs`, `budget`), else the
    budget that the operator would give it for the objectives (`decide.budget.prefill_budget`).
    """
    tokens = budget
    if budget is None and itl_ms is not None and itl_ms > 0:
        mix = mean_request(hardware, trace)
        found = prefill_budget(hardware, Objectives(ttft_ms, itl_ms), mix, own_seqs=seqs)
        tokens = found.max_num_batched_tokens
    tokens = tokens or hardware.max_num_batched_tokens
    seqs_now = seqs or min(hardware.max_num_seqs, tokens)
    return replace(hardware, max_num_seqs=seqs_now, max_num_batched_tokens=max(tokens, seqs_now))
