"""Numbers that may be missing.

An autoscaler that reads a missing number as zero turns off what it cannot see. So a reading is either a
number or `Unknown`, and `Unknown` is a value with a reason, not an exception and not a special float: code
that forgets it does not type-check. Whatever is not a plain finite number inside its range (NaN, infinity, a
negative count, a text, a utilization of 85) becomes `Unknown` here, before any rule sees it.
"""

import math
from dataclasses import dataclass
from typing import TypeAlias

from torpor.decide.quick import quick


@quick
@dataclass(frozen=True, slots=True)
class Unknown:
    """A number that nobody can vouch for: why, and how old the last good reading is (seconds; None: there was
    none).
    """

    reason: str
    age: float | None = None


Value: TypeAlias = float | Unknown

MOST_REQUESTS = 10_000_000.0  # a larger count is a fault of the counter, not a load


def measured(reading: object, *, low: float = 0.0, high: float = MOST_REQUESTS) -> Value:
    """Return `reading` as a float if it is a finite number within [low, high], else `Unknown` with the
    reason.

    Booleans are refused: they are ints to Python and a mistake to everybody else.
    """
    if type(reading) is float and low <= reading <= high and reading < math.inf:
        return reading  # nearly every reading is one, and there are thousands a second
    if isinstance(reading, Unknown):
        return reading
    if reading is None:
        return Unknown("not reported")
    if isinstance(reading, bool) or not isinstance(reading, int | float):
        return Unknown(f"not a number: {str(reading)[:40]!r}")
    if isinstance(reading, int) and not low <= reading <= high:
        return Unknown(f"outside {low:g} to {high:g}")
    number = float(reading)
    if not math.isfinite(number):
        return Unknown("not a finite number")
    if not low <= number <= high:
        return Unknown(f"outside {low:g} to {high:g}")
    return number


def utilization(reading: object) -> Value:
    """Return a share between 0 and 1, a hair above 1 forgiven (engines round up), else `Unknown`."""
    value = measured(reading, low=0.0, high=1.01)
    return value if isinstance(value, Unknown) else min(value, 1.0)
