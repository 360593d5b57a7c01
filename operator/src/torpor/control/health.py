"""What the tools that deploy read: the conditions `Reconciling` and `Stalled`.

Helm 4 (`--wait`) and Flux judge every custom resource by the rules of kstatus: a generation that is not
observed or `Reconciling=True` is in progress, `Stalled=True` has failed, and otherwise `Ready` decides, whose
False can only mean in progress. They know no other condition. So these two say nothing of their own: they
sort what the others found into "wait", "give up" and neither, and at most one of them is True.

In progress is what ends by itself: a fleet of which no replica answers yet, a change of revision. Replicas
that come and go with the load of a fleet that answers are its daily life and no progress to wait for. Failed
is what somebody has to change, for Helm stops waiting there. A pod without a node lies between: the node may
be on its way, so it is waited for as long as a start may take, `spec.engine.startupSeconds`.

A fleet that refuses requests because its spec says so (mode or `spec.scaling.replicas` at zero) is neither.
"""

from collections.abc import Mapping
from typing import Final

from torpor.api import constants as c
from torpor.api.conditions import Finding

# (condition, reason) of what does not end by itself, the first that was found is told.
FAULTS: Final = (
    (c.SPEC_VALID, c.SPEC_INVALID),
    (c.READY, c.NAME_TAKEN),
    (c.READY, c.ROUTE_CONFLICT),
    (c.READY, c.CONFIG_ERROR),
    (c.PROGRESSING, c.CONFIG_ERROR),
    (c.READY, c.WAKE_FAILED),
    (c.PROGRESSING, c.ROLLOUT_FAILED),
)
# The same of what does.
CHANGES: Final = (
    (c.READY, c.WAKING),
    (c.PROGRESSING, c.SURGE_ROLLOUT),
    (c.PROGRESSING, c.IN_PLACE_ROLLOUT),
)


def health(found: Mapping[str, Finding], *, may_find_room: bool) -> list[Finding]:
    """Return both conditions. found: the others by type; may_find_room: all that a wake lacks is room for its
    pods, and not for longer than a start may take.
    """
    waits = may_find_room and found[c.READY].reason == c.WAKE_FAILED
    faults = tuple(fault for fault in FAULTS if not (waits and fault == (c.READY, c.WAKE_FAILED)))
    broken = _first(found, faults)
    if broken is not None:
        return [
            Finding(c.RECONCILING, "False", broken.reason, "nothing is waited for: see Stalled"),
            Finding(c.STALLED, "True", broken.reason, broken.message),
        ]
    moving = found[c.READY] if waits else _first(found, CHANGES)
    if moving is None:
        reconciling = Finding(c.RECONCILING, "False", c.SETTLED, "the newest spec is carried out")
    else:
        reconciling = Finding(c.RECONCILING, "True", moving.reason, moving.message)
    return [reconciling, Finding(c.STALLED, "False", c.NO_FAULT, "")]


def _first(found: Mapping[str, Finding], wanted: tuple[tuple[str, str], ...]) -> Finding | None:
    return next((found[kind] for kind, reason in wanted if found[kind].reason == reason), None)
