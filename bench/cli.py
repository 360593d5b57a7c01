"""What the command line costs: `torpor --help`, and `torpor status` of a thousand fleets.

A real etcd and API server hold the fleets, each with a status as the operator writes it (a decision with all
its signals, every condition, a schedule, a cold start). Each run is a process of its own, as a person starts
it: wall time, processor time and the most memory it had, of several runs the median. Nothing is asserted; the
goal stands beside the value, and a busy machine measures itself, so the processor time is printed too.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import yaml  # noqa: E402
from torpor.api import constants as c  # noqa: E402
from torpor.api import crd  # noqa: E402

from e2e.cluster.controlplane import ControlPlane  # noqa: E402
from tests.integration.kube import FLEETS, Kube, until  # noqa: E402

NAMESPACES = 10
GOALS = {"help": {"seconds": 0.3}, "status": {"seconds": 1.5, "mebibytes": 150.0}}
COMMAND = [sys.executable, "-c", "from torpor.cli import main; main()"]


def status(number: int) -> dict[str, Any]:
    """A status of the size that a fleet with objectives and a schedule has."""
    at, awake = "2026-11-22T08:00:00Z", number % 3
    reason = "Serving" if awake else "Asleep"
    told = "workRate is 0.41 per replica, target 1; the need was watched for 61 s of 240 s " * 2
    signals = [
        {"name": name, "value": f"{number % 7}.25", "target": "4", "ageSeconds": 2, "rawReplicas": awake}
        for name in ("queueDepth", "kvCacheUtilization", "workRate")
    ]
    conditions = [
        {"type": kind, "status": "True", "reason": reason, "message": told[:80], "lastTransitionTime": at}
        for kind in c.CONDITION_TYPES
    ]
    return {
        "observedGeneration": 1,
        "replicas": awake,
        "readyReplicas": awake,
        "desiredReplicas": awake,
        "url": f"http://fleet-{number}.team.svc.cluster.local/v1",
        "conditions": conditions,
        "decision": {
            "mode": "Auto",
            "desiredReplicas": awake,
            "recommendedReplicas": awake,
            "reason": "Stabilization",
            "message": told,
            "time": at,
            "signals": signals,
            "clamps": [{"name": "Stabilization", "from": 1, "to": 2, "message": told}],
            "wouldChange": [told[:120]] * 5,
        },
        "schedule": {
            "active": {"name": "office", "minReplicas": 1},
            "next": {"time": "2026-11-23T20:00:00Z", "name": "outside", "maxReplicas": 0},
        },
        "saved": {
            "since": at,
            "asOf": at,
            "gpuSecondsUsed": 3600 * number,
            "gpuSecondsAsleep": 7200,
            "gpuSecondsSaved": {"max": 9000, "peak": 1800},
            "peakReplicas": 2,
            "gpus": {"used": awake, "asleep": 0 if awake else 8, "max": 8, "peak": 2},
            "pricePerGpuHour": "2.5",
        },
        "coldStart": {
            "lastSeconds": "42.0",
            "p95Seconds": "61.0",
            "phases": [
                {"name": name, "seconds": "9.50"} for name in ("preflight", "download", "engine_start")
            ],
        },
    }


def fill(kube: Kube, fleets: int) -> None:
    """Install the CRD and make the fleets."""
    manifest = yaml.safe_load((ROOT / "crds" / crd.FILE_NAME).read_text())
    answer = kube.http.post("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", json=manifest)
    assert answer.status_code == 201, answer.text
    until(lambda: kube.http.get(f"{FLEETS}/{c.PLURAL}").status_code == 200, "the kind is served", 60)
    for number in range(NAMESPACES):
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": f"team-{number}"}}
        assert kube.http.post("/api/v1/namespaces", json=body).status_code == 201

    def make(number: int) -> None:
        metadata = {"name": f"fleet-{number}", "namespace": f"team-{number % NAMESPACES}"}
        fleet: dict[str, Any] = {
            "apiVersion": c.API_VERSION,
            "kind": c.KIND,
            "metadata": metadata,
            "spec": {
                "model": {"uri": "hf://org/model"},
                "engine": {"type": "Simulated"},
                "scaling": {"maxReplicas": 8, "objectives": {"timeToFirstTokenMilliseconds": 2000}},
            },
        }
        path = f"{FLEETS}/namespaces/{metadata['namespace']}/{c.PLURAL}"
        answer = kube.http.post(path, json=fleet)
        assert answer.status_code == 201, answer.text
        answer = kube.merge(f"{path}/{metadata['name']}/status", {"status": status(number)})
        assert answer.status_code == 200, answer.text

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(make, range(fleets)))


def run(arguments: list[str], lines: int) -> dict[str, float]:
    """Run one command; it must succeed and print at least so many lines."""
    with tempfile.TemporaryFile() as output:
        begun = time.perf_counter()
        process = subprocess.Popen([*COMMAND, *arguments], stdout=output, env=os.environ)
        _, code, used = os.wait4(process.pid, 0)
        took = time.perf_counter() - begun
        process.returncode = os.waitstatus_to_exitcode(code)
        output.seek(0)
        printed = output.read().count(b"\n")
    assert process.returncode == 0, f"{arguments} ended with {process.returncode}"
    assert printed >= lines, f"{arguments} printed {printed} lines"
    return {"seconds": took, "cpu_seconds": used.ru_utime + used.ru_stime, "mebibytes": used.ru_maxrss / 1024}


def median(runs: list[dict[str, float]]) -> dict[str, float]:
    """The median of each figure."""
    return {name: round(statistics.median(run[name] for run in runs), 3) for name in runs[0]}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fleets", type=int, default=1000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    figures = {"help": median([run(["--help"], 10) for _ in range(options.runs)])}
    with ControlPlane() as control_plane:
        kube = Kube(control_plane.kubeconfig, control_plane.binaries / "torpor-kubernetes")
        try:
            fill(kube, options.fleets)
        finally:
            kube.close()
        where = ["--kubeconfig", str(control_plane.kubeconfig)]
        everything = ["status", "-A", *where]
        figures["status"] = median([run(everything, options.fleets) for _ in range(options.runs)])
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    if options.json:
        print(
            json.dumps({"fleets": options.fleets, "figures": figures, "goals": GOALS, "bench_mebibytes": own})
        )
        return
    print(f"{options.fleets} fleets, medians of {options.runs} runs")
    print("| command | seconds | of processor time | MiB | goal |\n| --- | --- | --- | --- | --- |")
    for name, found in figures.items():
        goal = ", ".join(f"{value:g} {unit}" for unit, value in GOALS[name].items())
        cells = f"{found['seconds']:.2f} | {found['cpu_seconds']:.2f} | {found['mebibytes']:.0f}"
        print(f"| `torpor {name}` | {cells} | {goal} |")


if __name__ == "__main__":
    main()
