"""Talk to the cluster's containerd through `ctr`: images in, containers out.

Images live in the cache and survive `down`, so what is imported once is there at the next start. Containers
do not: a cluster begins and ends without any.
"""

import contextlib
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from e2e.cluster.oci import Image, image, layer_of_file, write_archive
from e2e.cluster.paths import CONTAINERD_SOCKET, PAUSE_IMAGE
from e2e.cluster.progress import StepFailedError, output_of, say

_CTR = ["ctr", "--address", str(CONTAINERD_SOCKET), "--namespace", "k8s.io"]
_COLLECTED = "does not exist: not found"  # what ctr says of a layer that went away under it
_TRIES = 4
T = TypeVar("T")


def answers() -> bool:
    """Say whether containerd answers on its socket."""
    return CONTAINERD_SOCKET.exists() and bool(output_of([*_CTR, "version"], check=False, timeout=10))


def images() -> dict[str, str]:
    """Return the digest of every image by its name; empty while containerd does not run."""
    found = {}
    for line in output_of([*_CTR, "images", "list"], check=False).splitlines()[1:]:
        words = line.split()
        if len(words) > 2 and not words[0].startswith("sha256:"):
            found[words[0]] = words[2]
    return found


def load(archive: Path) -> list[str]:
    """Import an image archive (OCI or `docker save`) and return the lines that `ctr` says about it."""
    if not archive.is_file():
        raise StepFailedError(f"{archive}: no such file; give the path of an image archive")
    command = [*_CTR, "images", "import", "--digests=false", str(archive)]
    said = _again_if_collected(lambda: output_of(command, timeout=900))
    return [line for line in said.splitlines() if line.strip()]


def load_image(made: Image) -> bool:
    """Stream an image into containerd unless this very one is there; say whether it was imported."""
    if images().get(made.name) == made.digest:
        return False
    try:
        _again_if_collected(lambda: _stream(made))
    except StepFailedError:
        # the name may stand already, for an image without all its layers, and would be believed next time
        output_of([*_CTR, "images", "remove", made.name], check=False)
        raise
    return True


def _again_if_collected(importing: Callable[[], T]) -> T:
    """Import, and do so again where containerd's garbage collector took a layer meanwhile.

    A new image takes over the name of the old one before its layers are unpacked, and what only the old one
    held is collected in between, the layers that both share among it (containerd issue 10835). The next try
    finds them gone and unpacks them.
    """
    for _ in range(_TRIES - 1):
        try:
            return importing()
        except StepFailedError as error:
            if _COLLECTED not in str(error):
                raise
            say("a layer was collected while an image was unpacked; importing it again")
    return importing()


def _stream(made: Image) -> None:
    command = [*_CTR, "images", "import", "-"]
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=said, stderr=subprocess.STDOUT)
        assert process.stdin
        with contextlib.suppress(BrokenPipeError), process.stdin:  # then the status below tells why
            write_archive(made, process.stdin)
        if process.wait():
            said.seek(0)
            raise StepFailedError(
                f"importing {made.name}: {said.read().decode(errors='replace').strip()[-800:]}"
            )


def remove_containers() -> None:
    """End and remove every container, running or not."""
    containers = output_of([*_CTR, "containers", "list", "-q"], check=False).split()
    if containers:
        output_of([*_CTR, "tasks", "delete", "--force", *containers], check=False, timeout=60)
    forget_containers()


def forget_containers() -> None:
    """Remove the records of containers that a killed run left, with their snapshots."""
    containers = output_of([*_CTR, "containers", "list", "-q"], check=False).split()
    if containers:
        output_of([*_CTR, "containers", "delete", *containers], check=False, timeout=120)


def ensure_pause(binaries: Path) -> None:
    """Import the pause image, one static file, unless this very one is there."""
    layer = layer_of_file("/pause", (binaries / "pause").read_bytes(), 0o755)
    load_image(image(PAUSE_IMAGE, [layer], {"Entrypoint": ["/pause"], "User": "65535:65535"}))
