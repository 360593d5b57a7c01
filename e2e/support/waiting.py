"""Waiting for a state, with a deadline and a reason.

A test that sleeps is slow when the machine is fast and wrong when it is slow. Everything here polls:
`until` calls a check again and again, and when the time is over it says what it waited for and what it saw
last. A check tells "not yet" by returning something false or by raising AssertionError, whichever reads
better; any other exception is a defect and passes through at once.

Deadlines are generous: where all is well they cost nothing, and a machine that works for others, too, must
not turn a scenario red. Where the time itself is promised, the scenario measures it.
"""

import os
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
PATIENCE = float(os.environ.get("TORPOR_E2E_PATIENCE", "180"))  # seconds


class ExpiredError(AssertionError):
    """The state did not come in time; the message names it and the last thing that was seen."""


def until(
    what: str, check: Callable[[], T | None], *, seconds: float = PATIENCE, every: float | None = None
) -> T:
    """Return `check()`'s first true value; raise `ExpiredError` after `seconds`. `every` is the pause between
    looks, in seconds; without it the pauses grow from 0.1 to 0.5 s, since each look costs the API server some
    of the processor that what is waited for needs.
    """
    begun = time.monotonic()
    pause = every or 0.1
    while True:
        seen: object = None
        try:
            value = check()
            if value:
                return value
            seen = value
        except AssertionError as error:
            seen = error
        if time.monotonic() - begun > seconds:
            raise ExpiredError(f"waited {seconds:g} s for: {what}; last seen: {seen}")
        time.sleep(pause)
        pause = every or min(0.5, pause * 1.25)


def never(what: str, check: Callable[[], object], *, seconds: float, every: float = 0.1) -> None:
    """Fail as soon as `check()` is true within `seconds`. For promises of absence; use it sparingly, it
    always takes its time.
    """
    begun = time.monotonic()
    while time.monotonic() - begun < seconds:
        value = check()
        assert not value, f"must not happen: {what}; seen: {value}"
        time.sleep(every)
