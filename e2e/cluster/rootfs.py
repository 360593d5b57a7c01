"""The base images: Debian with Python, made by debootstrap where no registry of images can be reached.

The public images build on `python:3.11-slim-bookworm`, and what they compile on `python:3.11-bookworm`. These
are their stand-ins with the same interpreter version and C library, and nothing that a container of ours uses
comes from elsewhere.
"""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from e2e.cluster import debian
from e2e.cluster.locking import build_lock
from e2e.cluster.mounts import unmount_below
from e2e.cluster.oci import Image, Layer, image, layer_from, write_archive
from e2e.cluster.paths import IMAGES, LOGS
from e2e.cluster.progress import run_logged, say

_SUITE = "bookworm"
_RECIPE = 1  # raise it when the same inputs should give something else
# Without a use in a container, or only for installing more packages.
_TRIM = (
    "usr/share/doc/*", "usr/share/man/*", "usr/share/locale/*", "usr/share/info/*", "usr/share/i18n/*",
    "usr/share/lintian/*", "var/lib/apt/lists/*", "var/cache/apt/*", "var/cache/debconf/*-old",
    "var/log/*.log",
    "var/log/apt/*", "usr/lib/python3.11/ensurepip", "usr/lib/python3.11/idlelib",
    "usr/lib/python3.11/lib2to3",
    "usr/share/python-wheels/*", "dev/*", "proc/*", "sys/*", "var/lib/dpkg/*-old",
)  # fmt: skip


class Base(NamedTuple):
    """An image of Debian packages. `kind` names it on this machine."""

    kind: str
    packages: tuple[str, ...]

    @property
    def name(self) -> str:
        """The image's name."""
        return f"localhost/torpor-{self.kind}:{_SUITE}"

    @property
    def key(self) -> str:
        """What tells one content from another."""
        return hashlib.sha256(f"{_RECIPE}{_SUITE}{self.packages}{_TRIM}".encode()).hexdigest()[:12]


BASE = Base("base", ("python3", "ca-certificates"))
# With a compiler: what Dockerfiles call BUILD_BASE. Python's headers and a C library to compile against.
BUILD = Base("build", (*BASE.packages, "gcc", "libc6-dev", "libpython3.11-dev"))


def base_image(base: Base = BASE) -> Image:
    """Return a base image, making it if it is not in the cache (about a minute)."""
    folder = IMAGES / f"{base.kind}-{base.key}"
    with build_lock(f"{base.kind}-image"):
        if not (folder / "archive.tar").exists():
            _make(base, folder)
    digest, size = (folder / "layer.digest").read_text().split()
    return _image(base, Layer(digest, int(size), folder / "layer.tar"))


def archive(base: Base = BASE) -> Path:
    """Return a base image as an OCI archive."""
    layer = base_image(base).layers[0]
    assert isinstance(layer.source, Path)
    return layer.source.with_name("archive.tar")


def _image(base: Base, layer: Layer) -> Image:
    return image(
        base.name,
        [layer],
        {"Cmd": ["python3"], "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]},
    )


def _make(base: Base, folder: Path) -> None:
    debian.ensure(debian.IMAGE_PARTS)
    IMAGES.mkdir(parents=True, exist_ok=True)
    for old in IMAGES.glob(f".{base.kind}-*"):
        remove_tree(old)
    log = LOGS / f"debootstrap-{base.kind}.log"
    say(f"making the {base.kind} image from Debian {_SUITE} packages ({log})")
    temporary = Path(tempfile.mkdtemp(dir=IMAGES, prefix=f".{base.kind}-"))
    try:
        root = temporary / "root"
        command = [
            "debootstrap", "--variant=minbase", f"--include={','.join(base.packages)}", _SUITE, str(root),
        ]  # fmt: skip
        if mirror := os.environ.get("TORPOR_DEBIAN_MIRROR"):
            command.append(mirror)
        seconds = run_logged("debootstrap", command, log)
        trim(root, _TRIM)
        made = temporary / "image"
        made.mkdir()
        layer = layer_from([(root, "/")], made / "layer.tar")
        (made / "layer.digest").write_text(f"{layer.digest} {layer.size}")
        with (made / "archive.tar").open("wb") as target:
            write_archive(_image(base, layer), target)
        remove_tree(folder)
        made.rename(folder)
        made_before = sorted(IMAGES.glob(f"{base.kind}-*"), key=lambda path: path.stat().st_mtime)
        for old in made_before[:-2]:
            remove_tree(old)
        say(f"made the {base.kind} image ({seconds:.0f} s, {layer.size >> 20} MiB)")
    finally:
        remove_tree(temporary)


def trim(root: Path, patterns: Iterable[str]) -> None:
    """Delete what matches below `root`."""
    for pattern in patterns:
        for path in root.glob(pattern):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()


def remove_tree(folder: Path) -> None:
    """Delete a directory in which a program that was killed may have left something mounted."""
    unmount_below(folder)
    shutil.rmtree(folder, ignore_errors=True)
