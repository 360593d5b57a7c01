"""Who owns a model name: one pure answer that the operator reports and the gateway follows.

Every fleet claims `NAMESPACE/MODEL`, and the bare `MODEL` where the installation gives its namespace bare
names. Two claimants of one name cannot both have it: the oldest object keeps it, so that a newcomer never
takes traffic over. A qualified name beats a bare one that happens to be spelt alike (model `team/llm` in
another namespace): who owns a namespace owns the names under it, however late.

Operator and gateway compute this table each for itself from the same objects. Neither asks the other, and a
gateway that starts while the operator is down routes correctly. Standard library only.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from torpor.api import names
from torpor.api.names import FleetKey

_NO_TIMESTAMP: Final = "~"  # sorts after every date: an object without a birthday takes nothing from one with


@dataclass(frozen=True, slots=True)
class BareNames:
    """The installation's policy: which namespaces may claim bare model names."""

    everywhere: bool = True
    namespaces: frozenset[str] = frozenset()

    @classmethod
    def parse(cls, text: str) -> "BareNames":
        """Read `*` (all namespaces), a comma-separated list of namespaces, or nothing (none)."""
        parts = frozenset(part.strip() for part in text.split(",") if part.strip())
        return cls(everywhere="*" in parts, namespaces=parts - {"*"})

    def allows(self, namespace: str) -> bool:
        """Say whether fleets of `namespace` may claim bare names."""
        return self.everywhere or namespace in self.namespaces


@dataclass(frozen=True, slots=True)
class Claim:
    """
    What one fleet asks for. `created` is metadata.creationTimestamp as the API server writes it (RFC 3339,
    UTC).
    """

    namespace: str
    name: str
    uid: str
    created: str
    model: str

    @property
    def key(self) -> FleetKey:
        """The claimant."""
        return FleetKey(self.namespace, self.name)

    @property
    def age_order(self) -> tuple[str, str, str]:
        """Sort key, oldest first; equal seconds are decided by namespace, then name."""
        return (self.created or _NO_TIMESTAMP, self.namespace, self.name)


@dataclass(frozen=True, slots=True)
class Conflict:
    """A name that a fleet asked for and did not get, and who has it."""

    model: str
    owner: FleetKey

    @property
    def message(self) -> str:
        """Say it for a condition: what is taken, by whom, and what to do."""
        return f'model name "{self.model}" belongs to {self.owner}; choose another spec.model.name'


@dataclass(frozen=True, slots=True)
class Routes:
    """Model name to owner, and per losing fleet the names that it lost (absent: it got all it asked for)."""

    owners: Mapping[str, FleetKey]
    conflicts: Mapping[FleetKey, tuple[Conflict, ...]]

    def owner(self, model: str) -> FleetKey | None:
        """
        Return the fleet that answers to `model`, exactly as a client spelt it; None where there is none.
        """
        return self.owners.get(model)


def routes(claims: Iterable[Claim], bare_names: BareNames) -> Routes:
    """Give each name to its owner. The order of `claims` does not matter; a key may appear once."""
    in_order = sorted(claims, key=lambda claim: claim.age_order)
    owners: dict[str, FleetKey] = {}
    conflicts: dict[FleetKey, list[Conflict]] = {}

    def award(name: str, claimant: FleetKey) -> None:
        owner = owners.setdefault(name, claimant)
        if owner != claimant:
            conflicts.setdefault(claimant, []).append(Conflict(name, owner))

    for claim in in_order:
        award(names.qualified(claim.namespace, claim.model), claim.key)
    for claim in in_order:
        if bare_names.allows(claim.namespace):
            award(claim.model, claim.key)
    return Routes(
        owners=MappingProxyType(owners),
        conflicts=MappingProxyType({key: tuple(lost) for key, lost in conflicts.items()}),
    )
