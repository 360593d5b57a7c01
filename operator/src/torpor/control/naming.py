"""Who owns which model name, kept up to date as fleets come and go.

The table is computed from all fleets at once (`torpor.api.routes`), so it is made again only when a claim
changes, not at every look, and only the fleets whose conflicts changed are looked at again.
"""

from collections.abc import Iterable

from torpor.api import names
from torpor.api.names import FleetKey
from torpor.api.routes import BareNames, Claim, Conflict, Routes, routes
from torpor.cluster.resources import Object


class Naming:
    """All claims and the routes that follow from them."""

    def __init__(self, bare_names: BareNames) -> None:
        self._bare_names = bare_names
        self._claims: dict[FleetKey, Claim] = {}
        self._routes: Routes = routes((), bare_names)

    def put(self, fleet: Object) -> set[FleetKey]:
        """Take in a fleet; return the other fleets for which this changes something."""
        claim = _claim(fleet)
        if self._claims.get(claim.key) == claim:
            return set()
        self._claims[claim.key] = claim
        return self._refresh() - {claim.key}

    def replace(self, fleets: Iterable[Object]) -> set[FleetKey]:
        """Take in all fleets there are, for the price of one; return those that this concerns."""
        claims = {claim.key: claim for claim in map(_claim, fleets)}
        if claims == self._claims:
            return set()
        self._claims = claims
        return self._refresh()

    def drop(self, key: FleetKey) -> set[FleetKey]:
        """Forget a fleet; return the others for which this changes something."""
        return self._refresh() if self._claims.pop(key, None) else set()

    def conflicts(self, key: FleetKey) -> tuple[Conflict, ...]:
        """The names that the fleet asked for and did not get."""
        return self._routes.conflicts.get(key, ())

    def bare(self, key: FleetKey) -> bool:
        """Whether the installation gives the fleet's namespace bare names."""
        return self._bare_names.allows(key.namespace)

    def _refresh(self) -> set[FleetKey]:
        before, self._routes = self._routes, routes(self._claims.values(), self._bare_names)
        touched = before.conflicts.keys() | self._routes.conflicts.keys()
        return {key for key in touched if before.conflicts.get(key) != self._routes.conflicts.get(key)}


def _claim(fleet: Object) -> Claim:
    """Read what a fleet asks for; also of one that nobody checked."""
    metadata = fleet["metadata"]
    spec = fleet.get("spec")
    model = (spec.get("model") or {}) if isinstance(spec, dict) else {}
    asked = model.get("name") if isinstance(model, dict) else None
    return Claim(
        namespace=metadata["namespace"],
        name=metadata["name"],
        uid=str(metadata.get("uid", "")),
        created=str(metadata.get("creationTimestamp", "")),
        model=names.model_name(metadata["name"], asked if isinstance(asked, str) else None),
    )
