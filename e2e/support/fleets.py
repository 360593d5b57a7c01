"""Fleets as users write them, and what their objects say.

`fleet(...)` builds an InferenceService with the simulated engine, a GPU limit like production's, and times
short enough for a test; every field can be given. `Fleet` is a handle on one that was applied: it reads
status, waits for conditions and never reaches behind the API.
"""

import copy
from dataclasses import dataclass
from typing import Any

from e2e.support.kube import Cluster, Object
from e2e.support.waiting import PATIENCE, until

SLEEPY = {"minReplicas": 0, "maxReplicas": 1, "idleSeconds": 3}
# Real vLLM on a CPU with a real small model, both in one image: the arguments of `fleet` beside the name.
REAL_VLLM: dict[str, Any] = {
    "model": {"uri": "image:///models/smollm2"},
    "gpus": 0,
    "args": ["--enforce-eager", "--dtype=float32", "--max-model-len=1024", "--max-num-seqs=8"],
    "engine": {
        "type": "vLLM",
        "image": "localhost/torpor-vllm-cpu:0.32.0",
        "env": [
            {"name": "VLLM_CPU_KVCACHE_SPACE", "value": "1"},
            {"name": "HF_HUB_OFFLINE", "value": "1"},
        ],
        "resources": {"requests": {"cpu": "100m", "memory": "2Gi"}, "limits": {"memory": "6Gi"}},
    },
}


def merge(base: Object, changes: Object) -> Object:
    """A deep merge that leaves both arguments as they were; a None in `changes` removes the key."""
    merged = copy.deepcopy(base)
    for key, value in changes.items():
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, dict) and isinstance(merged.get(key), dict):
            merged[key] = merge(merged[key], value)
        else:
            merged[key] = copy.deepcopy(value)
    return merged


def fleet(name: str, *, args: list[str] | None = None, gpus: int = 1, **spec: Any) -> Object:
    """An InferenceService of the simulated engine; `spec` is merged over the short defaults, `args` go to
    the engine.
    """
    # Answers of the simulated engine end by chance unless told otherwise; tests want the length they ask for.
    simulated = spec.get("engine", {}).get("type", "Simulated") == "Simulated"
    talkative = ["--output-tokens=1000000"] if simulated else []
    base: Object = {
        "model": {"uri": f"hf://simulated/{name}"},
        "engine": {
            "type": "Simulated",
            "args": [*(["--startup-seconds=1"] if args is None else args), *talkative],
            "resources": {
                "requests": {"cpu": "25m", "memory": "64Mi"},
                "limits": {"memory": "256Mi", **({"nvidia.com/gpu": gpus} if gpus else {})},
            },
        },
        "scaling": SLEEPY,
        "drainSeconds": 25,
    }
    return {
        "apiVersion": "serving.torpor.dev/v1alpha1",
        "kind": "InferenceService",
        "metadata": {"name": name},
        "spec": merge(base, spec),
    }


@dataclass(frozen=True)
class Fleet:
    """One applied InferenceService."""

    cluster: Cluster
    namespace: str
    name: str

    @property
    def model(self) -> str:
        """The model name that always routes here."""
        return f"{self.namespace}/{self.name}"

    def object(self) -> Object:
        return self.cluster.get("inferenceservices", self.name, self.namespace)

    def status(self) -> Object:
        return dict(self.object().get("status") or {})

    def condition(self, kind: str) -> Object | None:
        """The condition of that type, if its generation is the object's; a stale one says nothing about
        this spec.
        """
        now = self.object()
        for condition in (now.get("status") or {}).get("conditions", []):
            if (
                condition["type"] == kind
                and condition.get("observedGeneration") == now["metadata"]["generation"]
            ):
                return dict(condition)
        return None

    def wait(
        self, kind: str, status: str = "True", reason: str | None = None, *, seconds: float = PATIENCE
    ) -> Object:
        """Wait for a condition and return it."""

        def check() -> Object:
            found = self.condition(kind)
            assert found, f"no current condition {kind}"
            assert found["status"] == status, found
            assert reason in (None, found["reason"]), found
            return found

        wanted = f"{self.model}: {kind}={status}" + (f" ({reason})" if reason else "")
        return until(wanted, check, seconds=seconds)

    def deployment(self) -> Object | None:
        return self.cluster.find("deployments", f"{self.name}-engines", self.namespace)

    def replicas(self) -> int | None:
        """The Deployment's spec.replicas; None while there is no Deployment."""
        found = self.deployment()
        return None if found is None else int(found["spec"]["replicas"])

    def pods(self, *, terminating: bool = False) -> list[Object]:
        """The engine pods, without those that are being deleted unless asked for."""
        selector = f"serving.torpor.dev/inferenceservice={self.name},app.kubernetes.io/managed-by=torpor"
        found = self.cluster.list("pods", self.namespace, labelSelector=selector)
        return [pod for pod in found if terminating or "deletionTimestamp" not in pod["metadata"]]

    def ready_pods(self) -> list[Object]:
        return [pod for pod in self.pods() if is_ready(pod)]

    def wait_replicas(self, count: int, *, seconds: float = PATIENCE) -> None:
        """Wait until exactly `count` pods are ready and none other is left but those on their way out."""

        def check() -> bool:
            pods = self.pods()
            ready = [pod["metadata"]["name"] for pod in pods if is_ready(pod)]
            assert len(ready) == len(pods) == count, f"{len(pods)} pods, of them ready {ready}"
            return True

        until(f"{self.model} has {count} ready pods", check, seconds=seconds)

    def wait_asleep(self, *, seconds: float = PATIENCE) -> None:
        """Wait until the Deployment is at zero and no pod is left, terminating ones included."""

        def check() -> bool:
            assert self.replicas() == 0, (
                f"spec.replicas {self.replicas()}, decision {self.status().get('decision')}"
            )
            left = [pod["metadata"]["name"] for pod in self.pods(terminating=True)]
            assert not left, f"pods {left}"
            return True

        until(f"{self.model} is asleep", check, seconds=seconds)

    def patch(self, **spec: Any) -> None:
        """Change the spec by a JSON merge patch, as `kubectl patch` does."""
        self.cluster.patch("inferenceservices", self.name, {"spec": spec}, self.namespace)


def is_ready(pod: Object) -> bool:
    """Whether the pod's Ready condition is True."""
    return any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"].get("conditions", []))


def fails(pod: Object) -> bool:
    """Whether the pod's own status says that something is wrong with it."""
    status = pod["status"]
    unscheduled = [
        c for c in status.get("conditions", []) if c["type"] == "PodScheduled" and c["status"] == "False"
    ]
    states = [
        {**container["state"], **container.get("lastState", {})}
        for container in status.get("containerStatuses", [])
    ]
    waits = [state.get("waiting", {}).get("reason", "") for state in states]
    ended = any("terminated" in state for state in states)
    return bool(unscheduled or ended or any("Image" in reason for reason in waits))
