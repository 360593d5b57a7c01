"""The choice among pods that are below their line: the one with the fewest requests.

Equal loads are common (an idle fleet, a fleet that just woke) and always taking the first would send every
gateway process's traffic to the same pod, so the caller gives a turn number and ties are taken in rotation.
"""

from collections.abc import Sequence
from typing import Protocol, TypeVar


class Loaded(Protocol):
    """Anything with a load."""

    @property
    def load(self) -> int:
        """Requests at the pod."""


T = TypeVar("T", bound=Loaded)


def least_loaded(pods: Sequence[T], turn: int) -> T | None:
    """Return the pod with the smallest load, ties in rotation by `turn`; None where there are no pods."""
    if not pods:
        return None
    if len(pods) == 1:
        return pods[0]
    least = min(pod.load for pod in pods)
    tied = [pod for pod in pods if pod.load == least]
    return tied[turn % len(tied)]
