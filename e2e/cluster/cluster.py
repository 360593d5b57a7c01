"""Bring the cluster up, take it down, and say how it is.

`up` is a list of parts in the order in which they need each other; each is started if it does not run and
waited for by asking it. So the same code brings a cluster up from nothing, repairs one of which half was
killed, and does nothing to a healthy one. A cluster of another build, another configuration or another boot,
or one whose containerd has ended, is taken down first: it is cheaper to start again than to reason about a
mixture.
"""

import hashlib
import json
import os
import platform
import socket
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path

from e2e.cluster import containerd, debian, host, paths, processes, render
from e2e.cluster.build import build, build_key
from e2e.cluster.locking import build_lock
from e2e.cluster.mounts import unmount_below
from e2e.cluster.paths import BUILDS, KUBECONFIG, RUN, STATE
from e2e.cluster.progress import StepFailedError, failure, output_of, say, tail

PIDS = STATE / "processes"
LOGS = STATE / "logs"
PKI = STATE / "pki"
CONFIG = STATE / "config"
PARTS = (
    "containerd", "etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet",
    "kube-proxy", "coredns",
)  # fmt: skip
GPUS = 4
_SERVER = f"https://{paths.NODE_IP}:{paths.API_PORT}"


def fingerprint() -> str:
    """Return a hash of what a running cluster must have been made from for `up` to keep it: the binaries, the
    boot, and every command line and configuration (a comment in this package makes no difference).
    """
    made = [str(_commands(["client", "peer"])), *_configuration().values(), render.masquerade(), str(GPUS)]
    made += [build_key(), processes.BOOT, str(paths.CACHE)]
    return hashlib.sha256("\0".join(made).encode()).hexdigest()[:16]


def up() -> None:
    """Make the cluster run and wait until a pod could start; raises StepFailedError with the log to read."""
    began = time.monotonic()
    check_machine()
    debian.ensure(debian.NODE_PARTS)
    binaries = build()
    if _marker() not in (fingerprint(), None) or (_marker() is None and (STATE.exists() or RUN.exists())):
        say("taking down what another run or another version left")
        down(quiet=True)
    dead = [part for part in PARTS if not processes.running(part, PIDS)]
    if STATE.exists() and "containerd" in dead:
        # Its containers are nobody's now: another containerd does not know them, and the kubelet waits.
        say("containerd has ended: taking down what it left")
        down(quiet=True)
        dead = list(PARTS)
    if not dead and _node_ready():
        say(f"the cluster is up: {_SERVER} (KUBECONFIG={KUBECONFIG})")
        return
    fresh = not (STATE / "fingerprint").exists()
    say(
        "starting Kubernetes"
        if fresh
        else f"starting again what has ended: {', '.join(dead) or 'nothing, but waiting'}"
    )
    if fresh:
        _write_files()
    host.prepare()
    commands = _commands(_etcd_ports())
    _start("containerd", commands, containerd.answers)
    if fresh:
        containerd.forget_containers()
    containerd.ensure_pause(binaries)
    _start("etcd", commands, lambda: _reachable(_etcd_ports()[0]))
    _start("kube-apiserver", commands, _api_ready, "the API server", seconds=120)
    for part in ("kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy"):
        _start(part, commands)
    _apply(render.dns_rbac())
    _start("coredns", commands)
    _wait("the node to be Ready", _node_ready, "kubelet", 120)
    _advertise_gpus()
    _wait(
        "service accounts",
        lambda: bool(_kubectl("get", "serviceaccount", "default", check=False)),
        PARTS[3],
        60,
    )
    _wait("cluster DNS", _dns_answers, "coredns", 60)
    say(f"the cluster is up after {time.monotonic() - began:.0f} s: {_SERVER} (KUBECONFIG={KUBECONFIG})")


def down(*, quiet: bool = False) -> None:
    """End every process and take back everything; only the cache stays. Does nothing where nothing is."""
    began = time.monotonic()
    if not quiet:
        say("taking the cluster down")
    processes.stop(["kubelet", "kube-scheduler", "kube-controller-manager"], PIDS)
    if processes.running("containerd", PIDS):
        containerd.remove_containers()
    processes.stop([part for part in PARTS if part != "containerd"], PIDS)
    host.kill_contained()
    processes.stop(["containerd"], PIDS)
    host.restore()
    with build_lock("images"):
        unmount_below(paths.CACHE / "buildah")  # of builds that were killed
    if not quiet:
        say(f"the cluster is down ({time.monotonic() - began:.0f} s); the cache stays in {paths.CACHE}")


def status() -> dict[str, object]:
    """Return what runs, in words for a person and a program alike."""
    parts = {part: processes.running(part, PIDS) for part in PARTS}
    ready = all(parts.values()) and _node_ready()
    return {
        "cluster": paths.NAME,
        "up": ready,
        "current": _marker() == fingerprint() if _marker() else None,
        "server": _SERVER,
        "kubeconfig": str(KUBECONFIG) if KUBECONFIG.exists() else None,
        "context": paths.NAME,
        "parts": parts,
        "logs": str(LOGS) if LOGS.exists() else None,
    }


def check_machine() -> None:
    """Raise StepFailedError where this cannot work, with the reason."""
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        raise StepFailedError(
            "the local cluster needs Linux on x86-64, this is "
            f"{platform.system()} on {platform.machine()}; use kind"
        )
    if os.geteuid() != 0:
        raise StepFailedError(
            "the local cluster needs root: it makes containers, a bridge and control groups; use sudo -E"
        )


def _marker() -> str | None:
    try:
        return (STATE / "fingerprint").read_text()
    except OSError:
        return None


def _write_files() -> None:
    for folder in (STATE, RUN, PIDS, LOGS, PKI, CONFIG, STATE / "cni", STATE / "kubelet", paths.NODE):
        paths.ensure_private(folder)
    STATE.chmod(0o755)  # pods of other users read what is mounted from here
    names = (
        "localhost,kubernetes,kubernetes.default,kubernetes.default.svc,kubernetes.default.svc.cluster.local"
    )
    ips = f"{paths.NODE_IP},{paths.SERVICE_IP},127.0.0.1"
    command = [
        str(paths.BINARY),
        "pki",
        f"--dir={PKI}",
        f"--node={paths.NAME}",
        f"--ips={ips}",
        f"--names={names}",
    ]
    output_of(command)
    for identity in ("kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy", "coredns"):
        _write(CONFIG / f"{identity}.kubeconfig", render.kubeconfig(_SERVER, PKI, identity))
    _write(KUBECONFIG, render.kubeconfig(_SERVER, PKI, "admin"))
    for path, text in _configuration().items():
        _write(path, text)
    _write(STATE / "etcd-ports.json", json.dumps([_free_port(), _free_port()]))
    _write(STATE / "fingerprint", fingerprint())


def _configuration() -> dict[Path, str]:
    """Return every configuration file but those with secrets in them."""
    resolvers = _resolvers()
    host_conf = Path("/etc/resolv.conf") if resolvers else None
    return {
        STATE / "resolv.conf": "".join(f"nameserver {address}\n" for address in resolvers),
        STATE / "cni" / "10-torpor.conflist": render.cni(),
        CONFIG / "kubelet.yaml": render.kubelet_config(STATE, PKI),
        CONFIG / "kube-proxy.yaml": render.proxy_config(CONFIG / "kube-proxy.kubeconfig"),
        CONFIG / "Corefile": render.corefile(CONFIG / "coredns.kubeconfig", host_conf),
        CONFIG / "containerd.toml": render.containerd(),
    }


def _commands(etcd_ports: Sequence[int | str]) -> dict[str, list[str]]:
    client, peer = (f"http://127.0.0.1:{port}" for port in etcd_ports)
    binary = str(BUILDS / build_key() / "torpor-kubernetes")
    kubeconfigs = {name: CONFIG / f"{name}.kubeconfig" for name in PARTS}
    parts = {
        "etcd": render.etcd(STATE / "etcd", client, peer),
        "kube-apiserver": render.apiserver(PKI, client, paths.NODE_IP, paths.API_PORT, paths.SERVICE_CIDR),
        "kube-controller-manager": render.controller_manager(
            STATE, PKI, kubeconfigs["kube-controller-manager"]
        ),
        "kube-scheduler": render.scheduler(kubeconfigs["kube-scheduler"]),
        "kubelet": render.kubelet(STATE, CONFIG / "kubelet.yaml", kubeconfigs["kubelet"]),
        "kube-proxy": ["kube-proxy", f"--config={CONFIG}/kube-proxy.yaml"],
        "coredns": ["coredns", "-conf", f"{CONFIG}/Corefile"],
    }
    return {name: [binary, *command] for name, command in parts.items()} | {
        "containerd": ["containerd", "--config", f"{CONFIG}/containerd.toml"]
    }


def _start(
    part: str,
    commands: dict[str, list[str]],
    answers: Callable[[], bool] | None = None,
    called: str = "",
    seconds: float = 60,
) -> None:
    """Start a part unless it runs, and wait until it answers (or at least has not ended at once)."""
    if not processes.running(part, PIDS):
        system = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        environment = {"PATH": system, "HOME": str(STATE), "LANG": "C.UTF-8"}
        if part == "containerd":  # it alone talks to registries, perhaps through a proxy
            proxies = ("http_proxy", "https_proxy", "no_proxy", "ssl_cert_file", "ssl_cert_dir")
            environment |= {key: value for key, value in os.environ.items() if key.lower() in proxies}
        processes.spawn(part, commands[part], PIDS, env=environment, log=LOGS / f"{part}.log")
    if answers:
        _wait(called or part, answers, part, seconds)


def _wait(what: str, answers: Callable[[], bool], part: str, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not answers():
        if not processes.running(part, PIDS):
            raise failure(f"{part} ended while waiting for {what}", LOGS / f"{part}.log")
        if time.monotonic() > deadline:
            others = "".join(
                f"\n  {LOGS}/{p}.log ends with:\n{tail(LOGS / f'{p}.log', 3)}" for p in PARTS if p != part
            )
            raise StepFailedError(
                f"{failure(f'{what}: no answer for {seconds:.0f} s', LOGS / f'{part}.log')}{others}"
            )
        time.sleep(0.1)


def _get(path: str, timeout: float = 5) -> bytes:
    context = ssl.create_default_context(cafile=str(PKI / "ca.crt"))
    context.load_cert_chain(PKI / "admin.crt", PKI / "admin.key")
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
    )
    with opener.open(f"{_SERVER}{path}", timeout=timeout) as answer:
        body: bytes = answer.read()
        return body


def _api_ready() -> bool:
    try:
        return _get("/readyz") == b"ok"
    except (OSError, ValueError):
        return False


def _node_ready() -> bool:
    try:
        node = json.loads(_get(f"/api/v1/nodes/{paths.NAME}"))
    except (OSError, ValueError):
        return False
    return any(c["type"] == "Ready" and c["status"] == "True" for c in node["status"].get("conditions", []))


def _advertise_gpus() -> None:
    """Make the node offer GPUs that it does not have, as the API documents it for extended resources.

    The kubelet keeps what it finds in the status, but a node that registers anew starts without: so this
    comes after Ready, and again with every `up`.
    """
    patch = [{"op": "add", "path": "/status/capacity/nvidia.com~1gpu", "value": str(GPUS)}]
    command = (
        "patch",
        "node",
        paths.NAME,
        "--subresource=status",
        "--type=json",
        f"--patch={json.dumps(patch)}",
    )

    def offered() -> bool:
        allocatable = json.loads(_get(f"/api/v1/nodes/{paths.NAME}"))["status"]["allocatable"]
        if allocatable.get("nvidia.com/gpu") == str(GPUS):
            return True
        both = [*patch, patch[0] | {"path": "/status/allocatable/nvidia.com~1gpu"}]
        _kubectl(*command[:-1], f"--patch={json.dumps(both)}")
        return False

    _wait(f"the node to offer {GPUS} GPUs", offered, "kubelet", 30)


def _dns_answers() -> bool:
    """Ask the name service for the API server's own Service over UDP."""
    name = b"".join(
        bytes([len(part)]) + part.encode() for part in ["kubernetes", "default", "svc", "cluster", "local"]
    )
    question = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00" + name + b"\x00\x00\x01\x00\x01"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(0.5)
        try:
            client.sendto(question, (paths.NODE_IP, 53))
            answer = client.recv(512)
        except OSError:
            return False
    return answer[3] & 15 == 0 and answer[6:8] != b"\0\0"


def _kubectl(*arguments: str, check: bool = True) -> str:
    return output_of([paths.BINARY, "kubectl", f"--kubeconfig={KUBECONFIG}", *arguments], check=check)


def _apply(objects: list[dict[str, object]]) -> None:
    manifest = CONFIG / "rbac.json"
    _write(manifest, json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))
    _kubectl("apply", "--server-side", "--force-conflicts", "-f", str(manifest))


def _resolvers() -> list[str]:
    """Return the machine's name servers that a pod could reach; loopback ones only the machine itself can."""
    try:
        lines = [line.split() for line in Path("/etc/resolv.conf").read_text().splitlines()]
    except OSError:
        return []
    return [words[1] for words in lines if len(words) > 1 and words[0] == "nameserver"]


def _etcd_ports() -> list[int]:
    ports: list[int] = json.loads((STATE / "etcd-ports.json").read_text())
    return ports


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _reachable(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _write(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(text)
    temporary.chmod(0o600)
    temporary.replace(path)
