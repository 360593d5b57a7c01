"""What a good latency predictor would say of each replica: the step model itself (autoscaling.md 11.1).

Rules that act on predicted latencies learn a predictor online. Here they get the true constants of a step,
so that a rule is judged and not its learning: the next step of a replica takes t = a + b*B + c*KV + d*P,
with P the prompt tokens that arrive for it in a step. A prompt that waits is through after the steps that it
and those before it fill.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torpor.simulate.rivals.base import Place


def predicted(
    place: Place, *, running: float, waiting: float, kv: float, rate: float, prompt: float, share: float = 1.0
) -> tuple[float, float]:
    """TTFT and ITL (ms) of a request that comes now. rate: requests per second per replica; prompt: mean
    tokens; kv: share of the cache. share: the load counts so many times, for a fleet of another size.
    """
    h = place.replica
    batch = min(h.max_num_seqs, running * share)
    cached = min(1.0, kv * share) * h.kv_tokens
    fixed = h.a + h.b * batch + h.c * cached
    filling = min(0.99, h.d * rate * share * prompt / 1000.0)  # share of the time that prompts take
    most = fixed + h.d * h.max_num_batched_tokens
    itl = min(fixed / (1 - filling), most)
    queued = waiting * share * prompt
    room = max(1.0, h.max_num_batched_tokens - batch)
    through = queued / room * (fixed + h.d * room)  # those before it fill whole steps
    return through + itl + h.d * prompt, itl
