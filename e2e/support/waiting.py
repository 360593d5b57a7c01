"""Waiting for a state, with a deadline and a reason.

A test that sleeps is slow when the machine is fast and wrong when it is slow. Everything here polls:
`until` calls a check again and again, and when the time is over it says what it waited for and what it saw
last. A check tells "not yet" by returning something false or by raising AssertionError, whichever reads
better; any other exception is a defect and passes through at once.
"""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class ExpiredError(AssertionError):
    """The state did not come in time; the message names it and the last thing that was seen."""


def until(what: str, check: Callable[[], T | None], *, seconds: float = 30, every: float = 0.2) -> T:
    """Return `check()`'s first true value; raise `ExpiredError` after `seconds`. `every` is the pause between
    looks, in seconds.
    """
    begun = time.monotonic()
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
        time.sleep(every)


def never(what: str, check: Callable[[], object], *, seconds: float, every: float = 0.1) -> None:
    """Fail as soon as `check()` is true within `seconds`. For promises of absence; use it sparingly, it
    always takes its time.
    """
    begun = time.monotonic()
    while time.monotonic() - begun < seconds:
        value = check()
        assert not value, f"must not happen: {what}; seen: {value}"
        time.sleep(every)
