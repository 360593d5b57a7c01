"""What a decision remembers from one look to the next.

A frozen value that goes into `decide` and comes out of it: nothing learns behind the caller's back, and a
test states a history by writing it down. Empty memory (a new leader, a new fleet) is the careful state: it
knows no window and no idle period, so nothing shrinks until one has been watched in full. The same care
follows a pause of the watcher: a leader that was frozen for longer than `LONGEST_GAP` has not seen the
silence that the clock would prove.
"""

from dataclasses import dataclass, replace

LONGEST_GAP = 30.0  # seconds between two looks after which the history does not count as watched


@dataclass(frozen=True, slots=True)
class Memory:
    """Times are seconds on the caller's monotonic clock.

    seen_at: the last look. watched_since: start of the unbroken row of looks. recommendations: what the
    signals asked for, as (time, replicas), the newest last, each smaller than those before it (a running
    maximum needs no more). idle_since: start of the unbroken silence. arrivals: the demand's counter at the
    last look. short_since: since when the Deployment has fewer pods than it asks for. closed: the schedule
    allowed no replica at the last look. closed_demand: when requests were last seen in these closed hours.
    wanted_at: the last look that found somebody who wants the fleet.
    """

    seen_at: float | None = None
    watched_since: float | None = None
    recommendations: tuple[tuple[float, int], ...] = ()
    idle_since: float | None = None
    arrivals: int | None = None
    short_since: float | None = None
    closed: bool = False
    closed_demand: float | None = None
    wanted_at: float | None = None

    def resumed(self, now: float) -> "Memory":
        """Return this memory ready for a look at `now`: histories are dropped where they were not watched."""
        broken = (
            self.seen_at is None or self.watched_since is None or not 0 <= now - self.seen_at <= LONGEST_GAP
        )
        if broken:
            return Memory(
                seen_at=now,
                watched_since=now,
                arrivals=self.arrivals,
                closed=self.closed,
                closed_demand=self.closed_demand,
            )
        return replace(self, seen_at=now)

    def watched(self, now: float) -> float:
        """Seconds of unbroken watching up to `now`."""
        return 0.0 if self.watched_since is None else now - self.watched_since


def remember(
    history: tuple[tuple[float, int], ...], recommended: int, now: float, window: float
) -> tuple[tuple[float, int], ...]:
    """Return `history` with the newest recommendation, without what is older than `window` or can no longer
    be largest.
    """
    kept = [(at, number) for at, number in history if now - at <= window and number > recommended]
    return (*kept, (now, recommended))
