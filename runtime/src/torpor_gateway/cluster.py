"""Fleets and endpoints out of a cluster: InferenceServices and the EndpointSlices of their engine Services.

A slice's addresses are followed ready or not, because the launcher's stream knows better and earlier. An
address that passes to another pod becomes another endpoint with another stream. When the API server is away
nothing changes here: the last known world goes on, the streams tell which of its pods still answer, and
`synced` says that it is old.
"""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from torpor.api import constants
from torpor.api.names import FleetKey

from torpor_gateway.endpoint import Endpoint
from torpor_gateway.kube import Access, Watch, client
from torpor_gateway.policy import from_object
from torpor_gateway.registry import Registry
from torpor_gateway.settings import Settings
from torpor_gateway.siblings import Siblings
from torpor_gateway.stats import StatsStream

if TYPE_CHECKING:
    import httpx


@dataclass(frozen=True, slots=True)
class Address:
    """One pod behind a fleet's Service."""

    host: str
    engine_port: int
    launcher_port: int
    pod: str
    pod_uid: str
    terminating: bool


@dataclass(slots=True)
class _Followed:
    pod_uid: str
    endpoint: Endpoint
    stream: StatsStream


@dataclass(slots=True)
class _Slices:
    """The slices of one fleet, by name."""

    by_name: dict[str, tuple[Address, ...]] = field(default_factory=dict)
    followed: dict[str, _Followed] = field(default_factory=dict)


def read_slice(item: dict[str, Any]) -> tuple[Address, ...]:
    """Read the addresses of an EndpointSlice. Addresses without a pod are followed by their address."""
    if item.get("addressType") not in ("IPv4", "IPv6"):
        return ()
    ports = {port.get("name"): port.get("port") for port in item.get("ports") or ()}
    engine = ports.get(constants.ENGINE_PORT_NAME) or constants.ENGINE_PORT
    launcher = ports.get(constants.LAUNCHER_PORT_NAME) or constants.LAUNCHER_PORT
    found = []
    for endpoint in item.get("endpoints") or ():
        host = endpoint["addresses"][0]
        target = endpoint.get("targetRef") or {}
        terminating = bool((endpoint.get("conditions") or {}).get("terminating"))
        found.append(
            Address(
                host, engine, launcher, target.get("name") or host, target.get("uid") or host, terminating
            )
        )
    return tuple(found)


class ClusterSource:
    """Keeps the registry as the cluster says."""

    def __init__(self, registry: Registry, settings: Settings, access: Access) -> None:
        self._registry = registry
        self._settings = settings
        self._slices: dict[FleetKey, _Slices] = {}
        self._http: httpx.AsyncClient = client(access)
        self._tasks: list[asyncio.Task[None]] = []
        self.watches: list[Watch] = []
        names = [part.strip() for part in settings.watch_namespaces.split(",") if part.strip()]
        for namespace in names or [""]:
            scope = f"/namespaces/{namespace}" if namespace else ""
            fleets = f"/apis/{constants.API_VERSION}{scope}/{constants.PLURAL}"
            slices = f"/apis/discovery.k8s.io/v1{scope}/endpointslices"
            self.watches.append(Watch(self._http, access, fleets, _Fleets(self, namespace)))
            self.watches.append(
                Watch(self._http, access, slices, _EndpointSlices(self, namespace), constants.LABEL_FLEET)
            )
        for watch in self.watches:
            watch.on_change = self._freshness
        # Not among the others: how many share a key's limits decides neither readiness nor routing.
        self.on_processes: Callable[[int], None] = lambda processes: None
        self.siblings: Watch | None = None
        if settings.api_keys and settings.demand_service and settings.namespace:
            home = f"/apis/discovery.k8s.io/v1/namespaces/{settings.namespace}/endpointslices"
            selector = f"{constants.LABEL_ENDPOINT_SERVICE}={settings.demand_service}"
            self.siblings = Watch(self._http, access, home, Siblings(self._count), selector)

    @property
    def synced(self) -> bool:
        """Whether every watch is open and up to date."""
        return all(watch.synced for watch in self.watches)

    def start(self) -> None:
        """Begin to watch."""
        watches = [*self.watches, self.siblings] if self.siblings else self.watches
        self._tasks = [asyncio.get_running_loop().create_task(watch.run()) for watch in watches]

    async def close(self) -> None:
        """Stop watching and following."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for slices in self._slices.values():
            for followed in slices.followed.values():
                followed.stream.close()
        await self._http.aclose()

    def _count(self, processes: int) -> None:
        self.on_processes(processes)

    def _freshness(self) -> None:
        registry = self._registry
        registry.complete = registry.complete or all(watch.listed for watch in self.watches)
        registry.synced = self.synced
        registry.freshness_changed()

    # --- fleets ---

    def put_fleet(self, item: dict[str, Any]) -> None:
        """Take in an InferenceService."""
        spec = from_object(item)
        before = self._registry.fleets.get(spec.key)
        fleet = self._registry.put(spec, managed=True)
        if fleet is not before:
            self._unfollow(spec.key)
            self._follow(spec.key)

    def remove_fleet(self, key: FleetKey) -> None:
        """Forget a fleet."""
        self._unfollow(key)
        self._registry.remove(key)

    def fleet_keys(self) -> Iterable[FleetKey]:
        """Return the fleets that are known."""
        return list(self._registry.fleets)

    # --- endpoints ---

    def put_slice(self, item: dict[str, Any]) -> None:
        """Take in an EndpointSlice."""
        key, name = _slice_key(item)
        if key is not None:
            self._slices.setdefault(key, _Slices()).by_name[name] = read_slice(item)
            self._follow(key)

    def remove_slice(self, key: FleetKey, name: str) -> None:
        """Forget an EndpointSlice."""
        slices = self._slices.get(key)
        if slices is not None and slices.by_name.pop(name, None) is not None:
            self._follow(key)
            if not slices.by_name:
                del self._slices[key]

    def slice_names(self) -> list[tuple[FleetKey, str]]:
        """Return the slices that are known."""
        return [(key, name) for key, slices in self._slices.items() for name in slices.by_name]

    def _unfollow(self, key: FleetKey) -> None:
        slices = self._slices.get(key)
        if slices is not None:
            for followed in slices.followed.values():
                followed.stream.close()
            slices.followed.clear()

    def _follow(self, key: FleetKey) -> None:
        fleet, slices = self._registry.fleets.get(key), self._slices.get(key)
        if fleet is None or slices is None:
            return
        wanted: dict[str, Address] = {}
        # A pod of two address families is one pod, by its IPv4 address; one that moves may be in two slices.
        for addresses in sorted(slices.by_name.values(), key=lambda found: any(":" in a.host for a in found)):
            for address in addresses:
                known = wanted.get(address.pod_uid)
                if known is None or (known.terminating and not address.terminating):
                    wanted[address.pod_uid] = address
        kept: dict[str, _Followed] = {}
        for uid, address in wanted.items():
            followed = slices.followed.pop(uid, None)
            if followed is not None and followed.endpoint.host != address.host:
                followed.stream.close()
                followed = None
            if followed is None:
                endpoint = self._registry.endpoint(
                    fleet, address.host, address.engine_port, launcher_port=address.launcher_port
                )
                endpoint.pod = address.pod
                followed = _Followed(
                    uid, endpoint, StatsStream(fleet, endpoint, self._settings.stats_fresh_seconds)
                )
            followed.endpoint.terminating = address.terminating
            kept[uid] = followed
        for gone in slices.followed.values():
            gone.stream.close()
        slices.followed = kept
        self._registry.set_endpoints(fleet, [followed.endpoint for followed in kept.values()])


def _slice_key(item: dict[str, Any]) -> tuple[FleetKey | None, str]:
    meta = item["metadata"]
    labels = meta.get("labels") or {}
    name, service = labels.get(constants.LABEL_FLEET), labels.get(constants.LABEL_ENDPOINT_SERVICE)
    if not name or service != f"{name}-engines":
        return None, meta["name"]
    return FleetKey(meta["namespace"], name), meta["name"]


@dataclass(frozen=True, slots=True)
class _Fleets:
    source: ClusterSource
    namespace: str

    def replace(self, items: list[dict[str, Any]]) -> None:
        listed = {FleetKey(item["metadata"]["namespace"], item["metadata"]["name"]) for item in items}
        for key in self.source.fleet_keys():
            if key not in listed and self.namespace in ("", key.namespace):
                self.source.remove_fleet(key)
        for item in items:
            self.put(item)

    def put(self, item: dict[str, Any]) -> None:
        self.source.put_fleet(item)

    def remove(self, item: dict[str, Any]) -> None:
        self.source.remove_fleet(FleetKey(item["metadata"]["namespace"], item["metadata"]["name"]))


@dataclass(frozen=True, slots=True)
class _EndpointSlices:
    source: ClusterSource
    namespace: str

    def replace(self, items: list[dict[str, Any]]) -> None:
        listed = {_slice_key(item) for item in items}
        for key, name in self.source.slice_names():
            if (key, name) not in listed and self.namespace in ("", key.namespace):
                self.source.remove_slice(key, name)
        for item in items:
            self.put(item)

    def put(self, item: dict[str, Any]) -> None:
        self.source.put_slice(item)

    def remove(self, item: dict[str, Any]) -> None:
        key, name = _slice_key(item)
        if key is not None:
            self.source.remove_slice(key, name)
