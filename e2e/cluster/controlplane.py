"""Only etcd and the API server, for tests that need the real API and no containers.

Starts in a few seconds on free loopback ports in a temporary directory, needs no root and touches nothing
else of the machine, so any number may run side by side and beside the cluster:

    with ControlPlane() as control_plane:
        client = connect(control_plane.kubeconfig)

Nothing runs controllers here: no Deployment gets pods, no namespace disappears, no owner's death is followed.
Tests that need those want the cluster.

Enter it from the main thread: both processes die with the thread that started them, so that a test run that
is killed leaves none behind.
"""

import os
import shutil
import socket
import ssl
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path
from types import TracebackType

from e2e.cluster import render
from e2e.cluster.build import build
from e2e.cluster.progress import failure, output_of


class ControlPlane:
    """etcd and kube-apiserver as children of this process; an attribute `kubeconfig` (admin) once entered.

    `seconds` bounds the start; StepFailedError carries the end of the log that explains a failure.
    """

    def __init__(self, seconds: float = 240) -> None:
        self._seconds = seconds
        self._processes: list[subprocess.Popen[bytes]] = []
        self._held: list[socket.socket] = []

    def __enter__(self) -> "ControlPlane":
        self.binaries = build()
        self.folder = Path(tempfile.mkdtemp(prefix="torpor-control-plane-"))
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig."""
        return self.folder / "kubeconfig"

    def kubectl(self, *arguments: str, check: bool = True) -> str:
        """Run kubectl as administrator and return what it printed."""
        return output_of(
            [self.binaries / "torpor-kubernetes", "kubectl", f"--kubeconfig={self.kubeconfig}", *arguments],
            check=check,
        )

    def _start(self) -> None:
        self._held = _hold_ports(3)
        client, peer, self.port = (held.getsockname()[1] for held in self._held)
        binary, pki = str(self.binaries / "torpor-kubernetes"), self.folder / "pki"
        pki.mkdir()
        names = "localhost,kubernetes.default.svc"
        output_of(
            [binary, "pki", f"--dir={pki}", "--node=none", "--ips=127.0.0.1,10.0.0.1", f"--names={names}"]
        )
        server = f"https://127.0.0.1:{self.port}"
        self.kubeconfig.write_text(render.kubeconfig(server, pki, "admin"))
        self.kubeconfig.chmod(0o600)
        etcd_url = f"http://127.0.0.1:{client}"
        etcd = render.etcd(self.folder / "etcd", etcd_url, f"http://127.0.0.1:{peer}")
        apiserver = [
            word
            for word in render.apiserver(pki, etcd_url, "127.0.0.1", self.port, "10.0.0.0/24")
            if not word.startswith("--advertise-address")
        ]
        # Loopback is no address to advertise, and without nodes nobody would connect to it.
        apiserver.append("--endpoint-reconciler-type=none")
        self._spawn("etcd", [binary, *etcd])
        self._spawn("kube-apiserver", [binary, *apiserver])
        context = ssl.create_default_context(cafile=str(pki / "ca.crt"))
        context.load_cert_chain(pki / "admin.crt", pki / "admin.key")
        handlers = urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
        opener = urllib.request.build_opener(*handlers)
        deadline = time.monotonic() + self._seconds
        while True:
            for process, name in zip(self._processes, ("etcd", "kube-apiserver"), strict=True):
                if process.poll() is not None:
                    raise failure(
                        f"{name} ended with status {process.returncode}", self.folder / f"{name}.log"
                    )
            try:
                with opener.open(f"{server}/readyz", timeout=5) as answer:
                    if answer.status == 200:
                        return
            except OSError:
                pass
            if time.monotonic() > deadline:
                raise failure(f"no answer for {self._seconds:.0f} s", self.folder / "kube-apiserver.log")
            time.sleep(0.05)

    def _spawn(self, name: str, command: list[str]) -> None:
        environment = {"PATH": os.environ.get("PATH", ""), "HOME": str(self.folder)}
        if guard := shutil.which("setpriv"):
            command = [guard, "--pdeathsig", "KILL", *command]
        with (self.folder / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, cwd=self.folder,
                start_new_session=True,
            )  # fmt: skip
        self._processes.append(process)

    def stop(self) -> None:
        """End both and remove the directory. May be called again."""
        while self._processes:  # the API server first: it would complain about a store that went away
            process = self._processes.pop()
            process.kill()
            process.wait()
        while self._held:
            self._held.pop().close()
        shutil.rmtree(self.folder, ignore_errors=True)


def _hold_ports(count: int) -> list[socket.socket]:
    """Return sockets on free ports. Bound with SO_REUSEADDR and never listened on, they keep the kernel from
    giving the ports to others before the servers, which set that too, listen there.
    """
    held = [socket.socket() for _ in range(count)]
    for sock in held:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("127.0.0.1", 0))
    return held
