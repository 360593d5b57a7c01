"""Kubernetes' discovery for a Prometheus that was built without it, as Debian's is.

A thread lists pods, Services and their endpoints and writes them as files of targets, with the same labels
`__meta_kubernetes_...` that Prometheus' own discovery gives them. What is kept of them and how it is called
is relabeling's business, in Prometheus itself.
"""

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from e2e.support.kube import ApiError, Cluster, Object

POD, SERVICE, NAMESPACE = "__meta_kubernetes_pod", "__meta_kubernetes_service", "__meta_kubernetes_namespace"
ENDPOINT_PORT = "__meta_kubernetes_endpoint_port_name"
SECONDS = 1.0  # between two looks
Group = dict[str, Any]


def safe(label: str) -> str:
    """Return a Kubernetes label's name as discovery has it."""
    return "".join(char if char.isalnum() or char == "_" else "_" for char in label)


@dataclass(frozen=True)
class Wanted:
    """Pods, or endpoints of Services, of these namespaces (all of them where empty), for one file."""

    file: Path
    pods: bool
    namespaces: tuple[str, ...] = ()


class Discovery:
    """Keeps the files of `wanted` up to date between `with` and its end."""

    def __init__(self, cluster: Cluster, wanted: Sequence[Wanted]) -> None:
        self._cluster, self._wanted = cluster, wanted
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="discovery", daemon=True)

    def __enter__(self) -> Self:
        for wanted in self._wanted:
            self._write(wanted)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(60)

    def _run(self) -> None:
        while not self._stop.wait(SECONDS):
            for wanted in self._wanted:
                try:
                    self._write(wanted)
                except (ApiError, OSError) as error:
                    print(f"discovery: {error!r}; once more")

    def _write(self, wanted: Wanted) -> None:
        groups: list[Group] = []
        for namespace in wanted.namespaces or (None,):
            pods = self._cluster.list("pods", namespace)
            groups += _of_pods(pods) if wanted.pods else self._of_services(namespace, pods)
        text = json.dumps(groups, sort_keys=True)
        if wanted.file.exists() and wanted.file.read_text() == text:
            return
        fresh = wanted.file.with_suffix(".new")
        fresh.write_text(text)
        fresh.rename(wanted.file)

    def _of_services(self, namespace: str | None, pods: Sequence[Object]) -> Iterator[Group]:
        known = {(pod["metadata"]["namespace"], pod["metadata"]["name"]): pod for pod in pods}
        services = {_key(item): item for item in self._cluster.list("services", namespace)}
        for piece in self._cluster.list("endpointslices", namespace):
            name = piece["metadata"]["labels"].get("kubernetes.io/service-name", "")
            service = services.get((piece["metadata"]["namespace"], name))
            if service is None:
                continue
            for endpoint in piece.get("endpoints") or ():
                pod = known.get((_key(service)[0], (endpoint.get("targetRef") or {}).get("name", "")))
                for port in piece.get("ports") or ():
                    labels = {ENDPOINT_PORT: port.get("name", ""), **_labels(SERVICE, service)}
                    if pod is not None:
                        labels |= _labels(POD, pod) | _container(pod, port["port"])
                    yield _group(endpoint["addresses"][0], port["port"], labels)


def _of_pods(pods: Sequence[Object]) -> Iterator[Group]:
    for pod in pods:
        if not pod["status"].get("podIP"):
            continue
        labels = _labels(POD, pod) | {f"{POD}_phase": pod["status"]["phase"]}
        for container in pod["spec"]["containers"]:
            for port in container.get("ports", ()):
                found = _container(pod, port["containerPort"])
                yield _group(pod["status"]["podIP"], port["containerPort"], labels | found)


def _group(address: str, port: int, labels: Mapping[str, str]) -> Group:
    host = f"[{address}]" if ":" in address else address
    return {"targets": [f"{host}:{port}"], "labels": dict(labels)}


def _key(item: Object) -> tuple[str, str]:
    return item["metadata"]["namespace"], item["metadata"]["name"]


def _labels(prefix: str, item: Object) -> dict[str, str]:
    """Return an object's name, namespace and labels as discovery has them."""
    found = {NAMESPACE: _key(item)[0], f"{prefix}_name": _key(item)[1]}
    for label, value in (item["metadata"].get("labels") or {}).items():
        found[f"{prefix}_label_{safe(label)}"] = value
        found[f"{prefix}_labelpresent_{safe(label)}"] = "true"
    return found


def _container(pod: Object, number: int) -> dict[str, str]:
    """Return the container of a pod that has this port, and the port's name."""
    for container in pod["spec"]["containers"]:
        for port in container.get("ports", ()):
            if port["containerPort"] == number:
                name = {f"{POD}_container_port_name": port.get("name", "")}
                return {f"{POD}_container_name": container["name"], **name}
    return {}
