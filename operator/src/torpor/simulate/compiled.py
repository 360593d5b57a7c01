"""The one place where Python becomes machine code.

The fast simulator is ordinary Python over numpy arrays, compiled by numba in nopython mode. Compiling takes
seconds, so the result is kept in the user's cache directory and never beside the sources. Only what simulates
whole fleets imports this; neither the operator, the gateway nor the simulated engine has numba.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numba

if TYPE_CHECKING:
    from collections.abc import Callable

F = TypeVar("F", bound="Callable[..., Any]")

if not numba.config.CACHE_DIR:
    numba.config.CACHE_DIR = str(
        Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "torpor" / "numba"
    )


def compiled(function: F) -> F:
    """Compile `function` on its first call for the types it is called with."""
    made: F = numba.njit(cache=True)(function)
    return made
