"""What goes wrong in a run: starts that never become ready, and engines whose reports stop.

A backtest in which everything works says little about a policy, since the worst nights are those on which a
scrape fails or a node hangs. Three troubles are simulated, each from the setup alone, so that every policy
meets the same:

- A share of all starts never becomes ready. Such a replica looks like any other that is starting, is billed,
  and is replaced by a new one when its deadline passes, as a startup probe does.
- Outages: for a while the engines' metrics cannot be read. Their gauges and counters become NaN; how many
  pods there are, and what gateways count themselves, is known all the time.
- Stale reports: for a while the engines' metrics stand still at what they were. Pods that came later have
  reported nothing. `View.report_age` says how old they are, to those who look at timestamps.

Not simulated: gateways that are gone, pods that crash after they were ready, reports that are wrong without
being old.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

Interval = tuple[float, float]
Rows = list[list[float]]

_COLUMNS = (*range(2, 9), 10)  # of a row, that the engine itself reports
_UNKNOWN = [math.nan] * len(_COLUMNS)


@dataclass(frozen=True, slots=True)
class Conditions:
    """failed_starts: share of the starts that fail, 0 to 1. start_deadline: seconds after which such a one is
    replaced. outages, stale: intervals [from, to) in seconds of the trace.

    Raises ValueError with one line where one of them makes no sense.
    """

    failed_starts: float = 0.0
    start_deadline: float = 600.0
    outages: tuple[Interval, ...] = ()
    stale: tuple[Interval, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.failed_starts <= 1:
            raise ValueError(f"failed_starts={self.failed_starts}: must be a share from 0 to 1")
        if not (math.isfinite(self.start_deadline) and self.start_deadline > 0):
            raise ValueError(f"start_deadline={self.start_deadline}: must be a positive number of seconds")
        for name, intervals in (("outages", self.outages), ("stale", self.stale)):
            for begins, ends in intervals:
                if not (math.isfinite(begins) and math.isfinite(ends) and 0 <= begins < ends):
                    raise ValueError(
                        f"{name}: {begins:g} to {ends:g} is no interval: must be seconds from 0, "
                        "the end after the beginning"
                    )


class Reports:
    """The engines' reports as they arrive under `conditions`. Ask once per look, in order of time."""

    def __init__(self, conditions: Conditions) -> None:
        self._conditions = conditions
        self._quiet = not conditions.outages and not conditions.stale
        self._at = 0.0
        self._last: dict[tuple[float, float], list[float]] = {}

    def seen(self, now: float, rows: Rows) -> tuple[Rows, float]:
        """The rows as a watcher sees them at `now`, and how many seconds old their gauges are.

        A row's state, birth and slot are the control plane's, what ended is the gateways': always true.
        """
        if self._quiet:
            return rows, 0.0
        if within(self._conditions.outages, now):
            return [_with(row, _UNKNOWN) for row in rows], now - self._at
        if within(self._conditions.stale, now):
            old = [self._last.get((row[9], row[1]), _UNKNOWN) for row in rows]
            return [_with(row, gauges) for row, gauges in zip(rows, old, strict=True)], now - self._at
        self._at = now
        if self._conditions.stale:
            self._last = {(row[9], row[1]): [row[column] for column in _COLUMNS] for row in rows}
        return rows, 0.0


def _with(row: list[float], gauges: list[float]) -> list[float]:
    """The row with other reports of the engine; what the gateways and the control plane know stays."""
    seen = list(row)
    for column, value in zip(_COLUMNS, gauges, strict=True):
        seen[column] = value
    return seen


def within(intervals: tuple[Interval, ...], now: float) -> bool:
    """Whether `now` lies in one of the intervals."""
    return any(begins <= now < ends for begins, ends in intervals)
