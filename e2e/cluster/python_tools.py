"""Small virtual environments in the cache for the programs that Python packages bring: uv, and Go where it is
missing.
"""

import hashlib
import shutil
import sys
from pathlib import Path

from e2e.cluster import debian
from e2e.cluster.locking import build_lock
from e2e.cluster.paths import CACHE, LOGS
from e2e.cluster.progress import StepFailedError, run_logged

UV = "uv==0.13.9"


def tool_venv(name: str, packages: list[str]) -> Path:
    """Return the directory of a virtual environment that has `packages` (pinned), made if it is not there."""
    key = hashlib.sha256("\0".join([sys.version, *packages]).encode()).hexdigest()[:12]
    folder = CACHE / "tools" / f"{name}-{key}"
    with build_lock(f"tool-{name}"):
        if not (folder / ".complete").exists():
            shutil.rmtree(folder, ignore_errors=True)
            log = LOGS / f"tool-{name}.log"
            try:
                run_logged(f"making {folder}", [sys.executable, "-m", "venv", folder], log)
            except StepFailedError:
                debian.install(["python3-venv"])  # Debian splits it from Python
                run_logged(f"making {folder}", [sys.executable, "-m", "venv", "--clear", folder], log)
            run_logged(
                f"installing {' '.join(packages)}",
                [folder / "bin" / "python", "-m", "pip", "install", *packages],
                log,
            )
            (folder / ".complete").touch()
    return folder


def uv() -> Path:
    """Return the path of the `uv` program, the fast installer."""
    return tool_venv("uv", [UV]) / "bin" / "uv"
