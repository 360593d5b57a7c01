"""The gateway with its data path compiled, in the cache: what its image carries, for this interpreter.

Tests on real sockets and the benches have to meet what is shipped, and that is not the checkout: the image's
gateway is compiled. Here the same compilation is made once for each state of the sources and put beside a
copy of them, which somebody in front of the checkout on PYTHONPATH runs. Where there is no C compiler, or the
interpreter came without its headers, this says so and the checkout is tested as it is; the scenarios test the
image in any case.

    python -m e2e.cluster.native

prints the folder, or nothing.
"""

import hashlib
import os
import shutil
import sys
import sysconfig
import tempfile
from importlib import metadata
from pathlib import Path

from e2e.cluster.locking import build_lock
from e2e.cluster.paths import CACHE, LOGS, REPOSITORY
from e2e.cluster.progress import run_logged, say

_COMPILE = REPOSITORY / "runtime" / "native" / "compile.py"
_PACKAGES = (
    REPOSITORY / "operator" / "src" / "torpor",
    REPOSITORY / "runtime" / "src" / "torpor_gateway",
)
_KEEP = 4


def tree() -> Path | None:
    """Return a folder for PYTHONPATH with the compiled gateway; None, and why on stderr, where there is none.

    Raises StepFailedError where the compiler refuses the sources.
    """
    lacking = _lacking()
    if lacking:
        say(f"the gateway's data path is not compiled: {lacking}. It runs from its sources")
        return None
    folder = CACHE / "native" / _key()
    with build_lock("native"):
        if not folder.exists():
            _make(folder)
    os.utime(folder)
    for old in sorted(folder.parent.iterdir(), key=lambda path: path.stat().st_mtime)[:-_KEEP]:
        shutil.rmtree(old, ignore_errors=True)
    return folder


def _lacking() -> str:
    """Return what is missing for compiling, "" if nothing is."""
    compiler = (os.environ.get("CC") or str(sysconfig.get_config_var("CC") or "cc")).split()[0]
    if not shutil.which(compiler):
        return f"there is no C compiler ({compiler}; Debian's package is gcc)"
    header = Path(sysconfig.get_path("include")) / "Python.h"
    if not header.exists():
        return f"{sys.executable} came without its headers ({header}; Debian's package is python3-dev)"
    return ""


def _key() -> str:
    digest = hashlib.sha256(f"{sys.version}{metadata.version('mypy')}".encode())
    digest.update(_COMPILE.read_bytes())
    for package in _PACKAGES:
        for file in sorted(package.rglob("*.py")):
            digest.update(f"{file.relative_to(package)}\0".encode() + file.read_bytes())
    return digest.hexdigest()[:16]


def _make(folder: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    log = LOGS / "native.log"
    say(f"compiling the gateway's data path ({log})")
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".made-") as temporary:
        made = Path(temporary) / "tree"
        for package in _PACKAGES:
            shutil.copytree(package, made / package.name, ignore=shutil.ignore_patterns("__pycache__"))
        seconds = run_logged("compiling", [sys.executable, _COMPILE, made], log, cwd=REPOSITORY)
        made.rename(folder)
    say(f"compiled ({seconds:.0f} s)")


if __name__ == "__main__":
    found = tree()
    if found is not None:
        print(found)
