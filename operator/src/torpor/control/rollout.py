"""Changing the revision of a fleet.

The Deployment's own rolling update does the work; this module chooses between its two shapes. Surge starts a
new replica before an old one stops and needs room for one more; in place stops one first and lets the gateway
hold what arrives meanwhile. `Auto` surges, and turns to in place when the new replica found no node for a
minute: on a cluster whose GPUs are all taken a surge would wait for ever. The choice lasts until the rollout
ends and is read back from the live Deployment, so a new leader does not change its mind.

A restart that somebody asked for is the same change, to pods of the same revision.

A new revision that does not become ready stalls: the old replicas keep serving, and scaling is no longer held
up by it.
"""

from dataclasses import dataclass

from torpor.api import constants
from torpor.api.types import InferenceService
from torpor.control.pods import Failure, Pod
from torpor.control.world import World, condition_of

PATIENCE = 60.0  # seconds a surging replica may look for a node


@dataclass(frozen=True, slots=True)
class Rollout:
    """The state of a change of revision.

    running: replicas of another revision than the wanted one are left. in_place: no surge. failure: why the
    new revision does not become ready. look_in: seconds until time alone changes this, None: never.
    """

    running: bool = False
    in_place: bool = False
    failure: Failure | None = None
    look_in: float | None = None

    @property
    def stalled(self) -> bool:
        """Whether it runs and does not get on."""
        return self.running and self.failure is not None


def rollout(world: World, service: InferenceService, revision: str) -> Rollout:
    """Judge the rollout towards `revision`."""
    wanted = (revision, world.restarted)
    old = [pod for pod in world.living if (pod.revision, pod.restarted) != wanted]
    new = [pod for pod in world.living if (pod.revision, pod.restarted) == wanted]
    running = world.replicas > 0 and bool(old)
    strategy = service.spec.rollout.strategy
    if strategy == "InPlace":
        return Rollout(running, True, _failure(world, new) if running else None)
    if not running:
        return Rollout()
    failure = _failure(world, new)
    if strategy == "Surge":
        return Rollout(True, False, failure)
    waits = [_unschedulable_for(world, pod) for pod in new]
    longest = max((wait for wait in waits if wait is not None), default=None)
    in_place = _lives_in_place(world) or (longest is not None and longest >= PATIENCE)
    look_in = PATIENCE - longest if longest is not None and not in_place else None
    return Rollout(True, in_place, failure, look_in)


def _failure(world: World, new: list[Pod]) -> Failure | None:
    """Why the new revision does not get on; a replica that only looks for a node is not a failure yet."""
    for pod in new:
        if not world.is_ready(pod) and pod.failure and pod.failure.reason != constants.UNSCHEDULABLE:
            return pod.failure
    progressing = condition_of(world.deployment, "Progressing")
    if progressing.get("reason") == "ProgressDeadlineExceeded":
        return next(
            (pod.failure for pod in new if pod.failure),
            Failure(constants.STARTUP_TIMED_OUT, "the new revision was not ready in time"),
        )
    return None


def _unschedulable_for(world: World, pod: Pod) -> float | None:
    if pod.unschedulable_since is None:
        return None
    return max(0.0, (world.now - pod.unschedulable_since).total_seconds())


def _lives_in_place(world: World) -> bool:
    """Whether the live Deployment replaces in place already."""
    strategy = ((world.deployment or {}).get("spec") or {}).get("strategy") or {}
    return (strategy.get("rollingUpdate") or {}).get("maxSurge") == 0
