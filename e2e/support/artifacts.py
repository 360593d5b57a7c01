"""What is kept of a scenario that failed.

A failed scenario's namespace is gone a second later, and with it every reason. So before anything is
deleted the objects, events and logs are written to a folder of the user's cache, and the few lines that
usually tell the story are returned for the terminal.
"""

import json
import os
import subprocess
import time
from pathlib import Path

from e2e.support.kube import ApiError, Cluster, Object

KINDS = ("inferenceservices", "deployments", "replicasets", "pods", "endpointslices", "events", "services")


def folder() -> Path:
    """Where artifacts go: `$TORPOR_E2E_ARTIFACTS`, else the user's cache; one folder per run, never in the
    checkout.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "torpor" / "e2e"
    chosen = Path(os.environ.get("TORPOR_E2E_ARTIFACTS") or cache / time.strftime("run-%Y%m%d-%H%M%S"))
    chosen.mkdir(parents=True, exist_ok=True)
    return chosen


def dump(cluster: Cluster, namespace: str, system: str, into: Path) -> str:
    """Write what the namespace and the system namespace hold and return the essential part as text."""
    into.mkdir(parents=True, exist_ok=True)
    told = [f"namespace {namespace} (everything in {into})"]
    for kind in KINDS:
        try:
            items = cluster.list(kind, namespace)
        except ApiError as error:
            told.append(f"  {kind}: {error}")
            continue
        (into / f"{kind}.json").write_text(json.dumps(items, indent=1))
        told += [f"  {line}" for item in items for line in _essence(kind, item)]
    for place in (namespace, system):
        for pod in cluster.list("pods", place):
            _logs(cluster, pod, into)
    for kind in ("leases", "events", "pods"):
        (into / f"{system}-{kind}.json").write_text(json.dumps(cluster.list(kind, system), indent=1))
    told += [f"  {name}: {line}" for name, line in _complaints(into, namespace)]
    return "\n".join(told)


def _essence(kind: str, item: Object) -> list[str]:
    name, status = item["metadata"]["name"], item.get("status") or {}
    if kind == "inferenceservices":
        lines = [
            f"{c['type']}={c['status']} {c.get('reason')}: {c.get('message', '')[:200]}"
            for c in status.get("conditions", [])
        ]
        return [f"fleet {name}: {json.dumps(status.get('decision'))[:900]}", *(f"  {line}" for line in lines)]
    if kind == "pods":
        states = [
            f"{c['name']} ready={c['ready']} restarts={c['restartCount']} {json.dumps(c['state'])[:200]}"
            for c in status.get("containerStatuses", [])
        ]
        leaving = " terminating" if "deletionTimestamp" in item["metadata"] else ""
        return [f"pod {name}: {status.get('phase')}{leaving} {'; '.join(states)}"]
    if kind == "events" and item.get("type") == "Warning":
        return [f"event {item['involvedObject']['name']}: {item['reason']}: {item.get('message', '')[:200]}"]
    return []


def _logs(cluster: Cluster, pod: Object, into: Path) -> None:
    name, place = pod["metadata"]["name"], pod["metadata"]["namespace"]
    for container in pod["status"].get("containerStatuses", []):
        for previous in ("false", "true") if container["restartCount"] else ("false",):
            query = f"log?container={container['name']}&tailLines=3000&timestamps=true&previous={previous}"
            try:
                text = cluster.request("GET", cluster.path("pods", place, name) + f"/{query}")
            except ApiError as error:
                text = str(error)
            file = f"{name}.{container['name']}{'.previous' if previous == 'true' else ''}.log"
            (into / file).write_text(text if isinstance(text, str) else json.dumps(text))


def _complaints(into: Path, namespace: str) -> list[tuple[str, str]]:
    """The last lines of our own logs that name an error or the namespace."""
    found: list[tuple[str, str]] = []
    for file in sorted(into.glob("torpor-*.log")):
        lines = file.read_text().splitlines()
        wanted = [
            line
            for line in lines
            if namespace in line or any(w in line for w in ("ERROR", "Traceback", "error"))
        ]
        found += [(file.stem, line[:300]) for line in wanted[-6:]]
    return found


def describe_machine() -> str:
    """Load and memory, since a starved machine explains many a time-out."""
    free = subprocess.run(["free", "-m"], capture_output=True, text=True, check=False).stdout.splitlines()
    return f"load {' '.join(f'{value:.1f}' for value in os.getloadavg())}; {free[1] if len(free) > 1 else ''}"
