"""When a refused client should come back: measured where something was measured, and not all at once.

`Retry-After` is in whole seconds, so a quarter of a short wait is lost in the rounding and a crowd that was
refused together would come back together. What is added at random is therefore a quarter of the wait, and
never less than two seconds' worth.

How fast a line moves (`Drain`) is counted while it moves: requests that left it for a pod, over the time in
which somebody waited and a pod was there, the recent more than the old. From it follows when those who wait
now will have gone, which is when a newcomer finds room; where nothing was counted yet, nothing is said.
"""

import random

JITTER = 0.25  # of the wait, added
LEAST_JITTER_SECONDS = 2.0
_HALF_LIFE_SECONDS = 10.0  # of what was counted, in time in which somebody waited
_ENOUGH_SECONDS = 1.0  # to speak of a rate


def jittered(wait: float, jitter: float) -> float:
    """Return `wait` (seconds) and the share `jitter` (0 to 1) of what may be added to it."""
    return wait + jitter * max(JITTER * wait, LEAST_JITTER_SECONDS)


def soon(wait: float) -> float:
    """Return a jittered wait of so many seconds."""
    return jittered(wait, random.random())  # noqa: S311


class Drain:
    """How fast a line moves. `now` is one monotonic clock, seconds."""

    __slots__ = ("_at", "_left", "_left_before", "_time")

    def __init__(self) -> None:
        self._left = self._time = 0.0  # weighted by age
        self._left_before = 0  # since the last look
        self._at: float | None = None

    def left(self) -> None:
        """A request left the line for a pod."""
        self._left_before += 1

    def look(self, now: float) -> None:
        """Somebody has waited since the last look, and a pod was there."""
        if self._at is not None and now > self._at:
            fade = 0.5 ** ((now - self._at) / _HALF_LIFE_SECONDS)
            self._left = self._left * fade + self._left_before
            self._time = self._time * fade + now - self._at
        self._left_before = 0
        self._at = now

    def rest(self) -> None:
        """Nobody waits, or no pod is there: this time does not count."""
        self._left_before = 0
        self._at = None

    @property
    def rate(self) -> float | None:
        """Requests a second; None where too little was seen."""
        return self._left / self._time if self._time >= _ENOUGH_SECONDS else None

    def seconds(self, waiting: int) -> float | None:
        """Return in how many seconds so many will have gone; None where it is not known or never."""
        rate = self.rate
        return waiting / rate if rate else None
