"""What a check is, and what checks have in common."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from e2e.support.waiting import until

if TYPE_CHECKING:
    from e2e.conformance.site import Site, Work

Body = Callable[["Site"], "Awaitable[None] | None"]


@dataclass(frozen=True)
class Check:
    """One feature of one client library.

    recorded: its requests are on the tape, under its name. simulated: the simulated engine does what a vLLM
    of this model does not.
    """

    name: str
    client: str
    feature: str
    body: Body
    recorded: bool
    simulated: bool

    def run(self, site: Site) -> None:
        """Run it. Raises AssertionError, or what the library raises."""
        if inspect.iscoroutinefunction(self.body):
            asyncio.run(self.body(site))
        else:
            self.body(site)


CHECKS: list[Check] = []


def check(
    client: str, feature: str, *, recorded: bool = False, simulated: bool = False
) -> Callable[[Body], Body]:
    """Put a function into the list of checks."""

    def register(body: Body) -> Body:
        name = getattr(body, "__name__", "")
        assert all(other.name != name for other in CHECKS), f"two checks are called {name}"
        CHECKS.append(Check(name, client, feature, body, recorded, simulated))
        return body

    return register


def mark(name: str, **more: str) -> dict[str, str]:
    """The headers that find the answers of a check on the tape; `pace` and `cut` as the tape has them."""
    return {"x-check": name, **{f"x-{key}": value for key, value in more.items()}}


def error_of(call: Callable[[], Any]) -> Any:
    """The exception that `call` ends with. Raises AssertionError when it does not."""
    try:
        result = call()
    except Exception as error:
        return error
    raise AssertionError(f"no error: {result!r}")


async def error_of_async(call: Awaitable[Any]) -> Any:
    """The same of an awaitable."""
    try:
        result = await call
    except Exception as error:
        return error
    raise AssertionError(f"no error: {result!r}")


def name_of(error: BaseException) -> str:
    """The class of an exception, without its module."""
    return type(error).__name__


def running(work: Callable[[], Work]) -> None:
    """Wait until the engine runs something."""
    until("the engine works", lambda: work().running > 0)


def stopped(work: Callable[[], Work], before: Work) -> None:
    """Wait until the engine has stopped what it ran since `before`, and see that it did not finish it."""
    until("the engine has stopped", lambda: work().running == 0)
    assert work().finished == before.finished, "the engine worked to the end for a client that had left"


def retried_after(began: float, seconds: float) -> None:
    """See that a client came back no earlier than told. Its own first back-off is half a second or less."""
    assert time.monotonic() - began >= seconds
