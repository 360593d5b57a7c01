"""The one place where Python becomes machine code.

The fast simulator is ordinary Python over numpy arrays, compiled by numba in nopython mode. Compiling takes
seconds, so the result is kept in the user's cache directory and never beside the sources. numba notices a
changed function by its own file alone, not by those it calls, so the directory is named after the text of all
kernels and the versions that made it. Only what simulates whole fleets imports this; neither the operator,
the gateway nor the simulated engine has numba.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numba
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

F = TypeVar("F", bound="Callable[..., Any]")

KERNELS = (
    "compiled.py",
    "prefix_kernel.py",
    "cache_kernel.py",
    "replica_kernel.py",
    "fleet_kernel.py",
    "judged.py",
)


def _cache_directory() -> str:
    text = hashlib.sha256(f"{numba.__version__} {np.__version__}".encode())
    for name in KERNELS:
        text.update((Path(__file__).parent / name).read_bytes())
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return str(base / "torpor" / "numba" / text.hexdigest()[:16])


if not getattr(numba.config, "CACHE_DIR", ""):
    setattr(numba.config, "CACHE_DIR", _cache_directory())  # noqa: B010 - numba makes its settings at run time


# Without reference counts: numba would count every array up and down at every call, which took more time than
# the simulation itself. So a kernel can allocate nothing, and whoever calls one holds its arrays. Without
# checks for divisors that are zero: none is.
_OPTIONS: dict[str, Any] = {"cache": True, "_nrt": False, "error_model": "numpy"}


def compiled(function: F) -> F:
    """Compile `function` on its first call for the types it is called with."""
    return cast("F", numba.njit(**_OPTIONS)(function))


def inlined(function: F) -> F:
    """Compile `function` into whoever calls it: for what every event goes through and few places call. Tuples
    and arrays come apart at a call, so it would hand over some fifty numbers.
    """
    return cast("F", numba.njit(**_OPTIONS, forceinline=True)(function))
