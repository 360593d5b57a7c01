"""From a run to figures. Every request of the trace counts, and what is cut off at the front is cut from all.

A request meets the objectives when its first token came within the TTFT objective, time held at the gateway
included, and its mean ITL within the ITL objective. Refused and expired ones are misses. The percentiles of
held seconds are over the requests that had to wait at the gateway, those of latencies over the completed.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from torpor.simulate.replica_kernel import COMPLETED, EXPIRED, REFUSED

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from torpor.simulate.fleet import Run

PERCENTILES = (50, 95, 99)


def percentiles(values: NDArray[np.float64], digits: int) -> dict[str, float | None]:
    """p50, p95 and p99; null where there are no values."""
    if not len(values):
        return {f"p{p}": None for p in PERCENTILES}
    found = np.percentile(values, PERCENTILES)
    return {f"p{p}": round(float(value), digits) for p, value in zip(PERCENTILES, found, strict=True)}


def attained(run: Run, ttft_ms: float | None, itl_ms: float | None) -> NDArray[np.bool_]:
    """Which requests met the objectives. An objective that is None holds always."""
    requests = run.requests
    ttft, itl = latencies(requests)
    good: NDArray[np.bool_] = requests["end"] == COMPLETED
    if ttft_ms is not None:
        good &= ttft <= ttft_ms
    if itl_ms is not None:
        good &= itl <= itl_ms
    return good


def latencies(requests: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """TTFT and mean ITL of each request in ms; NaN where there was none, an ITL of 0 for a single token."""
    ttft = 1000.0 * (requests["first"] - requests["arrival"])
    gaps = np.maximum(requests["output"] - 1, 1)
    return ttft, 1000.0 * (requests["finish"] - requests["first"]) / gaps


def replica_seconds(run: Run, score_from: float = 0.0) -> float:
    """Billed seconds from `score_from` to the end of the last request."""
    return sum(max(0.0, min(died, run.end) - max(born, score_from)) for born, died in run.lives)


def peak(run: Run, score_from: float = 0.0) -> int:
    """The most replicas billed at once, starting and draining ones included."""
    changes = sorted(
        [(max(born, score_from), 1) for born, died in run.lives if died > score_from]
        + [(died, -1) for born, died in run.lives if died > score_from]
    )
    most = now = 0
    for _, change in changes:
        now += change
        most = max(most, now)
    return most


def score(
    run: Run, policy: str, *, ttft_ms: float | None, itl_ms: float | None, score_from: float = 0.0
) -> dict[str, Any]:
    """The figures of one run, without the bound. Shares in percent, latencies in ms."""
    inside = run.requests["arrival"] >= score_from
    requests = run.requests[inside]
    ends = requests["end"]
    ttft, itl = latencies(requests)
    done = ends == COMPLETED
    waited = np.where(ends == EXPIRED, requests["finish"], requests["sent"]) - requests["arrival"]
    waited = waited[np.isfinite(waited) & (waited > 0)]
    changes = [(at, count) for at, count in run.steps if at >= score_from]
    before = [0, *(count for _, count in run.steps)]
    wakes = sum(
        1
        for (at, count), last in zip(run.steps, before, strict=False)
        if at >= score_from and last == 0 and count > 0
    )
    good = attained(run, ttft_ms, itl_ms)[inside]
    return {
        "policy": policy,
        "requests": len(requests),
        "completed": int(done.sum()),
        "refused": int((ends == REFUSED).sum()),
        "expired": int((ends == EXPIRED).sum()),
        "slo_attainment_percent": math.floor(1e6 * float(good.mean())) / 1e4 if len(requests) else None,
        "replica_hours": round(replica_seconds(run, score_from) / 3600.0, 4),
        "peak_replicas": peak(run, score_from),
        "starts": sum(1 for at in run.births if at >= score_from),
        "scale_changes": len(changes),
        "wakes": wakes,
        "ttft_ms": percentiles(ttft[done], 1),
        "itl_ms": percentiles(itl[done & (requests["output"] > 1)], 2),
        "held_seconds": percentiles(waited if len(waited) else np.zeros(1), 3),
        **_prefixes(run),
    }


def _prefixes(run: Run) -> dict[str, Any]:
    """How much of the prompts was known already, over the whole run; nothing where nothing was."""
    if not run.cached_tokens:
        return {}
    share = run.cached_tokens / (run.cached_tokens + run.prompt_tokens)
    return {"prefix_hit_percent": round(100.0 * share, 2)}
