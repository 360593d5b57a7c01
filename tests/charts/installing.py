"""Install the chart into a real API server, and act there as the accounts that it makes."""

from pathlib import Path
from typing import Any

import httpx
import yaml

from e2e.cluster.controlplane import ControlPlane
from tests.charts.rendering import CHART, Object, Values, flags_of, run
from tests.integration.kube import until

CRD = "inferenceservices.serving.torpor.dev"
NAMESPACED = {
    "deployments": "/apis/apps/v1",
    "services": "/api/v1",
    "secrets": "/api/v1",
    "serviceaccounts": "/api/v1",
    "leases": "/apis/coordination.k8s.io/v1",
    "poddisruptionbudgets": "/apis/policy/v1",
    "networkpolicies": "/apis/networking.k8s.io/v1",
    "roles": "/apis/rbac.authorization.k8s.io/v1",
    "rolebindings": "/apis/rbac.authorization.k8s.io/v1",
    "inferenceservices": "/apis/serving.torpor.dev/v1alpha1",
}
CLUSTER_SCOPED = {
    "clusterroles": "/apis/rbac.authorization.k8s.io/v1",
    "clusterrolebindings": "/apis/rbac.authorization.k8s.io/v1",
    "customresourcedefinitions": "/apis/apiextensions.k8s.io/v1",
}
REVIEWS = "/apis/authorization.k8s.io/v1/subjectaccessreviews"


class Installation:
    """One release in one namespace of the server."""

    def __init__(self, server: ControlPlane, http: httpx.Client, release: str, namespace: str) -> None:
        self.server, self.release, self.namespace = server, release, namespace
        self.http = http

    def helm(self, *arguments: str) -> str:
        """Run helm on the server. Raises Refused."""
        return run(f"--kubeconfig={self.server.kubeconfig}", f"--namespace={self.namespace}", *arguments)

    def install(self, values: Values | None = None) -> str:
        """Install or upgrade, as an administrator does."""
        return self.helm(
            "upgrade", "--install", self.release, str(CHART), "--create-namespace", *flags_of(values or {})
        )

    def uninstall(self) -> str:
        """Uninstall."""
        return self.helm("uninstall", self.release)

    def send(
        self, method: str, path: str, body: Object | None = None, *, namespace: str | None = None
    ) -> httpx.Response:
        """Send a request about a `path` (PLURAL or PLURAL/NAME) of a namespace, by default its own."""
        group = NAMESPACED[path.partition("/")[0]]
        place = f"{group}/namespaces/{namespace or self.namespace}/{path}"

        def served() -> httpx.Response | None:
            answer = self.http.request(method, place, json=body)
            return None if answer.status_code == 429 else answer

        # 429: the definition of the resource is a moment old, and its storage not yet there.
        answer: httpx.Response = until(served, f"the server takes {method} {path}")
        assert answer.is_success or (method, answer.status_code) == ("DELETE", 404), answer.text
        return answer

    def get(self, plural: str, name: str, *, namespace: str | None = None) -> Object:
        """Return an object, of the own namespace by default."""
        if plural in CLUSTER_SCOPED:
            answer = self.http.get(f"{CLUSTER_SCOPED[plural]}/{plural}/{name}").raise_for_status()
        else:
            answer = self.send("GET", f"{plural}/{name}", namespace=namespace)
        found: Object = answer.json()
        return found

    def token(self) -> str:
        """Return the demand token as stored."""
        selector = f"?labelSelector=app.kubernetes.io/instance={self.release}"
        secrets = self.http.get(f"/api/v1/namespaces/{self.namespace}/secrets{selector}").json()["items"]
        (secret,) = (item for item in secrets if item["type"] == "Opaque")
        return str(secret["data"]["token"])

    def objects(self) -> set[str]:
        """Return kind and name of every object of the release, in all namespaces and outside them."""
        found = set()
        for plural, group in (NAMESPACED | CLUSTER_SCOPED).items():
            if plural == "inferenceservices":  # Helm's hooks and users make them
                continue
            listed = self.http.get(f"{group}/{plural}").raise_for_status().json()
            kind = listed["kind"].removesuffix("List")
            for meta in (item["metadata"] for item in listed["items"]):
                notes = meta.get("annotations", {})
                owner = (notes.get("meta.helm.sh/release-name"), notes.get("meta.helm.sh/release-namespace"))
                if owner == (self.release, self.namespace):
                    found.add(f"{kind}/{meta['name']}")
        return found

    def may(self, account: str, verb: str, resource: str, namespace: str, sub: str = "") -> bool:
        """Ask the server whether the account of a part may do something with `resource` (PLURAL.GROUP)."""
        plural, _, group = resource.partition(".")
        wish = {"namespace": namespace, "verb": verb, "group": group, "resource": plural, "subresource": sub}
        user = f"system:serviceaccount:{self.namespace}:{account}"
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {"user": user, "resourceAttributes": wish},
        }
        return bool(self.http.post(REVIEWS, json=review).raise_for_status().json()["status"]["allowed"])

    def kubeconfig_of(self, account: str, folder: Path) -> Path:
        """Write a kubeconfig with a token of the account, as the kubelet would mount one."""
        config: dict[str, Any] = yaml.safe_load(self.server.kubeconfig.read_text())
        token = self.server.kubectl("create", "token", account, "-n", self.namespace).strip()
        config["users"][0]["user"] = {"token": token}
        path = folder / f"{account}.kubeconfig"
        path.write_text(yaml.safe_dump(config))
        return path
