"""Which replicas go when a fleet shrinks: those that serve the fewest requests.

The ReplicaSet controller chooses. It takes pods that are not ready first, then those with the smaller
`controller.kubernetes.io/pod-deletion-cost`, then the youngest. It knows nothing about requests, but the
launchers do. So before the number goes down, the ready pods with the fewest requests are marked as cheaper
than the others, and marks of an earlier time are taken back; nothing is marked at any other time, as
Kubernetes asks.

This is best effort. A replica that leaves finishes what it runs, so a wrong choice costs a longer drain and a
warm cache, never a request. A pod whose load nobody reports stays before one whose load is known. Costs that
others have set are left to them.
"""

import math

from torpor.api import constants
from torpor.control.pods import Pod
from torpor.control.world import World

CHEAP = "-1"  # pods without the annotation cost 0


def marks(world: World, replicas: int) -> dict[str, str | None]:
    """Return the annotation to write per pod before the fleet shrinks to `replicas`; None takes it away."""
    ready = [pod for pod in world.living if pod.ready]
    leaving = len(ready) - replicas  # the others leave before them
    if not 0 < leaving < len(ready):
        return {}
    loads = {pod.name: _requests(world, pod) for pod in ready}
    alike = len(set(loads.values())) == 1
    ordered = sorted(ready, key=lambda pod: (loads[pod.name], pod.age(world.now), pod.name))
    cheap = {pod.name for pod in ordered[:leaving]} if not alike else set()
    return {
        pod.name: CHEAP if pod.name in cheap else None
        for pod in ready
        if pod.deletion_cost in (None, CHEAP) and (pod.name in cheap) != (pod.deletion_cost == CHEAP)
    }


def _requests(world: World, pod: Pod) -> float:
    """Requests that the pod has, by a fresh report of its launcher; infinite where there is none."""
    report = world.demand.pods.get(pod.name)
    if report is None or report.age >= constants.STATS_FRESH_SECONDS:
        return math.inf
    counts = [report.stats.get(name) for name in ("running", "waiting")]
    known = [float(count) for count in counts if isinstance(count, int | float)]
    return sum(known) if len(known) == len(counts) else math.inf
