"""What Prometheus is to read: processes of this host, or what the chart's monitors select in a cluster.

In a cluster the ServiceMonitors and the PodMonitor of the release are turned into Prometheus' own words, as
the Prometheus operator does it: so it is they that are tested, with their selectors, ports and relabelings,
although nobody here runs that operator. A pod's address means something on its node alone, hence the scrape
goes through the API server's proxy; the labels are those of a direct scrape.
"""

import base64
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from e2e.monitoring.discovery import ENDPOINT_PORT, NAMESPACE, POD, SERVICE, Wanted, safe
from e2e.support.kube import Cluster, Object

Scrape = dict[str, Any]


def process(job: str, address: str, **labels: str) -> Scrape:
    """Return the scrape of one process at `address` (host:port), labelled as a monitor would."""
    return {
        "job_name": job,
        "honor_labels": True,
        "static_configs": [{"targets": [address], "labels": labels}],
    }


def monitors(objects: Iterable[Object]) -> list[Object]:
    """Return the monitors among the objects of a rendered chart."""
    return [item for item in objects if item["kind"] in ("ServiceMonitor", "PodMonitor")]


def job(monitor: Object) -> str:
    """Return the name of the job that reads what a monitor selects."""
    return f"{monitor['kind'].lower()}/{monitor['metadata']['name']}"


def wanted(monitor: Object, folder: Path) -> Wanted:
    """Return what has to be discovered for a monitor, and the file in `folder` that it goes into."""
    names = monitor["spec"].get("namespaceSelector", {}).get("matchNames", ())
    file = folder / f"{job(monitor).replace('/', '-')}.json"
    return Wanted(file, monitor["kind"] == "PodMonitor", tuple(names))


def of_monitor(monitor: Object, cluster: Cluster, folder: Path) -> Scrape:
    """Return the scrape of what a monitor selects in the cluster. Its targets come from the file of `wanted`,
    its keys are written into `folder`.
    """
    spec = monitor["spec"]
    of_pods = monitor["kind"] == "PodMonitor"
    (endpoint,) = spec["podMetricsEndpoints" if of_pods else "endpoints"]
    thing = POD if of_pods else SERVICE
    port = f"{POD}_container_port_name" if of_pods else ENDPOINT_PORT
    rules = [*_selected(spec["selector"], thing), _keep(port, endpoint["port"])]
    if of_pods:
        rules.append(_drop(f"{POD}_phase", "Failed|Succeeded"))
    for label, source in (
        ("namespace", NAMESPACE),
        ("pod", f"{POD}_name"),
        ("container", f"{POD}_container_name"),
        *(() if of_pods else (("service", f"{SERVICE}_name"),)),
        ("instance", "__address__"),
    ):
        rules.append({"source_labels": [source], "target_label": label})
    rules += [_as_prometheus(rule) for rule in endpoint.get("relabelings", ())]
    proxy = "/api/v1/namespaces/$1/pods/$2:$3/proxy" + endpoint.get("path", "/metrics")
    rules += [
        {
            "source_labels": [NAMESPACE, f"{POD}_name", "__address__"],
            "regex": r"([^;]+);([^;]+);.*:(\d+)",
            "target_label": "__metrics_path__",
            "replacement": proxy,
        },
        {"target_label": "__address__", "replacement": cluster.server.netloc},
    ]
    return {
        "job_name": job(monitor),
        "scheme": "https",
        "tls_config": credentials(cluster, folder),
        "honor_labels": bool(endpoint.get("honorLabels")),
        "file_sd_configs": [{"files": [str(wanted(monitor, folder).file)], "refresh_interval": "1s"}],
        "relabel_configs": rules,
    }


def credentials(cluster: Cluster, folder: Path) -> dict[str, str]:
    """Write the user's certificates into `folder`, readable by us alone; returns Prometheus' tls_config."""
    view = json.loads(cluster.kubectl("config", "view", "--raw", "--flatten", "--minify", "-o", "json"))
    server, user = view["clusters"][0]["cluster"], view["users"][0]["user"]
    folder.mkdir(parents=True, exist_ok=True)
    told = {}
    for key, content in (
        ("ca_file", server["certificate-authority-data"]),
        ("cert_file", user["client-certificate-data"]),
        ("key_file", user["client-key-data"]),
    ):
        path = folder / f"{key}.pem"
        path.touch(mode=0o600)
        path.write_bytes(base64.b64decode(content))
        told[key] = str(path)
    return told


def _selected(selector: Mapping[str, Any], thing: str) -> list[Scrape]:
    """Return the rules that keep what a label selector selects."""
    rules = [
        _keep(f"{thing}_label_{safe(key)}", value) for key, value in selector.get("matchLabels", {}).items()
    ]
    for rule in selector.get("matchExpressions", ()):
        if rule["operator"] != "Exists":
            raise NotImplementedError(f"a selector with {rule['operator']}: teach it to this module")
        rules.append(_keep(f"{thing}_labelpresent_{safe(rule['key'])}", "true"))
    return rules


def _as_prometheus(rule: Mapping[str, Any]) -> Scrape:
    """Return a relabeling of a monitor in Prometheus' own words."""
    words = {"sourceLabels": "source_labels", "targetLabel": "target_label"}
    return {words.get(key, key): value for key, value in rule.items()}


def _keep(source: str, value: str) -> Scrape:
    return {"action": "keep", "source_labels": [source], "regex": value}


def _drop(source: str, value: str) -> Scrape:
    return {"action": "drop", "source_labels": [source], "regex": value}
