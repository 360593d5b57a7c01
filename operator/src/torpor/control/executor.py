"""The executor: the only place that writes.

It carries a plan out in order; a number that is written alone comes first, because requests may wait for it.
The fleet's ConfigMap holds nothing up: whatever happens to its write, the look goes on without it.
Three outcomes are not failures of the look but findings about it: a child's name is taken by an object that
is not ours (it is left alone), the API server refuses a write (its sentence goes into a condition, the rest
is still written), and a conflict, which ends the look so that the next one starts from the news.
"""

import asyncio
import logging
from dataclasses import dataclass

from torpor.api import constants
from torpor.api.names import FleetKey
from torpor.cluster.client import Kube, NotLeadingError
from torpor.cluster.errors import ApiError
from torpor.cluster.resources import CONFIG_MAPS, DEPLOYMENTS, PODS, Object
from torpor.control.drift import fingerprint, replicas_of
from torpor.control.plan import Place, Plan, Scale, place_of
from torpor.control.store import Store
from torpor.control.world import World, owner_uid

KEEP_SECONDS = 3.0  # what a look may wait for the ConfigMap

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a plan. scaled: the Deployment has the decided number. taken: children that others own.
    refused: what the API server said no to. unkept: why the ConfigMap could not be written, None where that
    went well or was not tried.
    """

    scaled: bool
    taken: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    left_behind: tuple[tuple[Place, str], ...] = ()
    unkept: str | None = None


class Executor:
    """Carries plans out through `kube` and tells `store` what it wrote."""

    def __init__(self, kube: Kube, store: Store) -> None:
        self._kube, self._store = kube, store

    async def run(self, world: World, plan: Plan) -> Outcome:
        """Make a plan's writes. Raises ApiError where the look must be repeated (conflict, no answer)."""
        taken, refused, left_behind, unkept = [], [], [], None
        for pod, cost in plan.marks.items():
            await self._mark(world, pod, cost)
        if plan.scale is not None:
            refused += await self._scale(world, plan.scale)
        scaled = not refused
        for manifest in plan.applies:
            place = place_of(manifest)
            title = f"{place[0].kind} {place[1]}"
            if place[0] == CONFIG_MAPS:
                unkept = await self.keep(world.key, world.uid, manifest)
                continue
            if place in plan.new and await self._is_strangers(world, place):
                taken.append(title)
                scaled = scaled and place[0] != DEPLOYMENTS
                continue
            try:
                answer = await self._kube.apply(manifest)
            except ApiError as error:
                refused.append(_refusal(world, title, error))
                if place[0] == DEPLOYMENTS:
                    # What lives serves on, and with it goes its number: it must not stay awake for a typo.
                    failed = await self._scale_as_it_is(world, manifest)
                    refused += failed
                    scaled = not failed and world.deployment is not None
                continue
            self._store.put(place[0], answer)
            left_behind.append((place, fingerprint(answer)))
        return Outcome(scaled, tuple(taken), tuple(refused), tuple(left_behind), unkept)

    async def keep(self, key: FleetKey, uid: str, manifest: Object) -> str | None:
        """Write the ConfigMap of the fleet with that uid, if that is quickly done; say why not."""
        place = place_of(manifest)
        name = f"ConfigMap {place[1]}"
        try:
            async with asyncio.timeout(KEEP_SECONDS):
                live = self._store.get(CONFIG_MAPS, key.namespace, place[1])
                live = live or await self._kube.get(CONFIG_MAPS, key.namespace, place[1])
                if live is not None and owner_uid(live) != uid:
                    return f"{name} exists and is not this fleet's; rename or delete it"
                answer = await self._kube.apply(manifest)
                # Server-side apply leaves the keys that others wrote, and a launcher would believe them.
                if strange := dict.fromkeys((answer.get("data") or {}).keys() - manifest["data"].keys()):
                    patch = {"data": strange}
                    answer = await self._kube.merge(CONFIG_MAPS, key.namespace, place[1], patch)
        except TimeoutError:
            return f"{name}: no answer within {KEEP_SECONDS:g} s"
        except (ApiError, NotLeadingError) as error:
            return f"{name}: {error}"
        self._store.put(CONFIG_MAPS, answer)
        return None

    async def write_status(self, manifest: Object) -> Object:
        """Make the one status write of a look."""
        return await self._kube.apply(manifest, subresource="status")

    async def _mark(self, world: World, pod: str, cost: str | None) -> None:
        """Write one pod's deletion cost, or take it away. A failure is not worth a look that fails."""
        patch = {"metadata": {"annotations": {constants.ANNOTATION_DELETION_COST: cost}}}
        try:
            answer = await self._kube.merge(PODS, world.key.namespace, pod, patch)
        except ApiError as error:
            log.info("%s: cannot mark pod %s for scale-in: %s", world.key, pod, error)
        else:
            self._store.put(PODS, answer)

    async def _scale_as_it_is(self, world: World, manifest: Object) -> list[str]:
        """Give the live Deployment the number of a manifest that was refused; returns further refusals."""
        live, number = world.deployment, replicas_of(manifest)
        if live is None or replicas_of(live) == number:
            return []
        return await self._scale(world, Scale(live, number))

    async def _scale(self, world: World, scale: Scale) -> list[str]:
        """Write the number alone; returns what is refused. The answer has no Deployment in it, but the write
        was conditional on the one that we know: that one, with the new number, is what the server has now.
        """
        metadata = scale.live["metadata"]
        patch = {
            "metadata": {"resourceVersion": metadata["resourceVersion"]},
            "spec": {"replicas": scale.replicas},
        }
        try:
            answer = await self._kube.merge(
                DEPLOYMENTS, metadata["namespace"], metadata["name"], patch, subresource="scale"
            )
        except ApiError as error:
            return [_refusal(world, "the number of replicas", error)]
        written = metadata | {"resourceVersion": answer["metadata"]["resourceVersion"]}
        spec = scale.live["spec"] | {"replicas": scale.replicas}
        self._store.put(DEPLOYMENTS, scale.live | {"metadata": written, "spec": spec})
        return []

    async def _is_strangers(self, world: World, place: Place) -> bool:
        """Whether an object that the watches do not show (it lacks our labels) has the name."""
        resource, name = place
        found = await self._kube.get(resource, world.key.namespace, name)
        return found is not None and owner_uid(found) != world.uid


def _refusal(world: World, what: str, error: ApiError) -> str:
    """Say what the API server refused; raise the error where it is no refusal."""
    if not error.refused:
        raise error
    log.warning("%s: the API server refuses %s: %s", world.key, what, error)
    return f"{what} is refused by the API server: {error.message}"
