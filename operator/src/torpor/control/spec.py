"""Which spec is followed: the newest valid one.

Admission is a courtesy; this is the gate. A spec that does not pass leaves the last good one in force, so its
children keep serving and scaling. Parsing is done once per generation, not once per look.
"""

from dataclasses import dataclass

from torpor.api.types import InferenceService
from torpor.api.validation import check
from torpor.cluster.resources import Object


@dataclass(frozen=True, slots=True)
class Followed:
    """The spec in force (None: none is known), its generation, and why the newest is not followed."""

    generation: int = -1
    service: InferenceService | None = None
    problems: tuple[str, ...] = ()


def followed(fleet: Object, before: Followed) -> Followed:
    """Return what to follow now, given what was followed `before`."""
    generation = int(fleet["metadata"].get("generation") or 0)
    if generation == before.generation:
        return before
    # The status is ours and may have been mangled by hand; it must not make the spec invalid.
    checked = check({name: part for name, part in fleet.items() if name != "status"})
    if checked.valid:
        return Followed(generation, checked.fleet)
    problems = tuple(str(problem) for problem in checked.problems[:5])
    return Followed(generation, before.service, problems)
