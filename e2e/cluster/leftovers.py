"""What containerd, the kubelet and the network plugins leave in places that they do not let one choose.

Sockets of shims, links to logs, cached results of the network plugins, rules for host ports. Other users of
the same programs have theirs in the same places, so everything is recognised as ours first, and a directory
goes only when it is empty.
"""

import contextlib
import shlex
from collections.abc import Collection, Iterator
from pathlib import Path

from e2e.cluster.paths import NAME, STATE
from e2e.cluster.progress import output_of

_SHIM_SOCKETS = Path("/run/containerd/s")
_CNI_RESULTS = Path("/var/lib/cni/results")
_CNI_LOCK = Path("/etc/cni/net.d/cni.lock")
_LOG_LINKS = Path("/var/log/containers")
_DEVICE_PLUGINS = Path("/var/lib/kubelet/device-plugins")


def remove_host_ports(tables_before: Collection[str]) -> None:
    """Remove the rules that the portmap plugin made for pods of this cluster, and its chains if they are new.

    `tables_before` are the lines of `nft list tables` from before the cluster: what was there then stays.
    """
    for family, command in (("ip", "iptables"), ("ip6", "ip6tables")):
        table = f"table {family} nat"
        if table not in output_of(["nft", "list", "tables"], check=False).splitlines():
            continue
        iptables = [command, "-w", "-t", "nat"]
        for rule in _rules(iptables):
            if rule[:2] == ["-A", "CNI-HOSTPORT-DNAT"] and any(
                f'dnat name: "{NAME}"' in word for word in rule
            ):
                output_of([*iptables, "-D", *rule[1:]], check=False)
                for action in ("-F", "-X"):
                    output_of([*iptables, action, rule[-1]], check=False)
        if table in tables_before or any(rule[1].startswith("CNI-DN-") for rule in _rules(iptables)):
            continue
        for rule in _rules(iptables):
            if rule[0] == "-A" and rule[-1].startswith("CNI-HOSTPORT-"):
                output_of([*iptables, "-D", *rule[1:]], check=False)
        chains = [
            rule[1] for rule in _rules(iptables) if rule[0] == "-N" and rule[1].startswith("CNI-HOSTPORT-")
        ]
        for action in ("-F", "-X"):
            for chain in chains:
                output_of([*iptables, action, chain], check=False)
        if all(rule[0] == "-P" for rule in _rules(iptables)):
            output_of(["nft", "delete", *table.split()], check=False)


def _rules(iptables: list[str]) -> list[list[str]]:
    return [shlex.split(line) for line in output_of([*iptables, "-S"], check=False).splitlines()]


def remove_files() -> None:
    """Delete the files and directories that are ours outside the cluster's own directories."""
    listening = Path("/proc/net/unix").read_text()
    for place in (_SHIM_SOCKETS, _DEVICE_PLUGINS):
        for entry in _entries(place):
            if entry.is_socket() and str(entry) not in listening:
                entry.unlink(missing_ok=True)
    for link in _entries(_LOG_LINKS):
        if link.is_symlink() and str(link.readlink()).startswith(str(STATE)):
            link.unlink()
    ours = {
        entry.name.removeprefix(f"{NAME}-").rpartition("-")[0] for entry in _CNI_RESULTS.glob(f"{NAME}-*")
    }
    for entry in _entries(_CNI_RESULTS):
        if any(container and container in entry.name for container in ours):
            entry.unlink(missing_ok=True)
    if list(_entries(_CNI_LOCK.parent)) == [_CNI_LOCK]:
        _CNI_LOCK.unlink()
    for folder in (
        _SHIM_SOCKETS, _SHIM_SOCKETS.parent / "fifo", _SHIM_SOCKETS.parent, _LOG_LINKS, _CNI_RESULTS,
        _CNI_RESULTS.parent, _CNI_LOCK.parent, _CNI_LOCK.parent.parent, _DEVICE_PLUGINS,
        _DEVICE_PLUGINS.parent,
    ):  # fmt: skip
        with contextlib.suppress(OSError):
            folder.rmdir()  # only when nobody else has anything in it


def _entries(folder: Path) -> Iterator[Path]:
    yield from sorted(folder.iterdir()) if folder.exists() else ()
