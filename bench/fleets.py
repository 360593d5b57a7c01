"""What fleets cost the operator and a gateway: memory and processor time, by their number.

A real etcd and API server, the operator and one gateway process as in their images, and fleets that
sleep, made in steps. After each step all of them have their children and a status; then nothing happens
for a while. Printed per step: the resident memory of both, the operator's processor time for each new
fleet (six children and a status written), and what share of a core both take while nobody asks. No pod
runs: this is what the installation costs, not the engines. Usage:

    python bench/fleets.py [--fleets 1,100] [--quiet SECONDS] [--json]
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import yaml  # noqa: E402
from torpor.api import constants as c  # noqa: E402
from torpor.api import crd  # noqa: E402

from e2e.cluster.controlplane import ControlPlane  # noqa: E402
from tests.integration.kube import FLEETS, Kube, until  # noqa: E402
from tests.ports import free_port  # noqa: E402

HOME = "torpor-system"
NAMESPACES = 10
TICKS = os.sysconf("SC_CLK_TCK")
PATIENCE = 900.0  # seconds for one step on a busy machine


class Program:
    """One of the two programs as a process."""

    def __init__(self, module: str, folder: Path, **environment: str) -> None:
        kept = {key: value for key, value in os.environ.items() if not key.startswith("TORPOR_")}
        self.log = folder / f"{module}.log"
        with self.log.open("w") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", module], env=kept | environment, stdout=output, stderr=output
            )

    def mebibytes(self) -> float:
        """Resident memory, shared libraries included. Raises RuntimeError where the program has ended: an
        operator that cannot renew its Lease within seconds does, on a machine that is too busy.
        """
        for line in Path(f"/proc/{self._process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
        raise RuntimeError(f"the program ended: {self.log.read_text()[-600:]}")

    def cpu_seconds(self) -> float:
        """Processor time so far, user and system."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def end(self) -> None:
        """Tell it to stop, and see that it does."""
        self._process.terminate()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def prepare(kube: Kube) -> None:
    """The resource, the namespaces, and their default accounts, which no controller makes here."""
    manifest = yaml.safe_load((ROOT / "crds" / crd.FILE_NAME).read_text())
    answer = kube.http.post("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", json=manifest)
    assert answer.status_code == 201, answer.text
    until(lambda: kube.http.get(f"{FLEETS}/{c.PLURAL}").status_code == 200, "the kind is served", PATIENCE)
    for name in (HOME, *(f"team-{number}" for number in range(NAMESPACES))):
        kube.http.post("/api/v1/namespaces", json={"metadata": {"name": name}}).raise_for_status()


def make(kube: Kube, number: int) -> None:
    """One fleet that sleeps."""
    namespace = f"team-{number % NAMESPACES}"
    fleet = {
        "apiVersion": c.API_VERSION,
        "kind": c.KIND,
        "metadata": {"name": f"fleet-{number}", "namespace": namespace},
        "spec": {
            "model": {"uri": "hf://meta-llama/Llama-3.1-70B-Instruct"},
            "engine": {
                "resources": {"limits": {"nvidia.com/gpu": "4"}},
                "args": ["--tensor-parallel-size=4"],
            },
            "scaling": {"maxReplicas": 8, "objectives": {"timeToFirstTokenMilliseconds": 2000}},
        },
    }
    kube.http.post(f"{FLEETS}/namespaces/{namespace}/{c.PLURAL}", json=fleet).raise_for_status()


def leading(kube: Kube) -> bool:
    """Whether the operator holds its Lease; what it takes to start is nobody's fleet."""
    answer = kube.http.get(f"/apis/coordination.k8s.io/v1/namespaces/{HOME}/leases/torpor-operator")
    return answer.status_code == 200 and bool(answer.json()["spec"].get("holderIdentity"))


def asleep(kube: Kube) -> int:
    """Fleets that say so."""
    items: list[dict[str, Any]] = kube.http.get(f"{FLEETS}/{c.PLURAL}").raise_for_status().json()["items"]
    return sum(
        any(
            one["type"] == c.READY and one["reason"] == c.ASLEEP
            for one in (item.get("status") or {}).get("conditions", ())
        )
        for item in items
    )


def settle(kube: Kube, fleets: int, programs: list[Program]) -> None:
    """Wait until so many sleep. Asked seldom: a list of a thousand fleets is work for the API server. Raises
    RuntimeError where that cannot be awaited.
    """
    deadline = time.monotonic() + PATIENCE
    while asleep(kube) != fleets:
        if time.monotonic() > deadline:
            raise RuntimeError(f"{fleets} fleets do not sleep after {PATIENCE:g} s")
        for program in programs:
            program.mebibytes()
        time.sleep(2)


def measure(control_plane: ControlPlane, steps: list[int], quiet: float) -> list[dict[str, float]]:
    """A row per step."""
    kube = Kube(control_plane.kubeconfig, control_plane.binaries / "torpor-kubernetes")
    programs: list[Program] = []
    try:
        prepare(kube)
        folder = Path(control_plane.folder)
        token, demand = folder / "demand-token", f"127.0.0.1:{free_port()}"
        token.write_text("secret")
        shared = {"TORPOR_NAMESPACE": HOME, "TORPOR_DEMAND_TOKEN_FILE": str(token)}
        gateway = Program(
            "torpor_gateway",
            folder,
            KUBECONFIG=str(control_plane.kubeconfig),
            TORPOR_LISTEN="127.0.0.1:0",
            TORPOR_ADMIN_LISTEN="127.0.0.1:0",
            TORPOR_DEMAND_LISTEN=demand,
            **shared,
        )
        programs.append(gateway)
        operator = Program(
            "torpor",
            folder,
            TORPOR_KUBECONFIG=str(control_plane.kubeconfig),
            TORPOR_POD_NAME="operator-0",
            TORPOR_LAUNCHER_IMAGE="launcher:1",
            TORPOR_ENGINE_IMAGE="engine:1",
            TORPOR_ADMIN_LISTEN="127.0.0.1:0",
            TORPOR_DEMAND_ADDRESSES=demand,
            **shared,
        )
        programs.append(operator)
        until(lambda: leading(kube), "the operator leads", PATIENCE)
        rows, made = [], 0
        for step in steps:
            before, began = operator.cpu_seconds(), time.monotonic()
            for number in range(made, step):
                make(kube, number)
            settle(kube, step, programs)
            settled, took = operator.cpu_seconds(), time.monotonic() - began
            time.sleep(10)  # the last status writes
            marks = [(one.cpu_seconds(), time.monotonic()) for one in (operator, gateway)]
            time.sleep(quiet)
            shares = [
                100 * (one.cpu_seconds() - cpu) / (time.monotonic() - at)
                for one, (cpu, at) in zip((operator, gateway), marks, strict=True)
            ]
            rows.append(
                {
                    "fleets": step,
                    "operator_mib": round(operator.mebibytes(), 1),
                    "gateway_mib": round(gateway.mebibytes(), 1),
                    "operator_cpu_ms_per_new_fleet": round(1000 * (settled - before) / (step - made), 1),
                    "operator_quiet_percent_of_a_core": round(shares[0], 2),
                    "gateway_quiet_percent_of_a_core": round(shares[1], 2),
                    "made_in_seconds": round(took, 1),
                }
            )
            print(rows[-1], file=sys.stderr, flush=True)
            made = step
        return rows
    finally:
        for one in programs:
            one.end()
        kube.close()


def table(rows: list[dict[str, float]]) -> str:
    """For people."""
    names = list(rows[0])
    lines = [f"| {' | '.join(name.replace('_', ' ') for name in names)} |", "| ---: " * len(names) + "|"]
    return "\n".join([*lines, *(f"| {' | '.join(f'{row[name]:g}' for name in names)} |" for row in rows)])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fleets", default="1,100", help="numbers, each larger than the one before")
    parser.add_argument(
        "--quiet", type=float, default=60.0, help="seconds over which the quiet share is taken"
    )
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    try:
        steps = [int(text) for text in options.fleets.split(",")]
    except ValueError:
        parser.error(f"--fleets {options.fleets}: must be whole numbers separated by commas, as in 1,100")
    if steps != sorted(set(steps)) or steps[0] < 1 or steps[-1] > 5000:
        parser.error(f"--fleets {options.fleets}: must grow from 1 or more to 5000 at most")
    with ControlPlane() as control_plane:
        rows = measure(control_plane, steps, options.quiet)
    print(json.dumps(rows, indent=1) if options.json else table(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
