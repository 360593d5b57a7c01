"""A token bucket: so much a minute, a minute's worth at once.

    law    in any t seconds at most L (1 + t / 60) is taken, L being the limit per minute, as long as nothing
           is taken that was not there

What a request costs is not always known when it comes. It is let in when what is expected of it is there (or
the bucket is full: a request that is larger than the bucket must not wait for ever), and what it turns out to
have cost more is taken all the same. The level may so become negative, and the next request waits for it.
"""


class Bucket:
    """Filled evenly, in units per minute. Times are seconds on one monotonic clock."""

    __slots__ = ("_at", "_level", "_per_minute")

    def __init__(self, per_minute: float, now: float) -> None:
        self._per_minute = self._level = per_minute
        self._at = now

    def level(self, now: float) -> float:
        """Return what is there; below zero where more was taken than was there."""
        if now > self._at:
            self._level = min(self._per_minute, self._level + (now - self._at) * self._per_minute / 60)
            self._at = now
        return self._level

    def wait(self, amount: float, now: float) -> float:
        """Return the seconds until so much is there, or until the bucket is full; 0 where it is."""
        missing = min(amount, self._per_minute) - self.level(now)
        # What is missing by rounding alone is there: a client that waits as told must not be refused again.
        return missing * 60 / self._per_minute if missing > self._per_minute * 1e-9 else 0.0

    def take(self, amount: float, now: float) -> None:
        """Take so much, there or not. A negative amount puts back."""
        self._level = min(self._per_minute, self.level(now) - amount)

    def until_full(self, now: float) -> float:
        """Return the seconds until nothing is missing, if nothing more is taken."""
        return (self._per_minute - self.level(now)) * 60 / self._per_minute

    def resize(self, per_minute: float, now: float) -> None:
        """Change the limit. What is there stays the same share of it; what is owed stays owed."""
        if per_minute == self._per_minute:
            return
        level = self.level(now)
        self._level = min(per_minute, level * per_minute / self._per_minute) if level > 0 else level
        self._per_minute = per_minute
