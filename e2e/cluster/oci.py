"""Image archives without a builder: layers that are tar files, a manifest, and a tar around them.

For an image that is a directory of gigabytes a builder copies it into its storage, copies it out into an
archive, and compresses it on the way. None of that helps an image that never leaves the machine: here the
layer is written once and streamed to containerd. Layers are reproducible (sorted, owner root, times at the
epoch), so an unchanged directory gives an unchanged digest and is not imported twice.
"""

import hashlib
import io
import json
import os
import stat
import tarfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

_INDEX = "application/vnd.oci.image.index.v1+json"
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_CONFIG = "application/vnd.oci.image.config.v1+json"
_LAYER = "application/vnd.oci.image.layer.v1.tar"


@dataclass(frozen=True)
class Layer:
    """An uncompressed layer: the hash of its tar (hex), its size in bytes, and the tar as bytes or a file."""

    digest: str
    size: int
    source: bytes | Path


@dataclass(frozen=True)
class Image:
    """Everything of an image but its layers: the manifest's digest and the small blobs by digest."""

    name: str
    digest: str
    blobs: dict[str, bytes]
    layers: tuple[Layer, ...]


class _Hashing(io.RawIOBase):
    """A file that hashes what is written to it."""

    def __init__(self, target: IO[bytes]) -> None:
        self.target, self.hash, self.size = target, hashlib.sha256(), 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.hash.update(data)
        self.size += len(data)
        return self.target.write(data)


def layer_from(trees: Iterable[tuple[Path, str]], target: Path) -> Layer:
    """Write `target` as a layer that has each directory (or file) under the given path of the image."""
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    with temporary.open("wb") as file:
        hashing = _Hashing(file)
        with tarfile.open(fileobj=hashing, mode="w|", format=tarfile.GNU_FORMAT, bufsize=1 << 20) as tar:
            for source, place in trees:
                _add(tar, source, place.strip("/"))
    temporary.replace(target)
    return Layer(hashing.hash.hexdigest(), hashing.size, target)


def layer_of_file(place: str, content: bytes, mode: int = 0o644) -> Layer:
    """Return a layer, in memory, of a single file."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as tar:
        entry = tarfile.TarInfo(place.strip("/"))
        entry.size, entry.mode = len(content), mode
        tar.addfile(entry, io.BytesIO(content))
    data = buffer.getvalue()
    return Layer(hashlib.sha256(data).hexdigest(), len(data), data)


def _add(tar: tarfile.TarFile, source: Path, place: str) -> None:
    entries = [source]
    if source.is_dir() and not source.is_symlink():
        entries += sorted(source.rglob("*"))
    for path in entries:
        name = place if path == source else f"{place}/{path.relative_to(source)}"
        entry = tarfile.TarInfo(name)
        status = path.lstat()
        entry.mode = stat.S_IMODE(status.st_mode) | (0o444 if not path.is_dir() else 0o555)
        if path.is_symlink():
            entry.type, entry.linkname = tarfile.SYMTYPE, str(path.readlink())
            tar.addfile(entry)
        elif path.is_dir():
            entry.type = tarfile.DIRTYPE
            tar.addfile(entry)
        elif path.is_file():
            entry.size = status.st_size
            with path.open("rb") as file:
                tar.addfile(entry, file)


def image(name: str, layers: Sequence[Layer], config: dict[str, Any]) -> Image:
    """Return the image of these layers; `config` is the OCI image configuration's `config` (Entrypoint, User,
    Env …).
    """
    described = {
        "architecture": "amd64",
        "os": "linux",
        "config": config,
        "history": [{"created_by": "e2e.cluster"} for _ in layers],  # buildah counts them against the layers
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{layer.digest}" for layer in layers]},
    }
    blobs: dict[str, bytes] = {}

    def put(media: str, content: dict[str, Any]) -> dict[str, Any]:
        data = json.dumps(content, sort_keys=True).encode()
        digest = hashlib.sha256(data).hexdigest()
        blobs[digest] = data
        return {"mediaType": media, "digest": f"sha256:{digest}", "size": len(data)}

    manifest = put(
        _MANIFEST,
        {
            "schemaVersion": 2,
            "mediaType": _MANIFEST,
            "config": put(_CONFIG, described),
            "layers": [{"mediaType": _LAYER, "digest": f"sha256:{x.digest}", "size": x.size} for x in layers],
        },
    )
    return Image(
        name, manifest["digest"], blobs | {"": json.dumps(_index(name, manifest)).encode()}, tuple(layers)
    )


def _index(name: str, manifest: dict[str, Any]) -> dict[str, Any]:
    annotations = {
        "io.containerd.image.name": name,
        "org.opencontainers.image.ref.name": name.rpartition(":")[2],
    }
    return {"schemaVersion": 2, "mediaType": _INDEX, "manifests": [manifest | {"annotations": annotations}]}


def write_archive(made: Image, target: IO[bytes]) -> None:
    """Write the image as an OCI archive to a file or a pipe."""
    with tarfile.open(fileobj=target, mode="w|", format=tarfile.GNU_FORMAT, bufsize=1 << 20) as tar:

        def add(name: str, size: int, content: IO[bytes]) -> None:
            entry = tarfile.TarInfo(name)
            entry.size = size
            tar.addfile(entry, content)

        layout = b'{"imageLayoutVersion":"1.0.0"}'
        add("oci-layout", len(layout), io.BytesIO(layout))
        for digest, data in made.blobs.items():
            add(f"blobs/sha256/{digest}" if digest else "index.json", len(data), io.BytesIO(data))
        for layer in {layer.digest: layer for layer in made.layers}.values():
            if isinstance(layer.source, bytes):
                add(f"blobs/sha256/{layer.digest}", layer.size, io.BytesIO(layer.source))
            else:
                with layer.source.open("rb") as file:
                    add(f"blobs/sha256/{layer.digest}", layer.size, file)
