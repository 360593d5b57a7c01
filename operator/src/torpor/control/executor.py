"""The executor: the only place that writes.

It carries a plan out in order. Three outcomes are not failures of the look but findings about it: a child's
name is taken by an object that is not ours (it is left alone), the API server refuses a child (its sentence
goes into a condition, the rest is still applied), and a conflict, which ends the look so that the next one
starts from the news.
"""

import logging
from dataclasses import dataclass

from torpor.cluster.client import ApiError, Kube
from torpor.cluster.resources import DEPLOYMENTS, Object
from torpor.control.drift import fingerprint
from torpor.control.plan import Place, Plan, place_of
from torpor.control.store import Store
from torpor.control.world import World, owner_uid

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a plan. taken: children that others own. refused: what the API server said no to."""

    taken: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    left_behind: tuple[tuple[Place, str], ...] = ()


class Executor:
    """Carries plans out through `kube` and tells `store` what it wrote."""

    def __init__(self, kube: Kube, store: Store) -> None:
        self._kube, self._store = kube, store

    async def run(self, world: World, plan: Plan) -> Outcome:
        """Make a plan's writes. Raises ApiError where the look must be repeated (conflict, no answer)."""
        taken, refused, left_behind = [], [], []
        for manifest in plan.applies:
            place = place_of(manifest)
            title = f"{place[0].kind} {place[1]}"
            if place in plan.new and await self._is_strangers(world, place):
                taken.append(title)
                continue
            try:
                answer = await self._kube.apply(manifest)
            except ApiError as error:
                if not error.refused:
                    raise
                log.warning("%s: the API server refuses %s: %s", world.key, title, error)
                refused.append(f"{title} is refused by the API server: {error.message}")
                continue
            self._store.put(place[0], answer)
            left_behind.append((place, fingerprint(answer)))
        if plan.scale is not None:
            patch = {
                "metadata": {"resourceVersion": plan.scale.resource_version},
                "spec": {"replicas": plan.scale.replicas},
            }
            answer = await self._kube.merge(DEPLOYMENTS, world.key.namespace, plan.scale.name, patch)
            self._store.put(DEPLOYMENTS, answer)
        return Outcome(tuple(taken), tuple(refused), tuple(left_behind))

    async def write_status(self, manifest: Object) -> Object:
        """Make the one status write of a look."""
        return await self._kube.apply(manifest, subresource="status")

    async def _is_strangers(self, world: World, place: Place) -> bool:
        """Whether an object that the watches do not show (it lacks our labels) has the name."""
        resource, name = place
        found = await self._kube.get(resource, world.key.namespace, name)
        return found is not None and owner_uid(found) != world.uid
