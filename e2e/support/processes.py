"""The processes behind a container: to kill them the way a crash does, and to weigh them.

Deleting a pod with grace 0 still lets the kubelet send SIGTERM first, and a program that tidies up on
SIGTERM would look crash-proof without being it. On the local cluster the containers are processes of this
host, so they are found by the container's id in their control group and killed by number. On other
clusters deletion with grace 0 has to do.
"""

import os
import signal
from pathlib import Path

from e2e.support.kube import Cluster, Object


def of_container(pod: Object, container: str) -> list[int]:
    """The host's process numbers of one container; empty where it does not run, or not on this host."""
    for status in pod["status"].get("containerStatuses", []):
        identity = (status.get("containerID") or "").removeprefix("containerd://")
        if status["name"] == container and identity:
            pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
            return [pid for pid in pids if identity in _read(pid, "cgroup")]
    return []


def resident_bytes(pod: Object, container: str) -> int | None:
    """What the processes of a container keep in memory, shared libraries included; None where they cannot
    be seen.
    """
    sizes = [
        int(line.split()[1]) * 1024
        for pid in of_container(pod, container)
        for line in _read(pid, "status").splitlines()
        if line.startswith("VmRSS:")
    ]
    return sum(sizes) if sizes else None


def kill_container(cluster: Cluster, pod: Object, container: str) -> str:
    """Kill every process of one container; returns in words what was done. Raises LookupError where there
    is none.
    """
    name, namespace = pod["metadata"]["name"], pod["metadata"]["namespace"]
    if cluster.context != "torpor-local":
        cluster.delete("pods", name, namespace, grace=0)
        return f"deleted {name} with grace 0"
    pids = of_container(pod, container)
    if not pids:
        raise LookupError(f"{name}: no process of container {container}")
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    return f"killed processes {pids} of {name}"


def _read(pid: int, file: str) -> str:
    try:
        return Path(f"/proc/{pid}/{file}").read_text()
    except OSError:
        return ""
