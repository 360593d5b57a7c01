"""Time zones by their IANA names, without what `ZoneInfo` does with other texts.

`ZoneInfo(text)` opens files: for a folder, an absolute path or a text that is too long it raises four
different kinds of exception, and two of the names it takes are no places. So a name counts if it is among
those that exist, and nothing else is ever opened. Where no zone exists at all the data is missing: that is
the installation's fault, never the user's, and it is said in another way (`available` is False).
"""

from functools import lru_cache
from zoneinfo import ZoneInfo, available_timezones

MAX_NAME_LENGTH = 64
_NO_PLACES = frozenset({"Factory", "localtime", "posixrules"})


@lru_cache(maxsize=1)
def known() -> frozenset[str]:
    """Return the names of all zones; empty where the machine has no time-zone data."""
    return frozenset(available_timezones()) - _NO_PLACES


def available() -> bool:
    """Whether there is time-zone data at all."""
    return bool(known())


def exists(name: str) -> bool:
    """Whether `name` is a zone. Anything may be while no data is there to tell."""
    return name in known() or not available()


def load(name: str) -> ZoneInfo | None:
    """Return the zone, None where it does not exist or its data is missing."""
    return ZoneInfo(name) if name in known() else None
