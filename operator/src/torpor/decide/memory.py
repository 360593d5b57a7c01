"""What a decision remembers from one look to the next.

A frozen value that goes into `decide` and comes out of it: nothing learns behind the caller's back, and a
test states a history by writing it down. Empty memory (a new leader, a new fleet) is the careful state: it
knows no window and no idle period, so nothing shrinks until one has been watched in full. The same care
follows a pause of the watcher: a leader that was frozen for longer than `LONGEST_GAP` has not seen the
silence that the clock would prove.

`dump` writes down what took long to learn (`known`); `load` reads it into a memory that is otherwise empty.
Lost on the way is the present: every history and time above, the rates of arrivals, the minute and the five
minutes that are being filled, pauses under way, the level of the day, the last samples and the digits beyond
what the modules write. So a new leader knows what a replica carries and what is usual on a Monday, and still
lowers nothing before it has watched for itself. The text of a dump stays below `MOST_BYTES`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torpor.decide.known import Known
from torpor.decide.quick import but, quick

LONGEST_GAP = 30.0  # seconds between two looks after which the history does not count as watched
MOST_BYTES = 32 * 1024  # of a dump as JSON
VERSION = 1
NOTHING = Known()


@quick
@dataclass(frozen=True, slots=True)
class Memory:
    """Times are seconds on the caller's monotonic clock.

    seen_at: the last look. watched_since: start of the unbroken row of looks. recommendations: what the
    signals asked for, as (time, replicas), the newest last, each smaller than those before it (a running
    maximum needs no more). idle_since: start of the unbroken silence. arrivals: the demand's counter at the
    last look. short_since: since when the Deployment has fewer pods than it asks for. closed: the schedule
    allowed no replica at the last look. closed_demand: when requests were last seen in these closed hours.
    wanted_at: the last look that found somebody who wants the fleet. overslept: the owner's idle time ended,
    or somebody sent the fleet to sleep, although requests were foreseen; no forecast wakes it until they are
    foreseen anew. queued_since: since when the queue has asked for more replicas than there are, without a
    break. known: what was learned.
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
    overslept: bool = False
    queued_since: float | None = None
    known: Known = NOTHING

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
                overslept=self.overslept,
                known=self.known,
            )
        return but(self, seen_at=now)

    def watched(self, now: float) -> float:
        """Seconds of unbroken watching up to `now`."""
        return 0.0 if self.watched_since is None else now - self.watched_since

    def dump(self) -> dict[str, Any]:
        """What is worth keeping over a restart, as JSON values; see the module for what is not."""
        return {"version": VERSION, "known": self.known.dump()}

    @classmethod
    def load(cls, document: object) -> "Memory":
        """Read what `dump` wrote. Never raises: what is damaged or of another version is empty, each part for
        itself, and an empty part is the careful one.
        """
        if not isinstance(document, Mapping) or document.get("version") != VERSION:
            return cls()
        return cls(known=Known.load(document.get("known")))


def remember(
    history: tuple[tuple[float, int], ...], recommended: int, now: float, window: float
) -> tuple[tuple[float, int], ...]:
    """Return `history` with the newest recommendation, without what is older than `window` or can no longer
    be largest.
    """
    kept = [(at, number) for at, number in history if now - at <= window and number > recommended]
    return (*kept, (now, recommended))
