"""Prometheus and promtool: those of the machine, else Debian's, unpacked into the cache.

Rules are only tested when the program that will evaluate them has evaluated them, so the tests run the real
one. It is not installed: its package would bring a service, a user and a web front end of which nobody here
wants anything, and both programs are single files that need nothing but the C library.
"""

import shutil
from pathlib import Path

from e2e.cluster import debian

PACKAGE = "prometheus"


def prometheus() -> Path:
    """Return the server. StepFailedError says what to install where it cannot be had."""
    return _program("prometheus")


def promtool() -> Path:
    """Return promtool, which checks and tests rules. StepFailedError as of `prometheus`."""
    return _program("promtool")


def _program(name: str) -> Path:
    installed = shutil.which(name)
    return Path(installed) if installed else debian.unpacked(PACKAGE) / "usr" / "bin" / name
