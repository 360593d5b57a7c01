"""The cluster as scenarios see it: kubectl for what people type, the API server directly for what is asked
often.

A kubectl process costs a tenth of a second of CPU, and on the two cores that also run the whole cluster a
suite that polls through it slows down what it measures. So `Cluster` keeps connections to the
API server and calls kubectl only where kubectl itself is the subject or does more than one request (apply,
rollout, describe).

It refuses every context but the two that our own tools create: a scenario deletes pods and kills
processes, and the current context of a developer's kubeconfig may be production.
"""

import base64
import contextlib
import http.client
import json
import os
import ssl
import subprocess
import tempfile
import time
import urllib.parse
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Object = dict[str, Any]

IDLE_SECONDS = 10.0  # a POST cannot be repeated, so it must not meet a connection that the server has closed
OURS = ("torpor-local", "kind-torpor")
GROUPS = {
    "deployments": "/apis/apps/v1",
    "replicasets": "/apis/apps/v1",
    "endpointslices": "/apis/discovery.k8s.io/v1",
    "leases": "/apis/coordination.k8s.io/v1",
    "poddisruptionbudgets": "/apis/policy/v1",
    "networkpolicies": "/apis/networking.k8s.io/v1",
    "roles": "/apis/rbac.authorization.k8s.io/v1",
    "rolebindings": "/apis/rbac.authorization.k8s.io/v1",
    "clusterroles": "/apis/rbac.authorization.k8s.io/v1",
    "clusterrolebindings": "/apis/rbac.authorization.k8s.io/v1",
    "customresourcedefinitions": "/apis/apiextensions.k8s.io/v1",
    "inferenceservices": "/apis/serving.torpor.dev/v1alpha1",
}


class ForeignContextError(RuntimeError):
    """The kubeconfig names a cluster that is not ours."""


class ApiError(Exception):
    """The API server's refusal: `status` is the HTTP code, `body` the Status object."""

    def __init__(self, status: int, body: Object):
        super().__init__(f"{status} {body.get('reason')}: {body.get('message')}")
        self.status, self.body = status, body


@dataclass
class Cluster:
    """One API server. `kubectl` and `helm` are paths of programs; `bin` directories are found by the
    caller.
    """

    kubeconfig: Path
    context: str
    kubectl_path: str = "kubectl"
    _idle: list[tuple[float, http.client.HTTPSConnection]] = field(default_factory=list, repr=False)

    def __post_init__(self) -> None:
        if self.context not in OURS:
            raise ForeignContextError(
                f"context {self.context!r} is not one of {', '.join(OURS)}; scenarios delete pods and "
                "namespaces, so they run only on clusters that `make cluster` or e2e/cluster/kind.yaml made"
            )
        view = json.loads(self.kubectl("config", "view", "--raw", "--flatten", "--minify", "-o", "json"))
        cluster, user = view["clusters"][0]["cluster"], view["users"][0]["user"]
        self.server = urllib.parse.urlsplit(cluster["server"])
        self._tls = ssl.create_default_context(
            cadata=base64.b64decode(cluster["certificate-authority-data"]).decode()
        )
        with tempfile.NamedTemporaryFile("wb") as pair:  # ssl reads certificates from files alone
            pair.write(base64.b64decode(user["client-certificate-data"]))
            pair.write(base64.b64decode(user["client-key-data"]))
            pair.flush()
            self._tls.load_cert_chain(pair.name)

    def close(self) -> None:
        """Close what is kept open; to be called when no request is under way."""
        while self._idle:
            self._idle.pop()[1].close()

    # --- kubectl ----------------------------------------------------------------------------------

    def kubectl(self, *args: str, stdin: str | None = None, timeout: float = 300) -> str:
        """Run kubectl on this cluster and return what it printed; raises CalledProcessError with its
        stderr.
        """
        command = [self.kubectl_path, "--kubeconfig", str(self.kubeconfig), "--context", self.context, *args]
        done = subprocess.run(
            command, input=stdin, capture_output=True, text=True, timeout=timeout, check=False
        )
        if done.returncode:
            error = subprocess.CalledProcessError(done.returncode, command, done.stdout, done.stderr)
            error.add_note(done.stderr.strip())
            raise error
        return done.stdout

    def apply(self, *objects: Object, namespace: str = "default") -> None:
        """`kubectl apply` as a user would, client side."""
        text = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)})
        self.kubectl("apply", "-n", namespace, "-f", "-", stdin=text)

    # --- the API server ---------------------------------------------------------------------------

    def connection(self) -> http.client.HTTPSConnection:
        """A new connection to the API server with the user's certificate."""
        assert self.server.hostname
        return http.client.HTTPSConnection(
            self.server.hostname, self.server.port, context=self._tls, timeout=30
        )

    def _connection(self) -> http.client.HTTPSConnection:
        """The connection used last, or a new one where the server may have closed that one meanwhile."""
        try:
            used_at, connection = self._idle.pop()
        except IndexError:
            return self.connection()
        if time.monotonic() - used_at < IDLE_SECONDS:
            return connection
        connection.close()
        return self._connection()

    def request(self, method: str, path: str, body: object = None, content: str = "application/json") -> Any:
        """One request on an idle connection, again on another if the server closed it; raises ApiError."""
        data = None if body is None else json.dumps(body)
        headers = {"Content-Type": content, "Accept": "application/json"}
        for attempt in (1, 2):
            connection = self._connection()
            try:
                connection.request(method, path, data, headers)
                answer = connection.getresponse()
                raw = answer.read()
                self._idle.append((time.monotonic(), connection))
                break
            except (http.client.HTTPException, OSError):
                connection.close()
                if attempt == 2 or method == "POST":
                    raise
        parsed = json.loads(raw) if raw[:1] in (b"{", b"[") else raw.decode(errors="replace")
        if answer.status >= 400:
            raise ApiError(answer.status, parsed if isinstance(parsed, dict) else {"message": parsed})
        return parsed

    @staticmethod
    def path(plural: str, namespace: str | None = None, name: str | None = None, **query: str) -> str:
        """The API path of a kind that GROUPS or core v1 knows."""
        parts = [GROUPS.get(plural, "/api/v1")]
        if namespace:
            parts += ["namespaces", namespace]
        parts.append(plural)
        if name:
            parts.append(name)
        return "/".join(parts) + ("?" + urllib.parse.urlencode(query) if query else "")

    def get(self, plural: str, name: str, namespace: str | None = None) -> Object:
        """One object; raises ApiError 404 where there is none."""
        found: Object = self.request("GET", self.path(plural, namespace, name))
        return found

    def find(self, plural: str, name: str, namespace: str | None = None) -> Object | None:
        """One object or None."""
        try:
            return self.get(plural, name, namespace)
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    def list(self, plural: str, namespace: str | None = None, **query: str) -> list[Object]:
        """All objects of a kind, optionally of one namespace, by `labelSelector` and the like."""
        return list(self.request("GET", self.path(plural, namespace, **query))["items"])

    def create(self, plural: str, body: Object, namespace: str | None = None) -> Object:
        """POST one object."""
        made: Object = self.request("POST", self.path(plural, namespace), body)
        return made

    def patch(
        self, plural: str, name: str, body: object, namespace: str | None = None, sub: str = ""
    ) -> Object:
        """A JSON merge patch; `sub` names a subresource such as `status`."""
        path = self.path(plural, namespace, name) + (f"/{sub}" if sub else "")
        changed: Object = self.request("PATCH", path, body, "application/merge-patch+json")
        return changed

    def delete(
        self, plural: str, name: str, namespace: str | None = None, *, grace: int | None = None
    ) -> None:
        """DELETE without waiting; an object that is gone already is what was wanted."""
        query = {} if grace is None else {"gracePeriodSeconds": str(grace)}
        with contextlib.suppress(ApiError):
            self.request("DELETE", self.path(plural, namespace, name, **query))


def open_cluster(kubeconfig: str | os.PathLike[str], context: str, kubectl: str) -> Cluster:
    """The cluster behind a kubeconfig file; raises ForeignContextError unless its context is one of ours."""
    return Cluster(Path(kubeconfig), context, kubectl)
