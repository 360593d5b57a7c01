"""From the world and a decision to the writes that are missing.

A plan of a converged world is empty; that is what makes every look idempotent. The Deployment's manifest
carries the number of replicas and the resourceVersion that the decision saw: if anybody changed it since, the
server refuses and the look begins again. A new fleet gets its Deployment last, with the number in it, so no
half-made fleet ever starts a pod.

The ConfigMap goes before a Deployment that is applied as a whole, so that pods of a new revision find its
tuning; one of a stranger is left alone, for the fleet can do without.

Where nothing but the number is wrong, it is written through the Deployment's scale subresource, under the
same condition and before anything else: requests wait for it, and it costs the API server half of an apply.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from torpor.cluster.resources import CONFIG_MAPS, DEPLOYMENTS, Object, Resource, resource_of
from torpor.control.deletion_cost import marks
from torpor.control.drift import drifted, replicas_of, stamped
from torpor.control.world import World, owner_uid

Place = tuple[Resource, str]


@dataclass(frozen=True, slots=True)
class Scale:
    """Change of the number alone, only if the Deployment is still the `live` one that the decision saw."""

    live: Object
    replicas: int


@dataclass(frozen=True, slots=True)
class Plan:
    """The writes of one look, in order. `new` names the children that do not exist yet, as far as the watches
    know. `marks`: deletion costs to write before the number goes down, by pod (None: take away).
    """

    marks: Mapping[str, str | None] = field(default_factory=dict)
    scale: Scale | None = None
    applies: tuple[Object, ...] = ()
    new: frozenset[Place] = frozenset()

    @property
    def empty(self) -> bool:
        """Whether the world is as it should be."""
        return not self.applies and self.scale is None  # marks come with a number that goes down


def plan(world: World, manifests: Iterable[Object], left_behind: Mapping[Place, str]) -> Plan:
    """Return what must be applied so that the fleet's children are `manifests`."""
    applies, new, scale = [], set(), None
    costs: Mapping[str, str | None] = {}
    deployment_first = (
        world.deployment is not None
    )  # somebody may wait for it; a new one needs the rest first

    def order(manifest: Object) -> tuple[bool, bool]:
        config, deployment = (manifest["kind"] == kind.kind for kind in (CONFIG_MAPS, DEPLOYMENTS))
        return not config, deployment != deployment_first

    for manifest in sorted(manifests, key=order):
        place = place_of(manifest)
        live = world.children.get(place)
        if place[0] == CONFIG_MAPS and live is not None and owner_uid(live) != world.uid:
            continue
        wanted = stamped(manifest)
        if live is None:
            new.add(place)
            applies.append(wanted)
        elif drifted(wanted, live, left_behind.get(place)):
            applies.append(_conditional(wanted, live) if place[0] == DEPLOYMENTS else wanted)
        elif place[0] == CONFIG_MAPS and wanted["data"] != live.get("data"):
            applies.append(
                wanted
            )  # a key that somebody added is neither in the hash nor a value that changed
        elif place[0] == DEPLOYMENTS and replicas_of(wanted) != replicas_of(live):
            scale = Scale(live, replicas_of(wanted))
        if place[0] == DEPLOYMENTS:
            costs = _marks(world, replicas_of(wanted))
    return Plan(costs, scale, tuple(applies), frozenset(new))


def plan_scale(world: World, replicas: int) -> Plan:
    """Return the write that changes the number alone."""
    live = world.deployment
    if live is None or world.replicas == replicas:
        return Plan()
    return Plan(_marks(world, replicas), Scale(live, replicas))


def place_of(manifest: Object) -> Place:
    """Return where an object belongs among a fleet's children."""
    return resource_of(manifest), manifest["metadata"]["name"]


def _marks(world: World, replicas: int) -> Mapping[str, str | None]:
    return marks(world, replicas) if replicas < world.replicas else {}


def _conditional(manifest: Object, live: Object) -> Object:
    metadata = manifest["metadata"] | {"resourceVersion": live["metadata"]["resourceVersion"]}
    return manifest | {"metadata": metadata}
