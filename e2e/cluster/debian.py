"""The parts that come from the distribution: containerd, runc, the CNI plugins, and the tools to make images.

Only what is missing is installed, by one of us at a time: the cluster and the images are prepared side by
side and both need packages, but dpkg turns a second installer away. Debian's habit of starting a service on
installation is refused for the moment of the installation, so that no second containerd runs. On another
distribution this says what to install. A program of which only the file is wanted is not installed at all but
unpacked into the cache, which needs no root.
"""

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from e2e.cluster.locking import build_lock
from e2e.cluster.paths import CACHE, LOGS
from e2e.cluster.progress import StepFailedError, output_of, run_logged, say

CNI_PLUGINS = Path("/usr/lib/cni")

# Debian package -> a file that proves it (or an equal of another distribution) is there
NODE_PARTS = {
    "containerd": "containerd",
    "runc": "runc",
    "containernetworking-plugins": str(CNI_PLUGINS / "bridge"),
    "iproute2": "ip",
    "nftables": "nft",
    "iptables": "iptables",
    "conntrack": "conntrack",
    "mount": "umount",
}
IMAGE_PARTS = {"buildah": "buildah", "debootstrap": "debootstrap"}
VLLM_PARTS = {"libnuma1": "/usr/lib/x86_64-linux-gnu/libnuma.so.1"}
_POLICY = Path("/usr/sbin/policy-rc.d")


def present(proof: str) -> bool:
    """Say whether a program (by name) or a file (by path) exists, also in system directories off the PATH."""
    if proof.startswith("/"):
        return Path(proof).exists()
    return (
        shutil.which(proof, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin:/usr/local/sbin") is not None
    )


def missing(parts: dict[str, str]) -> list[str]:
    """Return the packages whose proof is not there."""
    return [package for package, proof in parts.items() if not present(proof)]


def ensure(parts: dict[str, str]) -> None:
    """Install those packages of `parts` whose proof is missing; StepFailedError as of `install`."""
    if wanted := missing(parts):
        install(wanted)


def install(packages: Iterable[str]) -> None:
    """Install Debian packages; StepFailedError says what to install by hand where that is not possible."""
    wanted = list(packages)
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise StepFailedError(
            f"missing on this machine: {', '.join(wanted)} (Debian's names). Installed by itself on Debian "
            "and Ubuntu as root; elsewhere install their equals and try again"
        )
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    log = LOGS / "apt.log"
    say(f"installing from the distribution: {', '.join(wanted)}")
    command = ["apt-get", "install", "-y", "-q", "--no-install-recommends"]
    command += ["-o", "DPkg::Lock::Timeout=600", *wanted]  # someone else's installation may be under way
    with build_lock("packages"):
        refuse_start = not _POLICY.exists()
        if refuse_start:
            _POLICY.write_text("#!/bin/sh\nexit 101\n")  # invoke-rc.d: this action is forbidden
            _POLICY.chmod(0o755)
        try:
            try:
                run_logged("installing packages", command, log, env=environment)
            except StepFailedError:  # an index that is missing or out of date
                run_logged(
                    "apt-get update", ["apt-get", "update", "-q"], LOGS / "apt-update.log", env=environment
                )
                run_logged("installing packages", command, log, env=environment)
        finally:
            if refuse_start:
                _POLICY.unlink()
    if "containerd" in wanted and Path("/run/systemd/system").exists():
        output_of(["systemctl", "disable", "--now", "containerd.service"], check=False)


def unpacked(package: str) -> Path:
    """Return the folder with the files of a Debian package, fetched and unpacked once per user.

    Nothing is installed, no script of the package runs, and what it depends on is not fetched.
    StepFailedError says what to install by hand where there is no Debian to fetch it from.
    """
    folder = CACHE / "debian" / package
    with build_lock(f"debian-{package}"):
        if (folder / ".complete").exists():
            return folder / "root"
        if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
            raise StepFailedError(
                f"missing on this machine: {package} (Debian's name). Fetched by itself on Debian and "
                "Ubuntu; elsewhere install its equal, so that its programs are in PATH, and try again"
            )
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        log = LOGS / f"debian-{package}.log"
        fetch = ["apt-get", "download", "-q", package]
        say(f"fetching Debian's {package}, to be unpacked in the cache")
        try:
            run_logged(f"fetching {package}", fetch, log, cwd=folder)
        except StepFailedError:  # an index that is missing or out of date
            run_logged("apt-get update", ["apt-get", "update", "-q"], LOGS / "apt-update.log")
            run_logged(f"fetching {package}", fetch, log, cwd=folder)
        (archive,) = folder.glob("*.deb")
        unpack = ["dpkg-deb", "-x", str(archive), str(folder / "root")]
        run_logged(f"unpacking {package}", unpack, log)
        archive.unlink()
        (folder / ".complete").touch()
        return folder / "root"
