"""The schedule of a fleet as users write it: `spec.scaling.schedule`.

Local times of one zone, in words and numbers that a person checks against a wall clock; what they mean at
an instant is `torpor.decide.schedule`'s business. A window, an exception and `outside` bound the number of
replicas from below, from above or both, within the fleet's own minReplicas and maxReplicas.
"""

import re
from datetime import date
from typing import Annotated, ClassVar, Final, Literal

from pydantic import Field, StringConstraints

from torpor.api import zones
from torpor.api.base import LIST_SET, ApiModel, LabelName, Rule, list_map, matching

DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
Day = Literal["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"]

ZONE: Final = Rule(
    cel=r"self.matches('^[A-Za-z][-+A-Za-z0-9_]*(/[-+A-Za-z0-9_]+)*$')",
    message="must be an IANA time zone; write it like Europe/Berlin or UTC",
    holds=lambda name: len(name) <= zones.MAX_NAME_LENGTH and zones.exists(name),
)
START: Final = matching(
    r"([01][0-9]|2[0-3]):[0-5][0-9]", "must be a time from 00:00 to 23:59; write it like 08:00, in quotes"
)
END: Final = matching(
    r"([01][0-9]|2[0-3]):[0-5][0-9]|24:00",
    "must be a time from 00:00 to 24:00; write it like 20:00, in quotes",
)
DIFFERENT: Final = Rule(
    cel="",  # the API server knows it from the list's type
    message="must not name anything twice; remove one",
    holds=lambda listed: len(set(listed)) == len(listed),
)

_DATE: Final = re.compile(r"20[0-9]{2}-[0-9]{2}-[0-9]{2}")


def _is_date(text: str) -> bool:
    try:
        return bool(_DATE.fullmatch(text)) and bool(date.fromisoformat(text))
    except ValueError:
        return False


# The format makes the API server refuse dates that do not exist; to CEL such a text is a timestamp.
DATE: Final = Rule(
    cel="",
    message="must be a date that exists, from 2000 to 2099; write it like 2026-12-25",
    holds=_is_date,
)
Date = Annotated[
    str,
    StringConstraints(min_length=10, max_length=10),
    DATE,
    Field(json_schema_extra={"format": "date"}),
]
Floor = Annotated[int, Field(ge=0, le=1000)]
Ceiling = Annotated[int, Field(ge=0, le=1000)]

ORDERED: Final = Rule(
    cel="!has(self.minReplicas) || !has(self.maxReplicas) || self.minReplicas <= self.maxReplicas",
    message="must not exceed maxReplicas; lower minReplicas or raise maxReplicas",
    holds=lambda it: it.min_replicas is None or it.max_replicas is None or it.min_replicas <= it.max_replicas,
    field="minReplicas",
)
SAYS_SOMETHING: Final = Rule(
    cel="has(self.minReplicas) || has(self.maxReplicas)",
    message="must have minReplicas or maxReplicas; add one of the two",
    holds=lambda it: it.min_replicas is not None or it.max_replicas is not None,
)


class ScheduleWindow(ApiModel):
    """Hours that repeat by the days of the week."""

    name: LabelName
    """Name, shown in the status and in events."""
    days: Annotated[list[Day], Field(min_length=1, max_length=7), LIST_SET, DIFFERENT]
    """Days on which it starts; a window over midnight belongs to the day before."""
    start: Annotated[str, StringConstraints(min_length=5, max_length=5), START]
    """
    Local time at which it starts, 00:00 to 23:59. A time that the clock skips that day is the first moment
    after; of two the first.
    """
    end: Annotated[str, StringConstraints(min_length=5, max_length=5), END]
    """
    Local time at which it ends, 00:00 to 24:00; one that is not after the start is on the next day. A time
    that the clock skips that day is the first moment after; of two the last.
    """
    min_replicas: Floor | None = None
    """The fewest replicas meanwhile. Of several windows the highest counts."""
    max_replicas: Ceiling | None = None
    """The most replicas meanwhile. Of several windows the lowest counts."""
    ready_by: Literal["Start"] | None = None
    """
    Start: the replicas of minReplicas begin earlier by the fleet's measured cold start (95 of 100 were
    faster), so that they answer at the start. Absent: they begin at the start.
    """

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="!has(self.start) || !has(self.end) || self.start != self.end",
            message="must not be the start; write 00:00 and 24:00 for a whole day",
            holds=lambda it: it.start != it.end,
            field="end",
        ),
        SAYS_SOMETHING,
        ORDERED,
        Rule(
            cel="!has(self.readyBy) || has(self.minReplicas) && self.minReplicas > 0",
            message="must come with minReplicas of at least 1; add it or remove readyBy",
            holds=lambda it: it.ready_by is None or bool(it.min_replicas),
            field="readyBy",
        ),
    )


class ScheduleOutside(ApiModel):
    """What holds while no window is open and the date is no exception."""

    min_replicas: Floor | None = None
    """The fewest replicas."""
    max_replicas: Ceiling | None = None
    """The most replicas; 0 closes the fleet."""

    rules: ClassVar[tuple[Rule, ...]] = (SAYS_SOMETHING, ORDERED)


class ScheduleException(ApiModel):
    """
    Dates that differ. They beat windows: one that runs into such a date is cut, one that would start on it
    does not happen.
    """

    name: LabelName
    """Name, shown in the status and in events."""
    dates: Annotated[list[Date], Field(min_length=1, max_length=100), LIST_SET, DIFFERENT]
    """Local dates, each from 00:00 to 24:00."""
    min_replicas: Floor | None = None
    """The fewest replicas on these dates."""
    max_replicas: Ceiling | None = None
    """The most replicas on these dates; 0 closes the fleet."""

    rules: ClassVar[tuple[Rule, ...]] = (SAYS_SOMETHING, ORDERED)


class Schedule(ApiModel):
    """How few and how many replicas the hours allow, within minReplicas and maxReplicas of the fleet."""

    time_zone: Annotated[str, StringConstraints(min_length=1, max_length=zones.MAX_NAME_LENGTH), ZONE]
    """IANA time zone of all times and dates, such as Europe/Berlin."""
    windows: Annotated[list[ScheduleWindow], Field(max_length=32), list_map("name")] = Field(
        default_factory=list
    )
    """Hours that repeat. Where several are open, the highest floor and the lowest ceiling count."""
    outside: ScheduleOutside | None = None
    """
    What holds while no window is open and the date is no exception. Absent: the fleet's own minReplicas and
    maxReplicas alone.
    """
    exceptions: Annotated[list[ScheduleException], Field(max_length=32), list_map("name")] = Field(
        default_factory=list
    )
    """Dates that differ; they beat windows."""
    when_closed: Literal["Wake", "Reject"] = "Wake"
    """
    What a request does while the ceiling is 0. Wake: it wakes up to whenClosedMaxReplicas, which go again
    after idleSeconds without requests. Reject: 503 with the opening time and a Retry-After up to it.
    """
    when_closed_max_replicas: Annotated[int, Field(ge=1, le=1000)] = 1
    """The most replicas while there are requests in closed hours and whenClosed is Wake."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel=(
                "has(self.outside) || has(self.windows) && size(self.windows) > 0"
                " || has(self.exceptions) && size(self.exceptions) > 0"
            ),
            message="must have windows, exceptions or outside; add one of them or remove the schedule",
            holds=lambda it: bool(it.windows or it.exceptions or it.outside),
        ),
    )
