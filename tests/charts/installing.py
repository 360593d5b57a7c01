"""Install the chart into a real API server, and act there as the accounts that it makes."""

import json
from pathlib import Path
from typing import Any

import yaml

from e2e.cluster.controlplane import ControlPlane
from tests.charts.rendering import CHART, Object, Values, flags_of, run

CRD = "inferenceservices.serving.torpor.dev"


class Installation:
    """One release in one namespace of the server."""

    def __init__(self, server: ControlPlane, release: str, namespace: str) -> None:
        self.server, self.release, self.namespace = server, release, namespace

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

    def get(self, *words: str) -> Object:
        """Return what `kubectl get` says, as JSON."""
        text = self.server.kubectl("get", *words, "-n", self.namespace, "-o", "json")
        found: Object = json.loads(text)
        return found

    def token(self) -> str:
        """Return the demand token as stored."""
        secrets = self.get("secrets", "-l", f"app.kubernetes.io/instance={self.release}")["items"]
        (secret,) = (item for item in secrets if item["type"] == "Opaque")
        return str(secret["data"]["token"])

    def objects(self) -> set[str]:
        """Return kind and name of every object of the release, in all namespaces and outside them."""
        kinds = (
            "deployments,services,secrets,serviceaccounts,poddisruptionbudgets.policy,"
            "networkpolicies.networking.k8s.io,roles,rolebindings,clusterroles,clusterrolebindings,"
            "customresourcedefinitions"
        )
        text = self.server.kubectl("get", kinds, "--all-namespaces", "-o", "json")
        return {
            f"{item['kind']}/{item['metadata']['name']}"
            for item in json.loads(text)["items"]
            if item["metadata"].get("annotations", {}).get("meta.helm.sh/release-name") == self.release
            and item["metadata"]["annotations"]["meta.helm.sh/release-namespace"] == self.namespace
        }

    def may(self, account: str, verb: str, resource: str, namespace: str, sub: str = "") -> bool:
        """Ask the server whether the account of a part may do something."""
        user = f"system:serviceaccount:{self.namespace}:{account}"
        answer = self.server.kubectl(
            "auth",
            "can-i",
            verb,
            resource,
            f"--subresource={sub}",
            f"--as={user}",
            "-n",
            namespace,
            check=False,
        )
        return answer.strip() == "yes"

    def kubeconfig_of(self, account: str, folder: Path) -> Path:
        """Write a kubeconfig with a token of the account, as the kubelet would mount one."""
        config: dict[str, Any] = yaml.safe_load(self.server.kubeconfig.read_text())
        token = self.server.kubectl("create", "token", account, "-n", self.namespace).strip()
        config["users"][0]["user"] = {"token": token}
        path = folder / f"{account}.kubeconfig"
        path.write_text(yaml.safe_dump(config))
        return path
