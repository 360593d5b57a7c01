"""The one place where Python becomes machine code.

The fast simulator is ordinary Python over numpy arrays, compiled by numba in nopython mode. Compiling takes
seconds, so the result is kept in the user's cache directory and never beside the sources. numba notices a
changed function by its own file alone, not by those it calls, so the directory is named after the text of all
kernels and the versions that made it. Only what simulates
whole fleets imports this; neither the operator, the gateway nor the simulated engine has numba.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numba
import numpy as np
from numba.core import cgutils, types
from numba.extending import intrinsic

if TYPE_CHECKING:
    from collections.abc import Callable

F = TypeVar("F", bound="Callable[..., Any]")

KERNELS = ("compiled.py", "prefix_kernel.py", "replica_kernel.py", "fleet_kernel.py")


def _cache_directory() -> str:
    text = hashlib.sha256(f"{numba.__version__} {np.__version__}".encode())
    for name in KERNELS:
        text.update((Path(__file__).parent / name).read_bytes())
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return str(base / "torpor" / "numba" / text.hexdigest()[:16])


if not getattr(numba.config, "CACHE_DIR", ""):
    setattr(numba.config, "CACHE_DIR", _cache_directory())  # noqa: B010 - numba makes its settings at run time


@intrinsic
def _pointer(typing: Any, address: Any) -> Any:
    """A whole number as a pointer."""
    del typing

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        del context, signature
        return builder.inttoptr(arguments[0], cgutils.voidptr_t)

    return types.voidptr(address), generate


_carray: Any = getattr(numba, "carray")  # noqa: B009 - not among the names that numba's types export
_as_pointer: Any = _pointer


@numba.njit(cache=True)
def memory_at(address: int) -> Any:
    """Whole numbers (64 bits) in memory from `address` on, as an array that owns nothing and has no end.

    For what every kernel carries along and few look at: an array in a tuple costs at each call, a number does
    not. Whoever gives the address keeps the array alive.
    """
    return _carray(_as_pointer(address), (1 << 40,), np.int64)


def compiled(function: F) -> F:
    """Compile `function` on its first call for the types it is called with."""
    return cast("F", numba.njit(cache=True)(function))
