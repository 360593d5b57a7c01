"""On what the engine runs, as far as its flags and the driver say it.

The operator looks up what a replica can do by the product and the number of GPUs under one copy of the model,
so both travel with the stats. Neither is guessed: cards of different kinds have no one name, a number in a
`--config` file is not read, and an engine without a visible GPU reports none (it may run on a CPU, or on an
accelerator that nvidia-smi does not know). The number is that of the flags and not of the cards in sight: one
vLLM with four cards and no flag uses one of them. Data-parallel copies are engines of their own and do not
count.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torpor_engine.flags import flag_value, has_flag

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torpor_engine.adapters import Gpu

# Dimensions of vLLM that spread one copy of the model over GPUs; each multiplies the others.
SPREADS = (("--tensor-parallel-size", "-tp"), ("--pipeline-parallel-size", "-pp"))
MOST_GPUS = 4096
# What vLLM's parser takes for a number of tokens: digits, also with a decimal (k, m) or binary (K, M) unit.
UNITS = {"": 1, "k": 1000, "m": 1000**2, "K": 1 << 10, "M": 1 << 20}
SIZE = re.compile(r"(\d{1,12})(?:\.(\d{1,6}))?([kmKM]?)", re.ASCII)


@dataclass(frozen=True)
class Accelerators:
    """What the engine runs on: the product as the driver names it, GPUs under one copy of the model, tokens
    of one step. None is "not known".
    """

    gpu: str | None = None
    gpu_count: int | None = None
    max_num_batched_tokens: int | None = None


def accelerators(argv: Sequence[str], gpus: Sequence[Gpu]) -> Accelerators:
    """What is known of the engine that is started by `argv` in a container that sees `gpus`."""
    names = {gpu.name for gpu in gpus}
    return Accelerators(
        gpu=names.pop() if len(names) == 1 else None,
        gpu_count=_spread(argv) if gpus else None,
        max_num_batched_tokens=size(flag_value(argv, "--max-num-batched-tokens")),
    )


def size(text: str | None) -> int | None:
    """A number of tokens as vLLM reads it (`8192`, `8k`, `8K`), None for what is none above 0.

    A fraction needs a decimal unit, as there: `1.5k` is 1500 and `1.5K` nothing.
    """
    match = SIZE.fullmatch(text or "")
    if match is None:
        return None
    whole, fraction, unit = match.groups()
    if fraction is not None and unit not in ("k", "m"):
        return None
    scale = UNITS[unit]
    number = int(whole) * scale + int(fraction or 0) * scale // 10 ** len(fraction or "")
    return number or None


def _spread(argv: Sequence[str]) -> int | None:
    if has_flag(argv, "--config"):
        return None
    product = 1
    for names in SPREADS:
        value = flag_value(argv, *names)
        if value is None:
            continue
        if not (value.isascii() and value.isdigit() and 0 < int(value) <= MOST_GPUS):
            return None
        product *= int(value)
    return product
