"""A registry of charts and images on loopback, for tests that push and pull.

The program beside this file (one Go file around a library's handler) is built once per user and set of
inputs, in seconds where the cluster's programs have been built before, and kept in the cache. It keeps
everything in memory, takes a free port and ends with whoever started it, so any number may run:

    with Registry() as registry:
        helm("push", archive, f"oci://{registry.address}/charts", "--plain-http")
"""

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType

from e2e.cluster.build import find_go
from e2e.cluster.locking import build_lock
from e2e.cluster.paths import CACHE, LOGS
from e2e.cluster.progress import StepFailedError, run_logged, say

SOURCE = Path(__file__).resolve().parent
_SECONDS = 60.0


def build() -> Path:
    """Return the program, built if this checkout's is not in the cache. StepFailedError names the log."""
    digest = hashlib.sha256()
    for name in ("go.mod", "go.sum", "main.go"):
        digest.update((SOURCE / name).read_bytes())
    program = CACHE / "registry" / digest.hexdigest()[:16]
    with build_lock("registry"):
        if not program.exists():
            program.parent.mkdir(parents=True, exist_ok=True)
            say("building the registry for tests")
            with tempfile.TemporaryDirectory(dir=program.parent, prefix=".building-") as temporary:
                made = Path(temporary) / "registry"
                # As e2e.cluster.build does, so that what both need is compiled once.
                command = [find_go(), "build", "-trimpath", "-ldflags", "-s -w", "-o", str(made), "."]
                environment = {**os.environ, "CGO_ENABLED": "0"}
                run_logged("building", command, LOGS / "registry.log", cwd=SOURCE, env=environment)
                for old in program.parent.glob("[0-9a-f]*"):
                    old.unlink()
                made.rename(program)
    return program


class Registry:
    """The running program: an attribute `address` (HOST:PORT) once entered, `log` with what it was asked."""

    address: str

    def __enter__(self) -> "Registry":
        program = build()
        self._folder = Path(tempfile.mkdtemp(prefix="torpor-registry-"))
        with (self._folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [str(program)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True
            )
        assert self._process.stdout
        self.address = self._process.stdout.readline().strip()
        if not self.address:
            told = self.log()
            self.stop()
            raise StepFailedError(f"the registry did not start: {told}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def log(self) -> str:
        """Return the requests so far, a line for each."""
        return (self._folder / "log").read_text()

    def stop(self) -> None:
        """End it. What was pushed is gone."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        try:
            self._process.wait(_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        shutil.rmtree(self._folder, ignore_errors=True)
