"""What idling costs against starting again, and how many replicas follow from it.

A replica that is not needed now may be needed soon. Whoever lets it go pays a start when it is needed again;
whoever keeps it pays for the pause. That is the ski-rental problem: keep it until the rent paid equals the
price, here the cold start's own replica-seconds and as much again for those who are served late meanwhile,
and one pays at most twice what a prophet would (break-even, 2-competitive; research/autoscaling.md 12.1
"Theory" and 12.2 items 7 and 8). Replicas differ from skis in that pauses repeat: the lengths of past pauses
say how long the next will be. So the time to keep is the one that would have cost least over the recorded
pauses, held within a quarter and four times break-even, so that a bad memory costs a bounded factor (ski
rental with advice, Purohit, Svitkina and Kumar 2018); without enough pauses it is break-even itself.

The last replica is the same question with another price: the request that wakes a fleet waits for a whole
cold start. It is kept while P(a request within c) × (cost of a cold hit) ≥ (cost of idling for c).

Everything costs in replica-seconds. Nothing here lowers by itself: these are times and permissions for the
clamps, which also hold what is unknown.
"""

import math

from torpor.decide.histogram import Histogram, Scale
from torpor.decide.values import Unknown, Value, measured

PAUSES = Scale(low=1.0, ratio=1.5, bins=34, limit=400.0)  # seconds; 1.5^34 s are 11 days
NO_PAUSES = Histogram(PAUSES)
ENOUGH_PAUSES = 8.0  # of weight, before the recorded pauses are asked
TRUST = 4.0  # the time to keep stays within break-even / TRUST and break-even × TRUST
SURPLUS_HIT = 2.0  # cost of a surplus replica that is missed, over the cold start: that, and the lateness
COLD_HIT = 3.0  # cost of a cold hit over the cold start: the start itself, and twice it for those who wait
SHORTEST_IDLE, LONGEST_IDLE = 60.0, 4 * 3600.0  # seconds of silence before zero, bounds
MOST_REPLICAS = 1_000_000


def keep_alive(pauses: Histogram, restart: float) -> float:
    """Return for how many seconds a surplus replica is kept before it goes.

    pauses: lengths of the times in which a level of replicas was not needed, seconds. restart: what a start
    costs, replica-seconds (the cold start). The answer t minimises E[min(pause, t)] + restart × P(pause > t)
    over the edges of the bins within [restart / 4, restart × 4]; `restart` itself while pauses are few, and
    where it is as good as any.
    """
    restart = _seconds("restart", restart)
    if restart == 0 or pauses.weight < ENOUGH_PAUSES:
        return restart
    edges = pauses.scale.edges
    low, high = restart / TRUST, restart * TRUST
    best, least = restart, _cost(pauses, restart, restart)
    for time in [low, *(edge for edge in edges if low < edge < high), high]:
        cost = _cost(pauses, time, restart)
        if cost < 0.98 * least:  # a gain below the bins' precision is none
            best, least = time, cost
    return best


def _cost(pauses: Histogram, keep: float, restart: float) -> float:
    """Mean cost of a pause, replica-seconds, for one who keeps for `keep` seconds."""
    return (pauses.mean_up_to(keep) or 0.0) + restart * (pauses.above(keep) or 0.0)


def request_chance(pauses: Histogram, idle: float, within: float, foreseen: float | None = None) -> Value:
    """Return the probability (0 to 1) that a request comes in the next `within` seconds of a fleet that has
    been silent for `idle` seconds.

    Two witnesses, and the one who expects more is heard: recorded pauses, of which those longer than `idle`
    count; and `foreseen`, the mean number of requests that a forecast expects in that time (arrivals taken as
    Poisson). Where neither knows anything the chance is unknown.
    """
    idle, within = _seconds("idle", idle), _seconds("within", within)
    chances = []
    longer = pauses.above(idle) if pauses.weight >= ENOUGH_PAUSES else None
    if longer is not None:
        still = pauses.above(idle + within) or 0.0
        # A pause longer than any other says that habits do not apply, not that a request is due.
        chances.append(1 - still / longer if longer > 0 else 0.0)
    if foreseen is not None and foreseen >= 0:
        chances.append(-math.expm1(-foreseen))
    return (
        min(max(*chances, 0.0), 1.0) if chances else Unknown("no pause was recorded and nothing is foreseen")
    )


def worth_idling(chance: float, hit: float = COLD_HIT) -> bool:
    """Whether a replica that idles for a cold start is cheaper than the cold hit that it avoids. chance: of a
    request in that time. hit: cost of a cold hit, in cold starts of one replica.
    """
    return chance * hit >= 1.0


def idle_seconds(pauses: Histogram, cold_start: float, hit: float = COLD_HIT) -> float:
    """Return the seconds of silence after which the last replicas go, where the owner named none.

    The shortest silence at which a request within the next cold start is too unlikely to be worth idling for
    (`worth_idling`), and from which on it stays so; break-even with the hit's price, `hit` × `cold_start`,
    while pauses are few. Within [60 s or the cold start, whichever is longer; 4 h], the lower bound winning.
    """
    cold_start = _seconds("cold_start", cold_start)
    low = max(SHORTEST_IDLE, cold_start)
    high = max(low, LONGEST_IDLE)
    if pauses.weight < ENOUGH_PAUSES:
        return min(max(hit * cold_start, low), high)
    silence = low
    edges = [edge for edge in pauses.scale.edges if low < edge < high]
    for start, end in zip([low, *edges], [*edges, high], strict=True):
        chance = request_chance(pauses, start, cold_start)
        if not isinstance(chance, Unknown) and worth_idling(chance, hit):
            silence = end
    return silence


def prewarm(foreseen: Value, chance: Value, hit: float = COLD_HIT) -> int:
    """Return how many replicas a sleeping fleet wakes to before anybody asks; 0: it sleeps on.

    foreseen: replicas (fractions round up) at the forecast's rate over its horizon. chance: of a request in
    that time (`request_chance` with the number that the forecast expects). A forecast is hardly ever exactly
    zero, so it wakes a fleet only where the idling is worth the cold hit; what is unknown wakes nobody.
    """
    ahead, likely = measured(foreseen, high=MOST_REPLICAS), measured(chance, high=1.0)
    if isinstance(ahead, Unknown) or isinstance(likely, Unknown) or not worth_idling(likely, hit):
        return 0
    return math.ceil(ahead)


def _seconds(name: str, value: float) -> float:
    if not (math.isfinite(value) and value >= 0):
        raise ValueError(f"{name} must be finite and not negative, got {value!r}")
    return value
