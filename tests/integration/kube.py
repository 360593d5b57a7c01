"""A small client for tests: raw requests to the API server, and kubectl as users run it.

Requests go through httpx with the kubeconfig's certificates, so a test sees exactly what the server answers
(status code, message, causes) and hundreds of dry runs take seconds. What a user would type goes through
the real kubectl.
"""

import base64
import json
import ssl
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import yaml

Object = dict[str, Any]
Done = subprocess.CompletedProcess[str]
FLEETS = "/apis/serving.torpor.dev/v1alpha1"
COLLECTIONS = {
    "InferenceService": (FLEETS, "inferenceservices"),
    "Deployment": ("/apis/apps/v1", "deployments"),
    "Service": ("/api/v1", "services"),
    "PersistentVolumeClaim": ("/api/v1", "persistentvolumeclaims"),
    "PodDisruptionBudget": ("/apis/policy/v1", "poddisruptionbudgets"),
    "NetworkPolicy": ("/apis/networking.k8s.io/v1", "networkpolicies"),
}


class Kube:
    """An administrator's access to one API server."""

    def __init__(self, kubeconfig: Path, binary: Path) -> None:
        self.kubeconfig, self._binary = kubeconfig, binary
        config = yaml.safe_load(kubeconfig.read_text())
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        self.http = httpx.Client(base_url=cluster["server"], verify=_tls(cluster, user), timeout=30)

    def close(self) -> None:
        self.http.close()

    def kubectl(self, *arguments: str, stdin: str | None = None, check: bool = True) -> Done:
        """Run kubectl; with `check`, a failure shows what it said."""
        # What other servers had on this port is remembered in the home directory, and not asked for here.
        own = ("--kubeconfig", str(self.kubeconfig), "--cache-dir", str(self.kubeconfig.parent / "kubectl"))
        command = [str(self._binary), "kubectl", *own, *arguments]
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=150, check=False)
        assert not check or done.returncode == 0, f"kubectl {' '.join(arguments)}: {done.stderr}"
        return done

    def path(self, manifest: Object, *, named: bool = True) -> str:
        """Return the URL path of an object, or of its collection."""
        group, plural = COLLECTIONS[manifest["kind"]]
        collection = f"{group}/namespaces/{manifest['metadata']['namespace']}/{plural}"
        return f"{collection}/{manifest['metadata']['name']}" if named else collection

    def create(self, manifest: Object, *, dry_run: bool = False) -> httpx.Response:
        """POST an object. `dry_run`: everything but the storing."""
        params = {"dryRun": "All"} if dry_run else {}
        return self.http.post(self.path(manifest, named=False), params=params, json=manifest)

    def apply(self, manifest: Object, *, dry_run: bool = False, subresource: str = "") -> httpx.Response:
        """Server-side apply as Torpor does it."""
        params = {"fieldManager": "torpor", "force": "true"} | ({"dryRun": "All"} if dry_run else {})
        return self.http.patch(
            self.path(manifest) + subresource,
            params=params,
            content=json.dumps(manifest).encode(),  # PyYAML would write the text "y" so that Go reads true
            headers={"Content-Type": "application/apply-patch+yaml"},
        )

    def merge(self, path: str, patch: Object) -> httpx.Response:
        """Send a JSON merge patch."""
        return self.http.patch(path, json=patch, headers={"Content-Type": "application/merge-patch+json"})


def until(probe: Callable[[], Any], what: str, seconds: float = 60) -> Any:
    """Poll until `probe` gives something true, and return it; fail with `what` at the deadline."""
    deadline = time.monotonic() + seconds
    while not (found := probe()):  # probed once more after the deadline: this process may have been asleep
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.02)
    return found


def refusal(answer: httpx.Response) -> tuple[str, list[tuple[str, str]]]:
    """Return the message of a 422 and its causes as (field, message)."""
    assert answer.status_code == 422, answer.text
    body = answer.json()
    causes = body["details"].get("causes", [])
    return body["message"], [(cause["field"], cause["message"]) for cause in causes]


def _tls(cluster: Object, user: Object) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=_inline(cluster, "certificate-authority"))
    with tempfile.NamedTemporaryFile("w", suffix=".pem") as pair:
        pair.write(_inline(user, "client-certificate") + "\n" + _inline(user, "client-key"))
        pair.flush()
        context.load_cert_chain(pair.name)
    return context


def _inline(section: Object, field: str) -> str:
    if f"{field}-data" in section:
        return base64.b64decode(section[f"{field}-data"]).decode()
    return Path(section[field]).read_text()
