"""What the cluster changes on the machine beside processes, and how each change is taken back.

A bridge, two nftables tables, control groups, mounts, a handful of kernel settings. Every name is ours alone;
kernel settings are written down before they are changed and put back by `restore`. Taking back never fails:
what is gone already is gone.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from e2e.cluster import leftovers, render
from e2e.cluster.mounts import unmount_below
from e2e.cluster.paths import BRIDGE, NAME, NODE_IP, POD_CIDR, RUN, STATE
from e2e.cluster.progress import StepFailedError, output_of

_CGROUPS = Path("/sys/fs/cgroup")
_SYSCTLS = {
    "net/ipv4/ip_forward": "1",
    # else a reply between two pods would bypass the translation of their Service's address
    "net/bridge/bridge-nf-call-iptables": "1",
    "fs/inotify/max_user_instances": "1024",
}
_ALSO_SAVED = ("vm/overcommit_memory", "kernel/panic", "kernel/panic_on_oops")  # the kubelet sets these
_SAVED = STATE / "before.json"


def prepare() -> None:
    """Make the bridge, the control groups, network tables and kernel settings. May be called again."""
    if not Path("/proc/sys/net/bridge").exists():
        output_of(["modprobe", "br_netfilter"], check=False)
    if not Path("/proc/sys/net/bridge").exists():
        raise StepFailedError(
            "this kernel has no br_netfilter, which Services between pods need; load or build it in"
        )
    if not _SAVED.exists():
        values = {name: Path(f"/proc/sys/{name}").read_text().strip() for name in (*_SYSCTLS, *_ALSO_SAVED)}
        tables = output_of(["nft", "list", "tables"]).splitlines()
        _SAVED.write_text(json.dumps({"sysctls": values, "tables": tables}))
    for name, value in _SYSCTLS.items():
        _set(name, value, at_least=name.startswith("fs/"))
    if not Path(f"/sys/class/net/{BRIDGE}").exists():
        output_of(["ip", "link", "add", BRIDGE, "type", "bridge"])
    output_of(["ip", "address", "replace", f"{NODE_IP}/{POD_CIDR.rpartition('/')[2]}", "dev", BRIDGE])
    output_of(["ip", "link", "set", BRIDGE, "up"])
    subprocess.run(["nft", "-f", "-"], input=render.masquerade(), text=True, check=True, timeout=30)
    for group in cgroups():
        group.mkdir(exist_ok=True)
        for name in ("cpuset.cpus", "cpuset.mems"):  # control groups version 1 start without any
            if (group / name).exists() and not (group / name).read_text().strip():
                (group / name).write_text((group.parent / name).read_text())
        _weigh(group)


def _weigh(group: Path) -> None:
    """Let all pods together weigh as much as two processes for each core.

    By default a group weighs as much as one process outside of it, so that a few that compute would leave the
    whole node next to nothing: its pods then start in minutes.
    """
    processes = 2 * (os.cpu_count() or 1)
    for name, one in (("cpu.weight", 100), ("cpu.shares", 1024)):  # of versions 2 and 1
        if (group / name).exists():
            (group / name).write_text(str(one * processes))


def cgroups() -> list[Path]:
    """Return where the cluster's control group is: one directory (version 2), or one for each controller
    (version 1).
    """
    if (_CGROUPS / "cgroup.controllers").exists():
        wanted = {"cpu", "cpuset", "memory", "pids", "io"}
        have = set((_CGROUPS / "cgroup.controllers").read_text().split())
        with contextlib.suppress(OSError):
            (_CGROUPS / "cgroup.subtree_control").write_text(
                " ".join(f"+{name}" for name in sorted(wanted & have))
            )
        return [_CGROUPS / NAME]
    return [
        folder / NAME
        for folder in sorted(_CGROUPS.iterdir())
        if folder.is_dir()
        and not folder.is_symlink()
        and (folder / "cgroup.procs").exists()
        and folder.name != "unified"
    ]


def restore() -> None:
    """Take back what `prepare` and the pods did, whoever did it and however it ended."""
    kill_contained()
    unmount_below(STATE, RUN)
    for group in (*cgroups(), _CGROUPS / "unified" / NAME):
        _remove_groups(group)
    for line in output_of(["ip", "-o", "link", "show", "master", BRIDGE], check=False).splitlines():
        output_of(["ip", "link", "delete", line.split(":")[1].strip().split("@")[0]], check=False)
    output_of(["ip", "link", "delete", BRIDGE], check=False)
    ours = STATE.exists() or RUN.exists()
    for table in (f"inet {NAME}", *(("ip kube-proxy", "ip6 kube-proxy") if ours else ())):
        output_of(["nft", "delete", "table", *table.split()], check=False)
    before = json.loads(_SAVED.read_text()) if _SAVED.exists() else {"sysctls": {}, "tables": []}
    leftovers.remove_host_ports(before["tables"])
    for name, value in before["sysctls"].items():
        _set(name, value)
    leftovers.remove_files()
    for folder in (STATE, RUN):
        shutil.rmtree(folder, ignore_errors=True)


def _set(name: str, value: str, *, at_least: bool = False) -> None:
    path = Path(f"/proc/sys/{name}")
    with contextlib.suppress(OSError):  # a container may not be allowed to; what needs it will say so
        now = path.read_text().strip()
        if now != value and not (at_least and int(now) >= int(value)):
            path.write_text(value)


def kill_contained() -> None:
    """Kill every process in the cluster's control groups, and the shims of its containerd."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        found = set(_contained()) | set(_shims())
        if not found:
            return
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)


def _contained() -> Iterator[int]:
    for group in cgroups():
        for procs in group.rglob("cgroup.procs") if group.exists() else ():
            with contextlib.suppress(OSError):
                yield from (int(pid) for pid in procs.read_text().split())


def _shims() -> Iterator[int]:
    """Shims name the socket of the containerd they belong to on their command line, and ours is nobody
    else's.
    """
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                words = (entry / "cmdline").read_bytes().split(b"\0")
                if (
                    words[0].endswith(b"containerd-shim-runc-v2")
                    and f"{RUN}/containerd.sock".encode() in words
                ):
                    yield int(entry.name)


def _remove_groups(group: Path) -> None:
    for folder, _, _ in os.walk(group, topdown=False):
        for _ in range(40):  # a control group is busy for a moment after its last process
            try:
                Path(folder).rmdir()
                break
            except FileNotFoundError:
                break
            except OSError:
                time.sleep(0.05)
