"""Sizes and step costs of one replica for a simulation: by name, from a file, and cut to an objective.

A hardware file is one JSON object with the fields of `Hardware`. Zero is refused where a constant stands: a
step that costs nothing for its sequences makes every policy look good.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from torpor.decide import hardware as decide
from torpor.decide.budget import prefill_budget
from torpor.decide.work import Mix, Objectives
from torpor.simulate.profiles import PROFILES, StepCost

if TYPE_CHECKING:
    from torpor.simulate.traces import Trace

COSTS = ("a", "b", "c", "d")
SIZES = ("kv_tokens", "max_num_seqs", "max_num_batched_tokens")
LARGEST = 1e9


class HardwareError(Exception):
    """Not usable as hardware; the message is one line."""


@dataclass(frozen=True, slots=True)
class Hardware:
    """One replica. a, b, c, d: milliseconds per step, sequence, cached token, prompt token; sizes in tokens
    and sequences.
    """

    name: str
    a: float
    b: float
    c: float
    d: float
    kv_tokens: int
    max_num_seqs: int
    max_num_batched_tokens: int

    @property
    def cost(self) -> StepCost:
        """The constants of a step."""
        return StepCost(self.a, self.b, self.c, self.d)


def find(name: str) -> Hardware:
    """The hardware of a built-in name or of a file (a name that ends in .json or holds a slash).

    Raises HardwareError.
    """
    if not (name.endswith(".json") or "/" in name):
        known = PROFILES.get(name)
        if known is None:
            raise HardwareError(
                f"hardware {name!r}: unknown; name a .json file or one of {', '.join(PROFILES)}"
            )
        k = known.cost
        zero = [field for field in COSTS if getattr(k, field) == 0]
        if zero:
            raise HardwareError(
                f"hardware {name!r}: {', '.join(zero)} is 0: an engine without service time cannot be sized; "
                "name another, or a .json file"
            )
        return Hardware(
            name, k.a, k.b, k.c, k.d, known.kv_tokens, known.max_num_seqs, known.max_num_batched_tokens
        )
    try:
        document = json.loads(Path(name).read_text(encoding="utf-8"))
    except OSError as error:
        raise HardwareError(f"{name}: cannot be read: {error.strerror or error}") from None
    except ValueError as error:
        raise HardwareError(f"{name}: not JSON: {error}") from None
    return parse(name, document)


def parse(file: str, document: Any) -> Hardware:
    """The hardware that a decoded file describes. Raises HardwareError."""
    fields = ("name", *COSTS, *SIZES)
    if not isinstance(document, dict):
        raise HardwareError(f"{file}: not a hardware file: expected an object with {', '.join(fields)}")
    for field in fields:
        if field not in document:
            raise HardwareError(f"{file}: {field} is missing; a hardware file has {', '.join(fields)}")
    for field in document:
        if field not in fields:
            raise HardwareError(f"{file}: {field!r} is no field; a hardware file has {', '.join(fields)}")
    for field in (*COSTS, *SIZES):
        value = document[field]
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not 0 < value <= LARGEST:
            raise HardwareError(f"{file}: {field}={value!r}: must be a number above 0, at most {LARGEST:g}")
        if field in SIZES and value != int(value):
            raise HardwareError(f"{file}: {field}={value!r}: must be whole")
    if document["kv_tokens"] < 16:
        raise HardwareError(f"{file}: kv_tokens={document['kv_tokens']}: must hold one block of 16 tokens")
    a, b, c, d = (float(document[field]) for field in COSTS)
    kv_tokens, seqs, budget = (int(document[field]) for field in SIZES)
    return Hardware(str(document["name"]), a, b, c, d, kv_tokens, seqs, budget)


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

    Hardware that costs nothing for some of its load has no such budget and keeps its own.
    """
    tokens = budget
    if budget is None and itl_ms is not None and itl_ms > 0 and all(getattr(hardware, n) > 0 for n in COSTS):
        sizes = (hardware.kv_tokens, hardware.max_num_seqs, hardware.max_num_batched_tokens)
        machine = decide.Hardware(hardware.name, hardware.a, hardware.b, hardware.c, hardware.d, *sizes)
        mix = mean_request(hardware, trace)
        found = prefill_budget(machine, Objectives(ttft_ms, itl_ms), mix, own_seqs=seqs)
        tokens = found.max_num_batched_tokens
    tokens = tokens or hardware.max_num_batched_tokens
    seqs_now = seqs or min(hardware.max_num_seqs, tokens)
    return replace(hardware, max_num_seqs=seqs_now, max_num_batched_tokens=max(tokens, seqs_now))
