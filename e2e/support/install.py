"""Torpor in a cluster, the way a user gets it: one `helm install` of the chart in this checkout.

Only the images differ from a user's install (built here, loaded into the node) and the gateway's drain,
which is cut to a test's patience. The gateway is reached as pods reach it, through its Service: by
ClusterIP where the node is this host, else by a NodePort beside the chart's Service, so that a gateway pod
may go without taking the door with it.

One release serves every namespace, as the chart does by default, and most scenarios share it. The functions
take another `namespace` for a release of a scenario's own (e2e/support/own.py).
"""

import contextlib
import json
import subprocess
from pathlib import Path

from e2e.support.fleets import merge
from e2e.support.http1 import Address
from e2e.support.kube import ApiError, Cluster, Object
from e2e.support.machine import Machine
from e2e.support.waiting import until

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "charts" / "torpor"
NAMESPACE = "torpor-system"
RELEASE = "torpor"
GATEWAY = "torpor-gateway"
OPERATOR = "torpor-operator"
TAG = "dev"
BUILD = "e2e.torpor.dev/build"

VALUES: Object = {
    "operator": {"image": {"registry": "localhost", "repository": "torpor-operator", "tag": TAG}},
    "gateway": {
        "image": {"registry": "localhost", "repository": "torpor-gateway", "tag": TAG},
        "drain": {"holdSeconds": 60, "streamSeconds": 60},
    },
    "engine": {"image": {"registry": "localhost", "repository": "torpor-engine", "tag": TAG}},
}


def helm(machine: Machine, *args: str, stdin: str = "", timeout: float = 300) -> str:
    """Run helm on this cluster and return what it printed; raises CalledProcessError with its stderr as a
    note.
    """
    cluster = machine.cluster
    command = [
        machine.helm,
        "--kubeconfig",
        str(cluster.kubeconfig),
        "--kube-context",
        cluster.context,
        *args,
    ]
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=timeout, check=False)
    if done.returncode:
        error = subprocess.CalledProcessError(done.returncode, command, done.stdout, done.stderr)
        error.add_note(done.stderr.strip() or done.stdout.strip())
        raise error
    return done.stdout


def install(machine: Machine, values: Object | None = None, namespace: str = NAMESPACE) -> str:
    """`helm upgrade --install` with the images built here; returns what helm printed.

    Waits until every pod is ready. `values` are merged over VALUES. The tag of our images never changes, so
    what they come from is put on the pods: a new build replaces them, an old one leaves them alone.
    """
    ours = {part: made for part, made in machine.builds.items() if part != "engine"}
    built = {part: {"podAnnotations": {BUILD: made}} for part, made in ours.items()}
    where = ("--namespace", namespace, "--create-namespace", "--wait", "--timeout", "4m", "--values", "-")
    told = json.dumps(merge(merge(VALUES, built), values or {}))  # JSON is YAML
    return helm(machine, "upgrade", "--install", RELEASE, str(CHART), *where, stdin=told)


def uninstall(machine: Machine) -> None:
    """`helm uninstall` and the release's pods gone; a release that is not there is what was wanted."""
    helm(machine, "uninstall", RELEASE, "--namespace", NAMESPACE, "--ignore-not-found", "--wait")


def define(machine: Machine) -> None:
    """Bring the CustomResourceDefinition alone, as the chart renders it and an uninstall leaves it: marked as
    the shared release's, so that Helm takes it up again when that one is installed.
    """
    owner = {"meta.helm.sh/release-name": RELEASE, "meta.helm.sh/release-namespace": NAMESPACE}
    values = json.dumps({"crds": {"annotations": owner}})
    chosen = ("--namespace", NAMESPACE, "--show-only", "templates/crds.yaml", "--values", "-")
    rendered = helm(machine, "template", RELEASE, str(CHART), *chosen, stdin=values)
    server_side = ("--server-side", "--force-conflicts", "--field-manager=helm")
    machine.cluster.kubectl("apply", *server_side, "-f", "-", stdin=rendered)


def gateway_address(cluster: Cluster, namespace: str = NAMESPACE) -> Address:
    """Where this host reaches the gateway's Service; makes a NodePort Service where the node is not this
    host.
    """
    service = cluster.get("services", GATEWAY, namespace)
    if cluster.context == "torpor-local":
        return Address(service["spec"]["clusterIP"], int(service["spec"]["ports"][0]["port"]))
    port = dict(service["spec"]["ports"][0])
    port.pop("nodePort", None)
    door = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "torpor-e2e-door"},
        "spec": {"type": "NodePort", "selector": service["spec"]["selector"], "ports": [port]},
    }
    with contextlib.suppress(ApiError):
        cluster.create("services", door, namespace)
    made = cluster.get("services", "torpor-e2e-door", namespace)
    node = cluster.list("nodes")[0]
    host = next(a["address"] for a in node["status"]["addresses"] if a["type"] == "InternalIP")
    return Address(host, int(made["spec"]["ports"][0]["nodePort"]))


def pods(cluster: Cluster, deployment: str, namespace: str = NAMESPACE) -> list[Object]:
    """The pods of one of our Deployments that are not on their way out."""
    labels = cluster.get("deployments", deployment, namespace)["spec"]["selector"]["matchLabels"]
    selector = ",".join(f"{key}={value}" for key, value in labels.items())
    found = cluster.list("pods", namespace, labelSelector=selector)
    return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]


def leader(cluster: Cluster, namespace: str = NAMESPACE) -> Object:
    """The operator pod that holds the Lease now; waits a moment for one."""

    def check() -> Object:
        names = {pod["metadata"]["name"]: pod for pod in pods(cluster, OPERATOR, namespace)}
        holders = [lease["spec"].get("holderIdentity") or "" for lease in cluster.list("leases", namespace)]
        led = [pod for name, pod in names.items() if any(holder.startswith(name) for holder in holders)]
        assert len(led) == 1, f"pods {sorted(names)}, lease holders {holders}"
        return led[0]

    return until("one operator pod holds the Lease", check)
