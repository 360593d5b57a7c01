"""The signals: each turns the observation into a number of replicas, or into `Unknown`.

The rule is the mission's first one. A replica carries `target` waiting requests and `target` of its KV cache;
with n ready replicas the raw number is ceil(n × value per replica / target), taken only outside a tolerance
of 10 %. The way down asks one thing more: whether the smaller fleet would still meet the target by the same
margin, with the requests that the removed replicas run put back into the queue. Without that question a full
fleet with an empty queue would shrink until the queue came back, and flap.

Requests that wait at a gateway while a ready replica has free places are on their way, not waiting for
capacity: the moment after a wake must not look like a load for many replicas.

A view that misses some replicas or gateways gives a lower bound, marked `partial`: good enough to raise,
never to lower.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from torpor.decide.gauges import Gauges, count
from torpor.decide.observation import Observation, Policy
from torpor.decide.quick import quick
from torpor.decide.values import Unknown, Value, measured

TOLERANCE = 0.1  # share of the target within which a reading asks for nothing

EPSILON = 1e-9  # 3 × 0.8 / 0.8 is 3, whatever floats say

QUEUE_DEPTH = "queueDepth"
KV_CACHE_UTILIZATION = "kvCacheUtilization"


@quick
@dataclass(frozen=True, slots=True)
class Reading:
    """One signal at one look.

    value: per replica (at zero replicas: in total), None where unknown. target: what a replica should carry.
    raw: the replicas it asks for, None where unknown. partial: value and raw are lower bounds, `gap` says
    why. age: seconds since the oldest report in it was made, None where that is not known.
    """

    name: str
    value: float | None
    target: float
    raw: int | None
    unknown: Unknown | None = None
    partial: bool = False
    gap: str = ""
    age: float | None = None


def read(
    observation: Observation, policy: Policy, gauges: Gauges | None = None, found: "Waiting | None" = None
) -> tuple[Reading, ...]:
    """Read the two signals of waiting and of cache. The order is that of the status. gauges, found: of the
    observation, where they were counted already.
    """
    counted = gauges or count(observation)
    found = found or waiting(observation, counted)
    queue = queue_depth(observation, policy, counted, found)
    return queue, kv_cache_utilization(observation, policy, counted)


def queue_depth(observation: Observation, policy: Policy, gauges: Gauges, found: "Waiting") -> Reading:
    """Requests that wait for capacity: inside the engines, and at the gateways beyond what free places take
    at once.
    """
    if isinstance(found.queue, Unknown):
        return Reading(QUEUE_DEPTH, None, policy.queue_target, None, found.queue)
    queue, gap, age = found.queue, found.gap, found.age
    replicas = min(gauges.ready, observation.replicas)
    if replicas == 0:
        raw = _to_start_with(found.held, observation, policy)
        return Reading(QUEUE_DEPTH, queue, policy.queue_target, raw, partial=bool(gap), gap=gap, age=age)
    running = gauges.running.total or 0.0

    def queue_of(number: int) -> float:
        """The queue that `number` replicas would have: what runs beyond their places waits again."""
        places = policy.max_num_seqs
        return max(queue, running + queue - number * places) if places else queue

    raw = _replicas(queue, replicas, policy.queue_target, queue_of)
    per_replica = queue / replicas
    return Reading(QUEUE_DEPTH, per_replica, policy.queue_target, raw, partial=bool(gap), gap=gap, age=age)


class Waiting(NamedTuple):
    """Requests that wait for capacity, each once. queue: all of them, Unknown where nobody reports any. held:
    those at gateways, free places not taken off. gap: what is missing in the sums and why, or "". outside: of
    the queue, those at gateways. age: seconds since the oldest report in it was made, None where not known.
    """

    queue: Value
    held: float
    gap: str
    outside: float = 0.0
    age: float | None = None


def waiting(observation: Observation, gauges: Gauges) -> Waiting:
    """Count those who wait: inside the engines, and at the gateways beyond what free places take at once."""
    demand = observation.demand
    inside, gap = gauges.waiting.total, gauges.waiting.gap
    parts = measured(demand.held), measured(demand.queued)
    gaps = {f"gateways: {part.reason}" for part in parts if isinstance(part, Unknown)}
    if not gap:
        gap = "; ".join(sorted(gaps)) if gaps else "" if demand.complete else demand.gap
    known = [part for part in parts if not isinstance(part, Unknown)]
    if not known and inside is None:
        return Waiting(Unknown(gap or "nothing reports"), 0.0, gap)
    held = sum(known)
    outside = max(0.0, held - gauges.free)
    ages = [age for age in (demand.age, gauges.age) if age is not None]
    return Waiting((inside or 0.0) + outside, held, gap, outside, max(ages, default=None))


def kv_cache_utilization(observation: Observation, policy: Policy, gauges: Gauges) -> Reading:
    """Mean share of the KV cache in use over the ready replicas; one that does not report counts as empty."""
    asleep = observation.replicas == 0
    if asleep or not gauges.ready:
        # Nothing is meant to run, so nothing is full: pods of a fleet just put to sleep may still be there.
        # A fleet that waits for its first replica is the queue's business.
        return Reading(
            KV_CACHE_UTILIZATION,
            0.0 if asleep else None,
            policy.kv_target,
            0 if asleep else None,
            None if asleep else Unknown("no replica is ready"),
        )
    used, gap = gauges.kv.total, gauges.kv.gap
    if used is None:
        return Reading(KV_CACHE_UTILIZATION, None, policy.kv_target, None, Unknown(gap))
    replicas = min(gauges.ready, observation.replicas)
    raw = _replicas(used, replicas, policy.kv_target, lambda _: used)
    share = used / replicas
    return Reading(
        KV_CACHE_UTILIZATION, share, policy.kv_target, raw, partial=bool(gap), gap=gap, age=gauges.age
    )


def _replicas(load: float, replicas: int, target: float, load_of: Callable[[int], float]) -> int:
    """Replicas for `load` (in total, in units of `target`), seen with `replicas` ready ones; at least 1."""
    if load > replicas * target * (1 + TOLERANCE):
        return math.ceil(load / target - EPSILON)
    if replicas > 1:
        for fewer in range(max(1, math.ceil(load / target - EPSILON)), replicas):
            if load_of(fewer) <= fewer * target * (1 - TOLERANCE):
                return fewer
    return replicas


def _to_start_with(held: float, observation: Observation, policy: Policy) -> int:
    """Replicas for what waits while none is ready: one carries what it runs at once plus its share of the
    queue.
    """
    if held <= 0:
        return min(observation.replicas, 1)
    return max(1, math.ceil(held / ((policy.max_num_seqs or 0) + policy.queue_target)))
