"""Modes: who changes the number of replicas.

`Auto` follows the decision. `Recommend` works it out to the end, for the trace, and then keeps what is
there: that is a clamp, the last but one of `clamps.CLAMPS`. `Paused` works out nothing: no signal is read and
nothing is learned, so it is no clamp but a decision of its own, made here. In both a fleet that has no
Deployment yet starts with its owner's minReplicas; a schedule's floors are part of the decision that nobody
follows.

Whoever writes spec.scaling.replicas decides in every mode. A mode says what Torpor does, and an HPA or a
`kubectl scale` is not Torpor; a fleet that ignored both of them could be moved by nobody.
"""

from dataclasses import replace

from torpor.api.constants import PAUSED
from torpor.decide.decision import EXTERNAL_OWNER, ClampLine, Decision
from torpor.decide.memory import Memory
from torpor.decide.observation import Observation, Policy

PAUSED_MESSAGE = "spec.scaling.mode is Paused, so no number is worked out"


def kept(observation: Observation, policy: Policy) -> int:
    """The number that holds where Torpor changes none: what there is, or what a new fleet starts with."""
    return min(policy.min_replicas, policy.max_replicas) if observation.new else observation.replicas


def paused(observation: Observation, policy: Policy, memory: Memory) -> tuple[Decision, Memory]:
    """Return the decision of a paused fleet: no readings, no look ahead.

    The arrivals of the pause are taken note of, or they would look new at its end and wake the fleet.
    """
    current, number = observation.replicas, kept(observation, policy)
    reason, message = PAUSED, f"{PAUSED_MESSAGE}; {told_kept(observation, policy)}"
    lines = []
    if number != current:
        lines.append(ClampLine(PAUSED, current, number, message))
    owner = policy.external
    if owner is not None and max(0, owner) != number:
        reason, message = EXTERNAL_OWNER, told_external(owner)
        lines.append(ClampLine(reason, number, max(0, owner), message))
        number = max(0, owner)
    answer = Decision(
        replicas=number,
        current=current,
        base=current,
        reason=reason,
        message=message,
        signals=(),
        clamps=tuple(lines),
    )
    return answer, replace(memory, arrivals=observation.demand.arrivals)


def told_external(owner: int) -> str:
    """Say that somebody else decides."""
    return f"spec.scaling.replicas is {owner}; remove the field to let Torpor decide"


def told_kept(observation: Observation, policy: Policy) -> str:
    """Say what is kept."""
    number = kept(observation, policy)
    if observation.new:
        return f"a new fleet starts with its minReplicas, {number}"
    return f"the number stays at {number}"
