"""The cluster of scenarios, demonstration and benches: the local one unless another of ours is named.

Everything goes through the commands a developer types (`python -m e2e.cluster ...`), so that there is one
way to bring a cluster up. Images are built while the cluster starts and are loaded when both are there;
what is unchanged costs seconds. On a cluster that is named the images are the caller's business, because
only the caller knows how it got them.
"""

import json
import shutil
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from e2e.cluster import paths
from e2e.cluster.images import DOCKERFILES, input_hash
from e2e.support.kube import Cluster

ROOT = Path(__file__).resolve().parents[2]
IMAGES = ("operator", "gateway", "engine", "vllm")
_HELD: list[socket.socket] = []  # the claim on the cluster, while this process has it


@dataclass(frozen=True)
class Machine:
    """A cluster that is up, with the images in it, and the path of helm."""

    cluster: Cluster
    helm: str
    builds: dict[str, str]  # image to hash of what it was built from; empty where the images are the caller's


def prepare(
    kubeconfig: str | None = None,
    context: str | None = None,
    *,
    images: tuple[str, ...] = IMAGES,
    say: TextIO | None = None,
) -> Machine:
    """The named cluster, or the local one with `images` built from this checkout; progress goes to `say`.

    Raises CalledProcessError where a step fails (it said why), ForeignContextError for a cluster not ours.
    """
    builds: dict[str, str] = {}
    _claim(say or sys.stderr)
    if kubeconfig is None:
        with subprocess.Popen(_command("image", *images), cwd=ROOT, stdout=say or sys.stdout) as building:
            try:
                _run("up", say=say)
            except BaseException:
                building.terminate()  # nobody wants images without a cluster
                raise
        if building.returncode:
            raise subprocess.CalledProcessError(building.returncode, building.args)
        _run("image", *images, "--load", say=say)
        builds = {name: input_hash(name) for name in images if name in DOCKERFILES}
    return attach(kubeconfig, context, builds)


def attach(kubeconfig: str | None, context: str | None, builds: dict[str, str]) -> Machine:
    """The named cluster, or the local one, as another process of this session has prepared it."""
    cluster = Cluster(Path(kubeconfig or paths.KUBECONFIG), context or paths.NAME, _program("kubectl"))
    return Machine(cluster, _program("helm"), builds)


def advertise_gpus(cluster: Cluster, count: int = 16) -> None:
    """Let the node offer GPUs that do not exist, enough that pods on their way out keep nobody waiting.

    A status patch is Kubernetes' own way to announce a resource that no device plugin knows.
    """
    node = cluster.list("nodes")[0]["metadata"]["name"]
    offer = {"nvidia.com/gpu": str(count)}
    cluster.patch("nodes", node, {"status": {"capacity": offer, "allocatable": offer}}, sub="status")


def _claim(say: TextIO) -> None:
    """Take the cluster for this process until it ends; waits while another session has it.

    There is one release, one tag of each image and one node: two sessions would test each other's builds. The
    claim is a name in the abstract socket namespace, so it dies with its holder and leaves no file behind.
    """
    if _HELD:
        return
    told = False
    while True:
        holder = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            holder.bind(f"\0{paths.NAME}-session")
        except OSError:
            holder.close()
            if not told:
                print("another session uses the cluster; waiting for its end", file=say, flush=True)
                told = True
            time.sleep(1)
            continue
        _HELD.append(holder)
        return


def release() -> None:
    """Give the cluster back; the end of the process does the same."""
    while _HELD:
        _HELD.pop().close()


def down() -> None:
    """Take the local cluster down."""
    _run("down")


def image_sizes() -> dict[str, int]:
    """Bytes of each image as a compressed OCI archive, base included; empty where none was built here."""
    done = subprocess.run(
        _command("image", "sizes", "--json"), cwd=ROOT, capture_output=True, text=True, check=False
    )
    told = json.loads(done.stdout) if done.returncode == 0 else {}
    return {name: size["compressedBytes"] for name, size in told.items() if name in DOCKERFILES}


def _program(name: str) -> str:
    ours = paths.BIN / name
    found = str(ours) if ours.exists() else shutil.which(name)
    if not found:
        raise FileNotFoundError(f"{name} is neither in {paths.BIN} nor in PATH; `make cluster` builds it")
    return found


def _command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "e2e.cluster", *arguments]


def _run(*arguments: str, say: TextIO | None = None) -> None:
    sys.stdout.flush()
    subprocess.run(_command(*arguments), cwd=ROOT, check=True, stdout=say or sys.stdout)
