"""Conditions: set and compared, with time as an argument.

A condition's `lastTransitionTime` moves when its status changes and at no other time; reason and message
may change under it. Getting this wrong breaks everybody who waits for a condition, so there is one place
that does it. Pure: a list goes in, a list comes out, and unchanged input gives an equal list, so that the
caller can skip the write.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Literal

from torpor.api.constants import CONDITION_TYPES
from torpor.api.status import Condition

Truth = Literal["True", "False", "Unknown"]
MAX_MESSAGE: Final = 4096


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found about one condition type, before it is known since when."""

    type: str
    status: Truth
    reason: str
    message: str = ""


def truth(value: bool | None) -> Truth:
    """Write a boolean as Kubernetes does; None is Unknown."""
    return "Unknown" if value is None else "True" if value else "False"


def timestamp(now: datetime) -> str:
    """Write an aware time as the API server does: UTC, whole seconds. ValueError for a naive one."""
    if now.tzinfo is None:
        raise ValueError(f"time {now.isoformat()} has no zone; pass an aware datetime, such as UTC")
    return now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def update(
    current: Sequence[Condition], findings: Iterable[Finding], *, generation: int, now: datetime
) -> list[Condition]:
    """Return `current` with `findings` set at `now`, in the fixed order of types.

    Types without a finding stay as they are. `generation` is that of the object the findings were made on.
    """
    merged = {condition.type: condition for condition in current}
    for finding in findings:
        before = merged.get(finding.type)
        same = before is not None and before.status == finding.status
        merged[finding.type] = Condition(
            type=finding.type,
            status=finding.status,
            reason=finding.reason,
            message=shortened(finding.message),
            last_transition_time=before.last_transition_time if before and same else timestamp(now),
            observed_generation=generation,
        )
    order = {type_: place for place, type_ in enumerate(CONDITION_TYPES)}
    return sorted(
        merged.values(), key=lambda condition: (order.get(condition.type, len(order)), condition.type)
    )


def shortened(message: str, limit: int = MAX_MESSAGE) -> str:
    """Cut a message to what the schema allows; the cut is visible."""
    return message if len(message) <= limit else f"{message[: limit - 2]} …"
