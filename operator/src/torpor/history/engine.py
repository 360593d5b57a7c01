"""What a replica of this fleet costs per step, where nobody says: learned from the history itself.

`torpor.decide.learning` learns it in production from reports a few seconds apart; scrapes a quarter of a
minute apart are such reports. So a few stretches of the history, the busiest and some quieter ones, are read
with every counter that a sample needs and given to the very same code. What it cannot prove (`proven`: enough
samples, predicted well enough) is refused: a backtest on a guess would look like one on facts.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from torpor.decide import learning
from torpor.decide.hardware import Hardware, conservative, lookup
from torpor.decide.samples import LONGEST, Counters, Sample, between
from torpor.decide.study import FEWEST_RUNNING
from torpor.history import names, series
from torpor.history.matchers import select
from torpor.history.source import HistoryError

if TYPE_CHECKING:
    from collections.abc import Callable

    from torpor.history.read import Past
    from torpor.history.source import Source

STRETCH = 1200.0  # seconds
STRETCHES = 8
MOST_SAMPLES = 3000
LARGE_SEQS, LARGE_TOKENS = 1024, 8192  # vLLM's defaults on large GPUs
_WANTED = {
    "running": names.RUNNING,
    "waiting": names.WAITING,
    "kv": names.KV,
    "generated": names.GENERATION_TOKENS,
    "prompts": names.PROMPT_TOKENS,
    "cached": names.CACHED_TOKENS,
    "gaps": names.GAPS,
    "gap_seconds": names.GAP_SECONDS,
}


def learned(
    source: Source, past: Past, gpu: str | None, gpus: int, told: Callable[[float], None] = lambda share: None
) -> tuple[Hardware, float]:
    """The replica, and the mean relative error with which its last samples were predicted. Raises
    HistoryError where the history cannot tell.
    """
    config = source.instant(
        f"last_over_time({select(names.CACHE_CONFIG, past.selector)}[{int(past.end - past.start)}s])",
        past.end,
    )
    kv_tokens = max((_kv_tokens(one.labels) for one in config), default=0)
    if not kv_tokens:
        raise HistoryError(
            f"{names.CACHE_CONFIG[0]} is missing or tells no size, so nobody knows what a replica's "
            "cache holds; "
            "name the hardware with --hardware"
        )
    samples: list[Sample] = []
    model, most = "", 0.0
    for low in stretches(past):
        found, model_seen, busiest = _samples(source, past, low, kv_tokens)
        samples += found
        model, most = model or model_seen, max(most, busiest)
        told(0.2 / STRETCHES)
    base = lookup(gpu, model, gpus) or conservative(gpu, model, gpus)
    if most > base.max_num_seqs:
        base = replace(base, max_num_seqs=LARGE_SEQS, max_num_batched_tokens=LARGE_TOKENS)
    order = np.random.default_rng(0).permutation(len(samples))[:MOST_SAMPLES]
    state = learning.learn(learning.begin(base), [samples[place] for place in order])
    if not state.proven:
        every = f", scraped every {past.every:g} s (more than {LONGEST:g})" if past.every > LONGEST else ""
        raise HistoryError(
            f"the history tells too little of what a replica's steps take ({len(samples)} "
            f"samples{every}, off by "
            f"{state.error:.0%}); name the hardware with --hardware, one of torpor simulate's or a .json file"
        )
    found_hardware = state.hardware(replace(base, kv_tokens=kv_tokens))
    return replace(
        found_hardware, name="learned from the history", source=f"{len(samples)} samples"
    ), state.error


def stretches(past: Past) -> list[float]:
    """Where to look, seconds since the epoch: times at which requests came, from the busiest to quiet
    ones.
    """
    slots = np.bincount(
        np.clip(((past.arrivals.ends - past.start) // STRETCH).astype(np.int64), 0, None),
        weights=past.arrivals.amounts,
    )
    busy = np.flatnonzero(slots > 0)
    order = busy[np.argsort(-slots[busy], kind="stable")]
    places = np.unique(np.linspace(0, len(order) - 1, min(STRETCHES, len(order))).astype(int))
    return [past.start + float(slot) * STRETCH for slot in order[places]]


def _samples(source: Source, past: Past, low: float, kv_tokens: int) -> tuple[list[Sample], str, float]:
    """Samples of one stretch, the model's name, and the largest batch that was seen."""
    high = min(low + STRETCH, past.end)
    table: dict[tuple[tuple[str, str], ...], dict[str, dict[float, float]]] = {}
    model, most = "", 0.0
    for kind, wanted in _WANTED.items():
        query = f"{select(wanted, past.selector)}[{max(1, round(high - low))}s]"
        found, _ = series.sound(source.instant(query, high))
        for one in series.merged(found, wanted):
            model = one.labels.get("model_name", model)
            key = tuple(sorted(one.labels.items()))
            table.setdefault(key, {})[kind] = dict(zip(one.times.tolist(), one.values.tolist(), strict=True))
            if kind == "running":
                most = max(most, float(one.values.max()))
    samples: list[Sample] = []
    for place, kinds in enumerate(table.values()):
        before: Counters | None = None
        for at in sorted(kinds.get("generated", ())):
            now = _counters(f"{place}", at, kinds, kv_tokens)
            found_sample = between(before, now) if now and before else None
            if isinstance(found_sample, Sample) and found_sample.running >= FEWEST_RUNNING:
                samples.append(found_sample)
            before = now or before
    return samples, model, most


def _counters(
    replica: str, at: float, kinds: dict[str, dict[float, float]], kv_tokens: int
) -> Counters | None:
    """What one scrape told; None where it lacks what a sample cannot do without."""
    told = {kind: values[at] for kind, values in kinds.items() if at in values}
    if not {"running", "generated", "prompts", "kv"} <= set(told):
        return None
    told["kv_tokens"] = told.pop("kv") * kv_tokens
    return Counters(replica, "", at, **told)


def _kv_tokens(labels: dict[str, str]) -> int:
    """Tokens that the cache keeps: what the engine says, else blocks times their size."""

    def whole(name: str) -> int:
        text = labels.get(name, "")
        return int(text) if text.isdecimal() and len(text) <= 12 else 0

    return whole("kv_cache_size_tokens") or whole("num_gpu_blocks") * whole("block_size")
