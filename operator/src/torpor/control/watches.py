"""Where the watches' news arrives, and how we know that they still bring any.

Handlers pass each event to `Feed.event`: it goes into the store, and the fleets it concerns go into the
queue. Two things can go wrong with watches that nobody reports: a deletion missed while a watch was away, and
a watch that is silently dead. So every few minutes each kind is listed in full. The list replaces what is
known (ghosts go), and if it brings news twice in a row while the watch brought none in between, the watch is
deaf: /healthz says so and the kubelet restarts the process.
"""

import asyncio
import logging
import random
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from torpor import metrics
from torpor.api import constants
from torpor.api.names import FleetKey
from torpor.cluster.client import Kube
from torpor.cluster.errors import ApiError
from torpor.cluster.resources import CHILDREN, ENDPOINT_SLICES, FLEETS, PODS, Object, Resource
from torpor.control.naming import Naming
from torpor.control.store import Store, fleet_of

LIST_SECONDS = 120.0
STALE_SECONDS = 4 * LIST_SECONDS
FIRST_LIST_PAUSE = 2.0
OURS = f"{constants.LABEL_MANAGED_BY}={constants.MANAGED_BY},{constants.LABEL_FLEET}"

log = logging.getLogger(__name__)


def selector(resource: Resource, demand_service: str) -> str:
    """Return the label selector under which a kind is listed and watched; "" for all."""
    if resource == FLEETS:
        return ""
    if resource == ENDPOINT_SLICES:
        return f"{constants.LABEL_ENDPOINT_SERVICE}={demand_service}"
    return OURS


@dataclass(slots=True)
class Freshness:
    """What is known about one kind's watch. Times are monotonic seconds. suspicious: lists in a row that knew
    better.
    """

    listed: float | None = None
    event: float | None = None
    suspicious: int = 0


class Feed:
    """Takes in events and lists, and calls `look(key)` for each fleet they concern."""

    def __init__(
        self,
        store: Store,
        naming: Naming,
        look: Callable[[FleetKey], None],
        gateways: Callable[[Iterable[str]], None],
        *,
        home: str,
        demand_service: str,
        namespaces: tuple[str, ...],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store, self._naming, self._look, self._gateways = store, naming, look, gateways
        self._home, self._demand_service, self._namespaces = home, demand_service, namespaces
        self._clock = clock
        self.freshness = {resource: Freshness() for resource in (FLEETS, PODS, *CHILDREN, ENDPOINT_SLICES)}
        for resource in self.freshness:  # a rate needs the zero before the first one
            metrics.WATCH_MISSED.labels(resource.kind)

    def event(self, resource: Resource, kind: str | None, item: Object) -> None:
        """Take in one watch event: `kind` is ADDED, MODIFIED, DELETED, or None for an object of the first
        list.
        """
        self.freshness[resource].event = self._clock()
        gone = kind == "DELETED"
        changed = self._store.remove(resource, item) if gone else self._store.put(resource, item)
        if changed:
            self._tell(resource, item, gone=gone)

    async def list_all(self, kube: Kube) -> None:
        """List every kind once. Raises ApiError where one cannot be listed."""
        for resource, fresh in self.freshness.items():
            started = self._clock()
            news: set[FleetKey] = set()
            for namespace in self._scopes(resource):
                wanted = selector(resource, self._demand_service)
                items, version = await kube.list(resource, namespace, wanted)
                news |= self._take(resource, items, version, namespace)
            if fresh.listed is not None and news:
                metrics.WATCH_MISSED.labels(resource.kind).inc(len(news))
            silent = fresh.listed is not None and (fresh.event is None or fresh.event < fresh.listed)
            fresh.suspicious = fresh.suspicious + 1 if news and silent else 0
            fresh.listed = started

    async def keep_listing(self, kube: Kube) -> None:
        """List everything again and again."""
        while True:
            await asyncio.sleep(LIST_SECONDS * random.uniform(0.8, 1.2))  # noqa: S311 - jitter, no secret
            try:
                await self.list_all(kube)
            except ApiError as error:
                log.warning("cannot list: %s", error)

    async def first_list(self, kube: Kube) -> None:
        """List everything once, for as long as it takes: before that nothing can be decided."""
        while True:
            try:
                await self.list_all(kube)
            except ApiError as error:
                log.warning("cannot begin yet: %s", error)
                await asyncio.sleep(FIRST_LIST_PAUSE)
            else:
                return

    def stale(self) -> list[str]:
        """Say which watches cannot be trusted, and why."""
        now = self._clock()
        told = []
        for resource, fresh in self.freshness.items():
            age = None if fresh.listed is None else now - fresh.listed
            if age is not None:
                metrics.WATCH_AGE.labels(resource.kind).set(age)
            if age is None or age > STALE_SECONDS:
                told.append(f"{resource.plural}: not listed for {'ever' if age is None else f'{age:.0f} s'}")
            elif fresh.suspicious >= 2:
                told.append(f"{resource.plural}: the watch is silent while objects change")
        return told

    def fleets(self) -> list[FleetKey]:
        """Every known fleet."""
        return [key for item in self._store.all(FLEETS) if (key := fleet_of(FLEETS, item))]

    def _take(
        self, resource: Resource, items: list[Object], version: str, namespace: str | None
    ) -> set[FleetKey]:
        news = self._store.replace(resource, items, version, namespace)
        if resource == FLEETS:
            news |= self._naming.replace(self._store.all(FLEETS))
        if resource == ENDPOINT_SLICES:
            self._gateways(addresses(self._store.all(ENDPOINT_SLICES)))
        for key in news:
            self._look(key)
        return news

    def _tell(self, resource: Resource, item: Object, *, gone: bool) -> None:
        """Pass the news on to whom it concerns."""
        if resource == ENDPOINT_SLICES:
            self._gateways(addresses(self._store.all(ENDPOINT_SLICES)))
            return
        key = fleet_of(resource, item)
        if key is None:
            return
        self._look(key)
        if resource == FLEETS:
            for other in self._naming.drop(key) if gone else self._naming.put(item):
                self._look(other)

    def _scopes(self, resource: Resource) -> tuple[str | None, ...]:
        if resource == ENDPOINT_SLICES:
            return (self._home,)
        return self._namespaces or (None,)


def addresses(slices: Iterable[Object]) -> list[str]:
    """Return `host:port` of every gateway process in the demand Service's EndpointSlices, ready or not.

    Each process of a pod has a port of its own there.
    """
    found = []
    for item in slices:
        ports = [port.get("port") for port in item.get("ports") or () if port.get("port")]
        for endpoint in item.get("endpoints") or ():
            for host in endpoint.get("addresses") or ():
                name = f"[{host}]" if ":" in host else host
                found += [f"{name}:{port}" for port in ports or [constants.GATEWAY_DEMAND_PORT]]
    return found
