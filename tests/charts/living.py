"""What a release has in a cluster, whatever its kinds, and how that differs from what the chart renders.

Helm's own account of a release says what it meant to do. Here the server is asked, through its discovery,
for every object that carries the release's mark, so that what an upgrade forgot or left in a list shows.
"""

from collections.abc import Iterator
from typing import Any

import httpx

from tests.charts.installing import CRD, Installation
from tests.charts.rendering import Object
from tests.integration.kube import until

Identity = tuple[str, str, str]
EXTENSIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
# Kinds of others that the chart makes where they are asked for: group, version, kind, plural.
FOREIGN = (
    ("monitoring.coreos.com", "v1", "PrometheusRule", "prometheusrules"),
    ("monitoring.coreos.com", "v1", "ServiceMonitor", "servicemonitors"),
    ("monitoring.coreos.com", "v1", "PodMonitor", "podmonitors"),
    ("gateway.networking.k8s.io", "v1", "HTTPRoute", "httproutes"),
)


def forget(installation: Installation) -> None:
    """Take the release and the definition away, so that the next test of this server finds neither."""
    installation.helm("uninstall", installation.release, "--ignore-not-found")
    gone = ("delete", "customresourcedefinition", CRD, "--ignore-not-found", "--timeout=120s")
    installation.server.kubectl(*gone)


def define_foreign_kinds(http: httpx.Client) -> None:
    """Let the server take the kinds of others, whatever is in them."""
    for group, version, kind, plural in FOREIGN:
        names = {"kind": kind, "plural": plural, "singular": kind.lower(), "listKind": f"{kind}List"}
        schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
        served = {"name": version, "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
        # Groups below k8s.io are protected: the server wants to know who let them in.
        notes = {"api-approved.kubernetes.io": "unapproved, for a test"}
        body = {
            "metadata": {"name": f"{plural}.{group}", "annotations": notes},
            "spec": {"group": group, "names": names, "scope": "Namespaced", "versions": [served]},
        }
        answer = http.post(EXTENSIONS, json=body)
        assert answer.status_code in (201, 409), answer.text
    for group, version, _, plural in FOREIGN:
        path = f"/apis/{group}/{version}/{plural}"
        until(lambda path=path: http.get(path).status_code == 200, f"{path} is served")  # type: ignore[misc]


def kinds(http: httpx.Client) -> Iterator[tuple[str, str]]:
    """Yield path and kind of every resource of the server that can be listed, once for each group."""
    groups = http.get("/apis").raise_for_status().json()["groups"]
    versions = ["/api/v1", *(f"/apis/{group['preferredVersion']['groupVersion']}" for group in groups)]
    for version in versions:
        answer = http.get(version)
        if answer.status_code == 404:  # its last definition went, and the list of groups is older than that
            continue
        for resource in answer.raise_for_status().json()["resources"]:
            if "list" in resource["verbs"] and "/" not in resource["name"]:
                yield f"{version}/{resource['name']}", resource["kind"]


def listing(http: httpx.Client, path: str) -> list[Object]:
    """Return what is listed there; nothing where the kind went meanwhile."""

    def served() -> httpx.Response | None:
        answer = http.get(path)
        return None if answer.status_code == 429 else answer

    # 429: the definition of the kind has just changed, and its storage is made anew.
    answer: httpx.Response = until(served, f"the server lists {path}", 120)
    if answer.status_code == 404:
        return []
    items: list[Object] = answer.raise_for_status().json()["items"]
    return items


def living(installation: Installation) -> dict[Identity, Object]:
    """Return every object with the mark of the release, in all namespaces and outside them."""
    found: dict[Identity, Object] = {}
    for path, kind in kinds(installation.http):
        for item in listing(installation.http, path):
            meta = item["metadata"]
            notes = meta.get("annotations", {})
            owner = (notes.get("meta.helm.sh/release-name"), notes.get("meta.helm.sh/release-namespace"))
            if owner == (installation.release, installation.namespace) and "deletionTimestamp" not in meta:
                found[kind, meta.get("namespace", ""), meta["name"]] = {"kind": kind, **item}
    return found


def is_hook(item: Object) -> bool:
    """Say whether Helm makes the object at certain moments and not with the release."""
    return "helm.sh/hook" in item["metadata"].get("annotations", {})


def differences(wanted: Any, found: Any, path: str = "") -> Iterator[str]:
    """Yield where an object of the server is not as rendered.

    The server adds defaults to mappings, so those may have more; lists and labels may not: what an earlier
    version of the object put there is gone.
    """
    if isinstance(wanted, dict) and isinstance(found, dict):
        for key, item in wanted.items():
            if item is None or (item in ({}, [], "") and key not in found):  # stored as absent
                continue
            yield from differences(item, found.get(key), f"{path}.{key}")
        if path.endswith((".labels", ".matchLabels", ".nodeSelector", ".selector")):
            for key in found.keys() - wanted.keys():
                yield f"{path}.{key}: left over"
    elif isinstance(wanted, list) and isinstance(found, list):
        if len(wanted) != len(found):
            yield f"{path}: {len(found)} entries instead of {len(wanted)}"
        for place, (item, other) in enumerate(zip(wanted, found, strict=False)):
            yield from differences(item, other, f"{path}[{place}]")
    elif wanted != found and str(wanted) != str(found):
        yield f"{path}: {found!r} instead of {wanted!r}"
