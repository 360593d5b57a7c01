"""What the watches have told so far: the objects by kind and by fleet.

The watches only ever add to it; the truth of what is gone comes from lists as well, because a watch that lost
its place never reports the deletions it missed. `replace` takes such a list and drops the ghosts. Answers to
our own writes are put in at once, so the next look sees them whether or not the watch has caught up; older
news about the same object is ignored, and so is all news about one that is known to be gone: the answer to a
write may come after the word of the deletion, and nobody would report it a second time.

Objects are stored without `managedFields`, and pods without most of their spec: nobody here reads them, and
they are most of the bytes. Of a pod's containers the accelerators are left, where they book any.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from torpor.api import accelerators, constants
from torpor.api.names import FleetKey
from torpor.cluster.resources import CHILDREN, FLEETS, PODS, Object, Resource

Name = tuple[str, str]

GRAVES = (
    4096  # uids of deleted objects that are remembered; an answer comes seconds late, not thousands later
)


class Store:
    """Objects by resource, namespace and name, with an index by fleet."""

    def __init__(self) -> None:
        self._objects: dict[Resource, dict[Name, Object]] = {}
        self._by_fleet: dict[FleetKey, dict[tuple[Resource, str], Object]] = {}
        self._graves: dict[str, None] = {}  # in order of burial

    def put(self, resource: Resource, item: Object) -> bool:
        """Take in a newer version of an object. False if it is not newer than what is known, or gone."""
        if item["metadata"].get("uid") in self._graves:
            return False
        name = _name(item)
        known = self._objects.get(resource, {}).get(name)
        if known is not None and _same_life(known, item) and _version(item) <= _version(known):
            return False
        slim = _slim(resource, item)
        if known is not None:
            self._drop(resource, name)
        self._objects.setdefault(resource, {})[name] = slim
        key = fleet_of(resource, slim)
        if key is not None and resource != FLEETS:
            self._by_fleet.setdefault(key, {})[resource, name[1]] = slim
        return True

    def remove(self, resource: Resource, item: Object) -> bool:
        """Take note of a deletion. False if a successor of the same name is known already."""
        self._bury(item)
        name = _name(item)
        known = self._objects.get(resource, {}).get(name)
        if known is None or not _same_life(known, item):
            return False
        self._drop(resource, name)
        return True

    def replace(
        self, resource: Resource, items: Iterable[Object], version: str, namespace: str | None
    ) -> set[FleetKey]:
        """Take in a full list as of `version`; return the fleets about which it brought news."""
        news: set[FleetKey] = set()
        listed = set()
        for item in items:
            listed.add(_name(item))
            if self.put(resource, item) and (key := fleet_of(resource, item)):
                news.add(key)
        as_of = int(version) if version.isdigit() else 0
        for name, known in list(self._objects.get(resource, {}).items()):
            inside = namespace is None or name[0] == namespace
            if inside and name not in listed and _version(known) <= as_of:
                if key := fleet_of(resource, known):
                    news.add(key)
                self._bury(known)
                self._drop(resource, name)
        return news

    def get(self, resource: Resource, namespace: str, name: str) -> Object | None:
        """Return the object, if it is known."""
        return self._objects.get(resource, {}).get((namespace, name))

    def all(self, resource: Resource) -> Iterator[Object]:
        """All known objects of a kind."""
        return iter(self._objects.get(resource, {}).values())

    def pods(self, key: FleetKey) -> list[Object]:
        """The pods that carry the fleet's labels, by name."""
        owned = self._by_fleet.get(key, {})
        return [item for (resource, _), item in sorted(owned.items(), key=_by_name) if resource == PODS]

    def children(self, key: FleetKey) -> dict[tuple[Resource, str], Object]:
        """What else carries the fleet's labels."""
        owned = self._by_fleet.get(key, {})
        return {place: item for place, item in owned.items() if place[0] in CHILDREN}

    def _bury(self, item: Object) -> None:
        if uid := item["metadata"].get("uid"):
            self._graves[uid] = None
            if len(self._graves) > GRAVES:
                del self._graves[next(iter(self._graves))]

    def _drop(self, resource: Resource, name: Name) -> None:
        item = self._objects[resource].pop(name)
        key = fleet_of(resource, item)
        if key is not None and key in self._by_fleet:
            self._by_fleet[key].pop((resource, name[1]), None)
            if not self._by_fleet[key]:
                del self._by_fleet[key]


def fleet_of(resource: Resource, item: Object) -> FleetKey | None:
    """Return the fleet that an object belongs to by its labels, or is."""
    metadata = item["metadata"]
    if resource == FLEETS:
        return FleetKey(metadata["namespace"], metadata["name"])
    name = (metadata.get("labels") or {}).get(constants.LABEL_FLEET)
    return FleetKey(metadata["namespace"], name) if name else None


def _by_name(entry: tuple[tuple[Resource, str], Object]) -> str:
    return entry[0][1]


def _name(item: Object) -> Name:
    metadata = item["metadata"]
    return metadata.get("namespace", ""), metadata["name"]


def _same_life(one: Object, other: Object) -> bool:
    return bool(one["metadata"].get("uid") == other["metadata"].get("uid"))


def _version(item: Object) -> int:
    text = str(item["metadata"].get("resourceVersion", ""))
    return int(text) if text.isdigit() else 0


def _slim(resource: Resource, item: Object) -> Object:
    slim: dict[str, Any] = {"apiVersion": resource.api_version, "kind": resource.kind} | item
    slim["metadata"] = {key: value for key, value in item["metadata"].items() if key != "managedFields"}
    if resource == PODS:
        spec = item.get("spec") or {}
        slim["spec"] = {"nodeName": spec.get("nodeName")}
        if booked := _booked(spec):
            slim["spec"]["containers"] = booked
    return slim


def _booked(spec: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The containers that book accelerators, with these and nothing else."""
    limits = [(container.get("resources") or {}).get("limits") for container in spec.get("containers") or ()]
    return [{"resources": {"limits": found}} for each in limits if (found := accelerators.only(each))]
