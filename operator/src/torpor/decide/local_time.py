"""From wall clocks to instants: one rule for every border of a schedule.

A schedule is written in local time, and local time jumps: in spring an hour does not exist, in autumn one
comes twice, some zones skip midnight or a whole day. Everything that is compared or subtracted here is an
instant in UTC, because arithmetic on aware local times ignores the jumps (Berlin, the night of 2026-03-29:
23:00 to 07:00 is seven hours, and Python's local arithmetic says eight).

The rule, for borders that are not plain:

- a border in a gap (it does not exist that day) is the first instant after the gap;
- a border in a fold (it comes twice) is its first occurrence where something begins, its last where it ends.

So whatever a window asks for is covered: each instant whose wall clock reads a time inside the window is in
the window, and a fold makes it longer, never shorter. A window that lies wholly in a gap has no instant and
does not happen that day.
"""

from datetime import UTC, date, datetime, time, timedelta, tzinfo

MINUTES_PER_DAY = 1440

_RESOLUTION = timedelta(microseconds=1)


def instant(day: date, minute: int, zone: tzinfo, *, last: bool) -> datetime:
    """Return when the clock of `zone` shows `minute` (0 to 1440) of `day`, as an aware time in UTC.

    `last`: of two occurrences the later one. 1440 is the midnight that ends the day.
    """
    wall = datetime.combine(day, time()) + timedelta(minutes=minute)
    before = _utc(wall, zone, fold=0)
    after = _utc(wall, zone, fold=1)
    if before <= after:
        return after if last else before
    # In a gap fold=0 reads the clock as it went before the jump, which lands behind it, and fold=1 as it
    # goes afterwards, which lands ahead of it (PEP 495). The jump is between the two.
    return _jump(after, before, zone)


def local_day(at: datetime, zone: tzinfo) -> date:
    """Return the date that the calendar of `zone` shows at the aware time `at`."""
    return at.astimezone(zone).date()


def told(at: datetime, zone: tzinfo) -> str:
    """Write an instant for people: day of the week, date and time as clocks of `zone` show them."""
    return at.astimezone(zone).strftime("%a %Y-%m-%d %H:%M")


def _utc(wall: datetime, zone: tzinfo, *, fold: int) -> datetime:
    offset = wall.replace(tzinfo=zone, fold=fold).utcoffset() or timedelta(0)
    return (wall - offset).replace(tzinfo=UTC)


def _jump(low: datetime, high: datetime, zone: tzinfo) -> datetime:
    """Return the first instant in (low, high] at which the offset is not that of `low`."""
    ahead = low.astimezone(zone).utcoffset()
    while high - low > _RESOLUTION:
        middle = low + (high - low) / 2
        if middle.astimezone(zone).utcoffset() == ahead:
            low = middle
        else:
            high = middle
    return high
