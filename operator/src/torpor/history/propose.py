"""What to set, out of a past: bounds, idle time and hours, each tried by a backtest before it is proposed.

Nothing here is a rule of thumb for replicas. `maxReplicas` is the most that the production decision asked for
over this history when nothing bounded it. A window of the schedule is a half-hour of the week in which, every
time it was seen, requests came so often that a replica which idles is worth more than a cold start
(`economics.worth_idling`, the decision's own measure); blocks of such half-hours become windows, days with
the same blocks share one, and their floor is what was needed even in the quietest of those times. Then a few
candidates are run: sleep or not, economics' idle time or a fixed one, hours or none. The cheapest of those
that attain nearly as much as the best is proposed.

What is chosen on a history is judged on the same history, so its figures flatter it a little; the more weeks,
the less.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np

from torpor.api.schedule import DAYS
from torpor.decide.economics import worth_idling

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import tzinfo

    from numpy.typing import NDArray

    from torpor.history.backtest import Row
    from torpor.history.series import Interval

HALF_HOUR = 1800.0
SLOTS = 48  # of a day
JOINED = (
    2  # closed half-hours between two blocks that are bridged: two starts cost more than an hour's idling
)
SHORTEST = 2  # half-hours of a block
MOST_WINDOWS = 14
LOSS = 0.5  # percentage points that the cheapest may attain less than the best
IDLE = 900  # seconds, of the candidates with a fixed idle time
Scaling = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Proposal:
    """The chosen candidate, its scaling section, all that were tried, and why this one."""

    name: str
    scaling: Scaling
    rows: list[Row]
    reasons: list[str]

    def patch(self) -> dict[str, Any]:
        """A merge patch: null takes away what was set before and is not wanted."""
        return {"spec": {"scaling": {"idleSeconds": None, "schedule": None} | self.scaling}}


def hours(
    arrivals: NDArray[np.float64],
    needs: NDArray[np.int64],
    *,
    slot: float,
    start: float,
    end: float,
    zone: tzinfo,
    cold_start: float,
    hidden: Sequence[Interval] = (),
) -> list[dict[str, Any]]:
    """Windows of `spec.scaling.schedule` in which requests never fail to come.

    arrivals, hidden: seconds from the beginning; needs: replicas needed per `slot` seconds; start, end:
    seconds since the epoch; cold_start: seconds. Empty where no hours stand out, or where all of them do.
    """
    seen: dict[tuple[int, int], list[tuple[bool, int]]] = {}
    for at in np.arange(math.ceil(start / HALF_HOUR) * HALF_HOUR, end - HALF_HOUR + 1, HALF_HOUR):
        low = float(at) - start
        if any(a < low + HALF_HOUR and b > low for a, b in hidden):
            continue
        count = int(np.searchsorted(arrivals, low + HALF_HOUR) - np.searchsorted(arrivals, low))
        chance = -math.expm1(-count * cold_start / HALF_HOUR)
        part = needs[int(low // slot) : int((low + HALF_HOUR) // slot)]
        local = datetime.fromtimestamp(float(at), UTC).astimezone(zone)
        key = local.weekday(), local.hour * 2 + local.minute // 30
        floor = int(np.percentile(part, 20)) if len(part) else 0
        seen.setdefault(key, []).append((worth_idling(chance), floor))
    days: dict[tuple[int, int, int], list[int]] = {}
    open_slots = 0
    for day in range(7):
        is_open = [all(busy for busy, _ in seen.get((day, half), [(False, 0)])) for half in range(SLOTS)]
        for first, last in _blocks(is_open):
            open_slots += last - first
            floors = [floor for half in range(first, last) for _, floor in seen.get((day, half), ())]
            days.setdefault((first, last, max(1, min(floors, default=1))), []).append(day)
    if open_slots >= 7 * SLOTS - JOINED:
        return []
    found: list[dict[str, Any]] = []
    for (first, last, floor), several in sorted(days.items(), key=lambda item: (item[1], item[0])):
        names = [DAYS[day] for day in several]
        found.append(
            {
                "name": f"{names[0].lower()}-{_clock(first).replace(':', '')}-{len(found) + 1}",
                "days": names,
                "start": _clock(first),
                "end": _clock(last),
                "minReplicas": floor,
                "readyBy": "Start",
            }
        )
    return found if len(found) <= MOST_WINDOWS else []


def _blocks(is_open: Sequence[bool]) -> list[tuple[int, int]]:
    """(first, after the last) of each block of open half-hours, short breaks bridged, short blocks left
    out.
    """
    blocks: list[tuple[int, int]] = []
    for half, busy in enumerate(is_open):
        if not busy:
            continue
        if blocks and half - blocks[-1][1] <= JOINED:
            blocks[-1] = (blocks[-1][0], half + 1)
        else:
            blocks.append((half, half + 1))
    return [(first, last) for first, last in blocks if last - first >= SHORTEST]


def _clock(half: int) -> str:
    return f"{half // 2:02d}:{half % 2 * 30:02d}"


def candidates(most: int, windows: Sequence[Mapping[str, Any]], zone: str) -> dict[str, Scaling]:
    """Scaling sections to try, by what they are. most: replicas that were ever asked for."""
    sleeps: Scaling = {"minReplicas": 0, "maxReplicas": most}
    found = {
        "sleeps": sleeps,
        f"sleeps-after-{IDLE}s": sleeps | {"idleSeconds": IDLE},
        "always-one": {"minReplicas": 1, "maxReplicas": most},
    }
    if windows:
        listed = [dict(window) | {"minReplicas": min(window["minReplicas"], most)} for window in windows]
        schedule = {"schedule": {"timeZone": zone, "windows": listed}}
        found["hours"] = sleeps | schedule
        ones = [window | {"minReplicas": 1} for window in listed]
        if ones != listed:
            found["hours-with-one"] = sleeps | {"schedule": {"timeZone": zone, "windows": ones}}
    return found


def propose(most: int, tried: Mapping[str, Scaling], run: Callable[[str, Scaling], Row]) -> Proposal:
    """Run every candidate and choose: the cheapest of those within LOSS of the best attainment."""
    rows = [run(name, scaling) for name, scaling in tried.items()]
    best = max(row.slo_attainment_percent.median for row in rows)
    good = [row for row in rows if row.slo_attainment_percent.median >= best - LOSS]
    chosen = min(good, key=lambda row: (row.replica_hours.median, -row.slo_attainment_percent.median))
    reasons = [
        f"maxReplicas {most}: the most that the decision asked for over this history, unbounded",
        f"{chosen.policy}: the cheapest of {len(rows)} within {LOSS:g} points of the best "
        f"attainment ({best:g} %)",
        "chosen on this history and judged on it, so the figures flatter it a little; try other "
        "weeks with --end",
    ]
    return Proposal(chosen.policy, tried[chosen.policy], rows, reasons)


def days_seen(start: float, end: float) -> int:
    """Whole days between two times."""
    return int(timedelta(seconds=end - start) // timedelta(days=1))
