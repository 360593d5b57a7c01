"""Waiting with a limit, and ending what is not waited for any more.

`asyncio.wait_for` loses a cancellation that arrives in the same instant as the result (Python 3.11 and
older). A loop that was to end then goes on, and whoever waits for its end waits for ever: seen as a launcher
that hung after its engine had refused its arguments. These two functions are built on `asyncio.wait`, which
has no such gap.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable

Result = TypeVar("Result")
INSIST_SECONDS = 0.1


async def ended(task: asyncio.Future[Any]) -> None:
    """Cancel `task` until it is done; its result or error is dropped."""
    while not task.done():
        task.cancel()
        await asyncio.wait({task}, timeout=INSIST_SECONDS)
    if not task.cancelled():
        task.exception()  # taken note of, so that nobody is warned about it


async def within(seconds: float | None, work: Awaitable[Result]) -> Result:
    """The result of `work`, which has ended in any case when this returns.

    Raises asyncio.TimeoutError when there is none after `seconds`.
    """
    task = asyncio.ensure_future(work)
    try:
        done, _ = await asyncio.wait({task}, timeout=seconds)
        if not done:
            raise asyncio.TimeoutError
        return task.result()
    finally:
        if not task.done():
            await ended(task)
