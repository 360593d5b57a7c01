"""The images of this checkout, built from its Dockerfiles and loaded into the node only when they changed.

buildah runs the same Dockerfiles that a registry's builds use, on a base made of Debian packages. Its layer
cache keeps the dependencies apart, so that a change of the sources costs seconds; a hash of what goes in
decides whether it runs at all. The vLLM image is gigabytes and has no build step, so it is put together from
directories without a builder.
"""

import gzip
import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Iterable
from pathlib import Path

from e2e.cluster import containerd, debian, python_tools, rootfs, vllm_env
from e2e.cluster.locking import build_lock
from e2e.cluster.oci import Image, image, layer_from, layer_of_file
from e2e.cluster.paths import CACHE, HERE, IMAGES, LOGS, REPOSITORY
from e2e.cluster.progress import StepFailedError, run_logged, say

DOCKERFILES = {
    "operator": "operator/Dockerfile",
    "gateway": "runtime/Dockerfile.gateway",
    "engine": "runtime/Dockerfile.engine",
}
SOURCES = {
    "operator": ("operator/src/torpor",),
    "gateway": (
        "operator/src/torpor/__init__.py", "operator/src/torpor/api", "operator/src/torpor/dispatch",
        "runtime/src/torpor_gateway", "runtime/native", "locks/native.txt",
    ),
    "engine": (
        "operator/src/torpor/__init__.py", "operator/src/torpor/simulate", "runtime/src/torpor_sim",
        "runtime/src/torpor_engine",
    ),
}  # fmt: skip
BASES = {"operator": (rootfs.BASE,), "gateway": (rootfs.BASE, rootfs.BUILD), "engine": (rootfs.BASE,)}
VLLM_NAME = f"localhost/torpor-vllm-cpu:{vllm_env.VERSION}"
# The guard matters: worker processes import this file again.
_VLLM_SCRIPT = b"""#!/usr/bin/python3
import sys
from vllm.entrypoints.cli.main import main
if __name__ == "__main__":
    sys.exit(main())
"""
_VLLM_CONFIG = {
    "Entrypoint": ["vllm", "serve"],
    "Env": [
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "VLLM_CPU_KVCACHE_SPACE=1",
        "VLLM_NO_USAGE_STATS=1", "HF_HUB_OFFLINE=1",
    ],
}  # fmt: skip
_MOST_LAYERS = 400  # a few megabytes each
_NUMA = Path(debian.VLLM_PARTS["libnuma1"])


def command(names: Iterable[str], *, load: bool, as_json: bool) -> None:
    """Build (and load) the named images, those that are independent side by side; or print the sizes."""
    wanted = list(dict.fromkeys(names))
    if wanted == ["sizes"]:
        print_sizes(as_json=as_json)
        return
    if "all" in wanted:
        wanted = ["operator", "gateway", "engine", "vllm"]
    if load and not containerd.answers():
        raise StepFailedError(
            "the node is not running, so nothing can be loaded into it; `python3 -m e2e.cluster up` first"
        )
    failures: list[BaseException] = []

    def vllm() -> None:
        try:
            build_vllm(load=load)
        except BaseException as error:
            failures.append(error)

    beside = threading.Thread(target=vllm, daemon=True)
    if "vllm" in wanted:
        beside.start()
    rootfs.base_image()
    for name in wanted:
        if name in DOCKERFILES:
            archive = build(name)
            if load:
                _load_archive(tag(name), archive)
    if "vllm" in wanted:
        beside.join()
    if failures:
        raise failures[0]


def tag(name: str) -> str:
    """Return the name under which the node knows an image of this checkout."""
    return f"localhost/torpor-{name}:dev"


def input_hash(name: str) -> str:
    """Return the hash of everything that goes into an image of this checkout."""
    bases = "".join(rootfs.base_image(base).digest for base in BASES[name])
    return sources_hash(bases, (DOCKERFILES[name], f"locks/{name}.txt", *SOURCES[name]))


def sources_hash(beside: str, sources: Iterable[str]) -> str:
    """Return the hash of files and folders of this checkout, and of what else counts `beside` them."""
    digest = hashlib.sha256(beside.encode())
    for source in sources:
        path = REPOSITORY / source
        inside = sorted(p for p in path.rglob("*") if p.is_file() and "__pycache__" not in p.parts)
        for file in inside or [path]:
            digest.update(
                f"{file.relative_to(REPOSITORY)}\0".encode() + hashlib.sha256(file.read_bytes()).digest()
            )
    return digest.hexdigest()[:16]


def build(name: str) -> Path:
    """Build one image with buildah and return its OCI archive; returns at once if nothing changed."""
    archive = IMAGES / f"{name}-{input_hash(name)}.tar"
    with build_lock("images"):
        if not archive.exists():
            _buildah(name, archive)
    os.utime(archive)
    same = sorted(IMAGES.glob(f"{name}-*.tar"), key=lambda path: path.stat().st_mtime)
    for old in same[:-2]:
        for file in (old, old.with_suffix(".digest"), old.with_suffix(".size")):
            file.unlink(missing_ok=True)
    return archive


def _buildah(name: str, archive: Path) -> None:
    began = time.monotonic()
    debian.ensure(debian.IMAGE_PARTS)
    storage = _storage()
    program = [
        "buildah", "--root", str(storage / "storage"), "--runroot", str(storage / "run"), "--storage-driver",
        "overlay",
        "--storage-opt", "overlay.skip_mount_home=true",
    ]  # fmt: skip
    log = LOGS / f"image-{name}.log"
    bases = [
        f"--build-arg={argument}={_taken_in(program, base, log)}"
        for argument, base in zip(("BASE", "BUILD_BASE"), BASES[name], strict=False)
    ]
    pip_cache, site = CACHE / "pip", python_tools.uv().parents[1] / "lib"
    pip_cache.mkdir(exist_ok=True)
    packages = next(site.glob("python3*/site-packages"))
    volumes = {
        str(pip_cache): "/root/.cache/pip",
        str(packages): "/root/.local/lib/python3.11/site-packages:ro",
    }
    volumes |= {str(_pip_settings()): "/etc/pip.conf:ro", "/etc/ssl/certs": "/etc/ssl/certs:ro"}
    temporary = archive.with_name(f".{archive.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    run_logged(
        f"building the image {name}",
        [
            *program, "bud", "--isolation", "chroot", "--network", "host", "--layers", *bases,
            *(f"--volume={source}:{target}" for source, target in volumes.items()),
            "--ignorefile", str(HERE / "containerignore"), "--timestamp", "0",
            "--tag", tag(name), "--file", DOCKERFILES[name], ".",
        ],
        log,
        cwd=REPOSITORY,
    )  # fmt: skip
    # Docker's archive format, because its layers are not compressed: that would take longer than the build.
    push = [*program, "push", tag(name), f"docker-archive:{temporary}:{tag(name)}"]
    run_logged(f"writing the image {name}", push, LOGS / f"image-{name}-push.log")
    temporary.rename(archive)
    say(f"built {tag(name)} ({time.monotonic() - began:.0f} s)")


def _taken_in(program: list[str], base: rootfs.Base, log: Path) -> str:
    """Return the name under which buildah knows a base image, after giving it to it."""
    name = f"{base.name}-{rootfs.base_image(base).digest.removeprefix('sha256:')[:12]}"
    known = subprocess.run([*program, "inspect", "--type", "image", name], capture_output=True, check=False)
    if known.returncode:
        pull = [*program, "pull", f"oci-archive:{rootfs.archive(base)}"]
        run_logged(f"taking the {base.kind} image in", pull, log)
        run_logged(f"naming the {base.kind} image", [*program, "tag", base.name, name], log)
    return name


def _storage() -> Path:
    """Return buildah's storage; it is emptied when older sources have left very many layers in it."""
    storage = CACHE / "buildah"
    layers = storage / "storage" / "overlay"
    if layers.exists() and sum(1 for _ in layers.iterdir()) > _MOST_LAYERS:
        say("emptying the image builder's storage")
        rootfs.remove_tree(storage)
    return storage


def _pip_settings() -> Path:
    """Give the build the package index that this machine's pip is told to use."""
    lines = ["[global]", "cert = /etc/ssl/certs/ca-certificates.crt"]  # this machine's, mounted beside it
    for variable, key in (
        ("PIP_INDEX_URL", "index-url"),
        ("PIP_EXTRA_INDEX_URL", "extra-index-url"),
        ("PIP_PROXY", "proxy"),
    ):
        if variable in os.environ:
            lines.append(f"{key} = {os.environ[variable]}")
    file = CACHE / "pip" / "pip.conf"
    file.write_text("\n".join(lines) + "\n")
    return file


def _load_archive(name: str, archive: Path) -> None:
    """Load an archive unless the node has the very image that it became when it was loaded before."""
    became = archive.with_suffix(".digest")
    if became.exists() and containerd.images().get(name) == became.read_text():
        return
    began = time.monotonic()
    containerd.load(archive)
    became.write_text(containerd.images()[name])
    say(f"loaded {name} into the node ({time.monotonic() - began:.0f} s)")


def build_vllm(*, load: bool) -> None:
    """Put the vLLM image together and stream it into the node; without `load` only what it is made of is
    prepared.
    """
    env = vllm_env.ensure_env()
    base = rootfs.base_image()
    key = hashlib.sha256(f"{base.digest}{env.folder.name}{_VLLM_SCRIPT!r}{_VLLM_CONFIG}".encode())
    record = IMAGES / f"vllm-{key.hexdigest()[:16]}.digest"
    if not load or (record.exists() and containerd.images().get(VLLM_NAME) == record.read_text()):
        return
    with build_lock("image-vllm"):
        began = time.monotonic()
        say(f"loading {VLLM_NAME} (2 GB) into the node")
        IMAGES.mkdir(parents=True, exist_ok=True)
        layer_file = IMAGES / "vllm-layer.tar"
        try:
            made = _vllm_image(base, env, layer_file)
            containerd.load_image(made)
        finally:
            layer_file.unlink(missing_ok=True)  # the node has it, and it is made again in seconds
        for old in IMAGES.glob("vllm-*.digest"):
            old.unlink()
        record.write_text(made.digest)
        say(f"loaded {VLLM_NAME} ({time.monotonic() - began:.0f} s)")


def _vllm_image(base: Image, env: vllm_env.VllmEnv, layer_file: Path) -> Image:
    trees = (
        (env.site_packages, "/usr/local/lib/python3.11/dist-packages"),
        (env.model, "/models/smollm2"),
        (_NUMA.resolve(), f"{_NUMA.parent}/{_NUMA.name}"),
    )
    command = layer_of_file("/usr/local/bin/vllm", _VLLM_SCRIPT, 0o755)
    return image(VLLM_NAME, [*base.layers, layer_from(trees, layer_file), command], _VLLM_CONFIG)


class _Counter(io.RawIOBase):
    """Counts what is written to it."""

    size = 0

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        length = len(data)  # type: ignore[arg-type]
        self.size += length
        return length


def compressed_size(archive: Path) -> int:
    """Return the bytes of an archive's blobs with the layers compressed as in a registry (gzip)."""
    total = 0
    with tarfile.open(archive) as tar:
        for member in tar:
            content = tar.extractfile(member) if member.isreg() else None  # links name a layer once more
            if content is None:
                continue
            counter = _Counter()
            with gzip.GzipFile(fileobj=counter, mode="wb", compresslevel=6, mtime=0) as compressing:
                while chunk := content.read(1 << 20):
                    compressing.write(chunk)
            total += counter.size
    return total


def print_sizes(*, as_json: bool) -> None:
    """Print the size of the newest image of each name, compressed as in a registry and unpacked."""
    sizes = {}
    for name in DOCKERFILES:
        archives = sorted(IMAGES.glob(f"{name}-*.tar"), key=lambda path: path.stat().st_mtime)
        if archives:
            known = archives[-1].with_suffix(".size")
            if not known.exists():
                known.write_text(str(compressed_size(archives[-1])))
            sizes[name] = {
                "compressedBytes": int(known.read_text()),
                "uncompressedBytes": archives[-1].stat().st_size,
                "current": archives[-1].name == f"{name}-{input_hash(name)}.tar",
            }
    if as_json:
        print(json.dumps(sizes))
        return
    for name, size in sizes.items():
        stale = "" if size["current"] else " (the sources have changed since)"
        compressed, plain = (size[key] / 1e6 for key in ("compressedBytes", "uncompressedBytes"))
        print(f"{tag(name)}: {compressed:.0f} MB compressed, {plain:.0f} MB unpacked{stale}")
    if not sizes:
        print("no image has been built yet", file=sys.stderr)
