"""Where things are and what they are called.

Two kinds of places: the cache (per user, survives `down`, safe to delete whenever no cluster runs) and the
state of the running cluster (one per machine, because a bridge, a node address and control groups exist once
per machine too). None is in the checkout, so a second checkout finds and cleans up what the first one left.
"""

import os
from pathlib import Path

NAME = "torpor-local"  # of the cluster, its kubeconfig context, its node and its control group
KUBERNETES_VERSION = "v1.37.1"
HELM_VERSION = "v4.3.1"

REPOSITORY = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "torpor"
BIN = CACHE / "bin"  # kubectl, helm and the components, as links to the current build
BINARY = BIN / "torpor-kubernetes"
PAUSE = BIN / "pause"
BUILDS = CACHE / "builds"
LOGS = CACHE / "logs"  # of builds
IMAGES = CACHE / "images"
NODE = CACHE / "node"  # containerd's content and snapshots: images stay imported while the cluster is down

STATE = Path("/var/lib/torpor-cluster")  # on disk: pods' volumes can be large, and /run is often noexec
RUN = Path(
    "/run/torpor-cluster"
)  # sockets and mounts; a short path, because socket names have a limit of 107 bytes
KUBECONFIG = STATE / "kubeconfig"
CONTAINERD_SOCKET = RUN / "containerd.sock"

BRIDGE = "torpor0"
NODE_IP = "10.213.0.1"
POD_CIDR = "10.213.0.0/22"
SERVICE_CIDR = "10.214.0.0/20"
SERVICE_IP = "10.214.0.1"
API_PORT = 16443
PAUSE_IMAGE = "localhost/torpor-pause:1"


def ensure_private(path: Path) -> Path:
    """Create a directory that only its owner can read, with its parents; return it."""
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    return path
