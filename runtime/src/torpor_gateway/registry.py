"""All fleets of this process, and the way from a request to its fleet.

Sources (a file, or watches) hand over specs and addresses; the registry keeps one `Fleet` for each and
computes who owns which model name with the same pure function as the operator. A request's host decides where
it names a fleet; a host that only looks like a fleet's (any public name of two labels does) decides nothing.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime

from torpor.api import names
from torpor.api.names import FleetKey
from torpor.api.routes import BareNames, Claim, routes

from torpor_gateway.answers import Refusal
from torpor_gateway.endpoint import Endpoint
from torpor_gateway.files import Files
from torpor_gateway.fleet import Fleet
from torpor_gateway.keys import ApiKey
from torpor_gateway.policy import FleetSpec
from torpor_gateway.settings import Settings
from torpor_gateway.upstream import Pool


class Registry:
    """The fleets."""

    def __init__(
        self,
        settings: Settings,
        loop: asyncio.AbstractEventLoop,
        files: Files | None = None,
    ) -> None:
        self.settings = settings
        self.loop = loop
        self.files = files or Files()
        self.files.found = lambda: loop.call_soon(self._pump)
        self.files.shrink = self._shrink
        self.fleets: dict[FleetKey, Fleet] = {}
        self.complete = False  # every source has been read once
        self.synced = True  # and is up to date
        self.freshness_changed: Callable[[], None] = lambda: None
        self._changed: Callable[[Fleet, bool], None] = lambda fleet, urgent: None
        self._owners: dict[str, Fleet] = {}
        self._bare = BareNames.parse(settings.bare_names)

    def set_changed(self, changed: Callable[[Fleet, bool], None]) -> None:
        """Say who is called with a fleet whose numbers changed, and whether that is urgent."""
        self._changed = changed
        for fleet in self.fleets.values():
            fleet.changed = changed

    # --- from the sources ---

    def put(self, spec: FleetSpec, *, managed: bool) -> Fleet:
        """Add a fleet or give it a new spec. A new UID under an old name is a new fleet."""
        fleet = self.fleets.get(spec.key)
        if fleet is not None and fleet.spec.uid != spec.uid:
            self.remove(spec.key)
            fleet = None
        if fleet is None:
            fresh = self.settings.stats_fresh_seconds
            fleet = Fleet(spec, self.loop, fresh, self._changed, managed=managed, files=self.files)
            self.fleets[spec.key] = fleet
            self._route()
            return fleet
        before, fleet.spec = fleet.spec, spec
        if (before.models, before.created) != (spec.models, spec.created):
            self._route()
        fleet.refresh()
        return fleet

    def remove(self, key: FleetKey) -> None:
        """A fleet is gone."""
        fleet = self.fleets.pop(key, None)
        if fleet is not None:
            self._route()
            fleet.retire()

    def endpoint(
        self,
        fleet: Fleet,
        host: str,
        port: int,
        *,
        launcher_port: int | None = None,
        max_concurrency: int | None = None,
    ) -> Endpoint:
        """Make an endpoint for `fleet`, with a pool of its own."""
        settings = self.settings
        pool = Pool(
            self.loop, host, port, settings.pool_idle_seconds, settings.connect_seconds, files=self.files
        )
        return Endpoint(
            host, port, pool, fleet.ratios, launcher_port=launcher_port, max_concurrency=max_concurrency
        )

    def set_endpoints(self, fleet: Fleet, endpoints: Iterable[Endpoint]) -> None:
        """Replace a fleet's endpoints; those that are no longer among them finish what they have."""
        new = {endpoint.name: endpoint for endpoint in endpoints}
        for name, endpoint in fleet.endpoints.items():
            if new.get(name) is not endpoint:
                endpoint.terminating = True
                endpoint.pool.close()
        fleet.endpoints = new
        fleet.refresh()

    def _route(self) -> None:
        managed = [fleet.spec for fleet in self.fleets.values() if fleet.managed]
        claims = [
            Claim(spec.key.namespace, spec.key.name, spec.uid, spec.created, spec.models[0])
            for spec in managed
        ]
        self._owners = {model: self.fleets[key] for model, key in routes(claims, self._bare).owners.items()}
        for fleet in self.fleets.values():
            if not fleet.managed:  # a file's fleets have the names that the file gives them, and no others
                self._owners.update((model, fleet) for model in fleet.spec.models)

    # --- for requests ---

    def resolve(self, host: str, model: str | None) -> Fleet:
        """Find the fleet of a request. Raises Refusal 404, or 400 where neither names one."""
        named = self.by_host(host)
        if named is not None:
            if model is None or model in named.spec.models:
                return named
            raise Refusal(
                404,
                "model_not_found",
                f"{named.spec.key} serves {named.spec.models[0]!r}, not {model[:128]!r}",
                param="model",
            )
        if not model:
            raise Refusal(
                400,
                "model_required",
                "model: is required, except under a fleet's own host name",
                param="model",
            )
        fleet = self._owners.get(model)
        if fleet is None:
            raise Refusal(404, "model_not_found", f"the model {model[:128]!r} does not exist", param="model")
        return fleet

    def by_host(self, host: str) -> Fleet | None:
        """Return the fleet that a Host header names."""
        if "." not in host:
            return None
        key = names.fleet_of_host(host, self.settings.cluster_domain)
        return self.fleets.get(key) if key else None

    def names(self, fleet: Fleet) -> Iterator[str]:
        """Yield the model names that lead to a fleet, whatever its host."""
        return (model for model in fleet.spec.models if self._owners.get(model) is fleet)

    def models(self, host: str, key: ApiKey | None = None) -> list[tuple[str, int]]:
        """Return (model name, creation in Unix time) of all that routes; or of the host's fleet. With a key,
        of what it may use.
        """
        named = self.by_host(host)
        if key is not None and key.models is not None:
            allowed = {id(fleet) for fleet in self.fleets.values() if key.may_use(self.names(fleet))}
            if named is not None:
                return [(m, _unix(named.spec.created)) for m in named.spec.models if id(named) in allowed]
            owned = ((model, fleet) for model, fleet in self._owners.items() if id(fleet) in allowed)
            return sorted((model, _unix(fleet.spec.created)) for model, fleet in owned)
        if named is not None:
            return [(model, _unix(named.spec.created)) for model in named.spec.models]
        return sorted((model, _unix(fleet.spec.created)) for model, fleet in self._owners.items())

    def sweep(self) -> None:
        """Close idle engine connections, notice old reports and what files are left. Once a second."""
        launchers = 0
        for fleet in self.fleets.values():
            for endpoint in fleet.endpoints.values():
                endpoint.pool.sweep()
                launchers += endpoint.uses_launcher
            fleet.recheck()
        self.files.look(launchers, self.loop.time())

    def _pump(self) -> None:
        for fleet in self.fleets.values():
            fleet.pump()

    def _shrink(self) -> None:
        for fleet in self.fleets.values():
            for endpoint in fleet.endpoints.values():
                endpoint.pool.shrink()


def _unix(created: str) -> int:
    try:
        return int(datetime.fromisoformat(created).timestamp())
    except ValueError:
        return 0
