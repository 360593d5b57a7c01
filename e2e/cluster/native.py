"""The gateway with its data path compiled, in the cache: what its image carries, for this interpreter.

Tests on real sockets and the benches have to meet what is shipped, and that is not the checkout: the image's
gateway is compiled. Here the same compilation is made once for each state of the sources and put beside a
copy of them, which somebody in front of the checkout on PYTHONPATH runs. Where there is no C compiler, or the
interpreter came without its headers, this says so and the checkout is tested as it is; the scenarios test the
image in any case.

    python -m e2e.cluster.native

prints the folder, or nothing.
"""

import os
import shutil
import sys
import sysconfig
import tempfile
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

from e2e.cluster.images import SOURCES, sources_hash
from e2e.cluster.locking import build_lock
from e2e.cluster.paths import CACHE, LOGS, REPOSITORY
from e2e.cluster.progress import run_logged, say

_COMPILE = REPOSITORY / "runtime" / "native" / "compile.py"
_PACKAGES = ("operator/src/torpor", "runtime/src/torpor_gateway")
_FOLDER = CACHE / "native"
_KEEP = 4


def tree() -> Path | None:
    """Return a folder for PYTHONPATH with the compiled gateway; None, and why on stderr, where there is none.

    Raises StepFailedError where the compiler refuses the sources.
    """
    lacking = _lacking()
    if lacking:
        say(f"the gateway's data path is not compiled: {lacking}. It runs from its sources")
        return None
    interpreter = f"{sys.version}{metadata.version('mypy')}"
    # An operator's module makes another tree, and nothing has to be compiled for it.
    compiled = _FOLDER / f"compiled-{sources_hash(interpreter, SOURCES['gateway'])}"
    whole = _FOLDER / f"tree-{sources_hash(compiled.name, _PACKAGES)}"
    with build_lock("native"):
        _made(compiled, _compile)
        _made(whole, lambda folder: _assemble(folder, compiled))
    return whole


def _made(folder: Path, make: Callable[[Path], None]) -> None:
    """Have `folder` made if it is not there, whole or not at all; forget the oldest of its kind."""
    if not folder.exists():
        _FOLDER.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=_FOLDER, prefix=".made-") as temporary:
            make(Path(temporary) / "it")
            (Path(temporary) / "it").rename(folder)
    os.utime(folder)
    kind = folder.name.partition("-")[0]
    for old in sorted(_FOLDER.glob(f"{kind}-*"), key=lambda path: path.stat().st_mtime)[:-_KEEP]:
        shutil.rmtree(old, ignore_errors=True)


def _compile(folder: Path) -> None:
    log = LOGS / "native.log"
    say(f"compiling the gateway's data path ({log})")
    seconds = run_logged("compiling", [sys.executable, _COMPILE, folder], log, cwd=REPOSITORY)
    say(f"compiled ({seconds:.0f} s)")


def _assemble(folder: Path, compiled: Path) -> None:
    for package in _PACKAGES:
        source = REPOSITORY / package
        shutil.copytree(source, folder / source.name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(compiled, folder, dirs_exist_ok=True)


def _lacking() -> str:
    """Return what is missing for compiling, "" if nothing is."""
    compiler = (os.environ.get("CC") or str(sysconfig.get_config_var("CC") or "cc")).split()[0]
    if not shutil.which(compiler):
        return f"there is no C compiler ({compiler}; Debian's package is gcc)"
    header = Path(sysconfig.get_path("include")) / "Python.h"
    if not header.exists():
        return f"{sys.executable} came without its headers ({header}; Debian's package is python3-dev)"
    return ""


if __name__ == "__main__":
    found = tree()
    if found is not None:
        print(found)
