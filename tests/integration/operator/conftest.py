"""An operator, a gateway that says what the test wants, and fleets in a namespace of their own."""

import time

import pytest
from torpor.api import constants as c
from torpor.api import names

from tests.integration.kube import FLEETS, until
from tests.integration.operator.gateway import DemandServer
from tests.integration.operator.process import OperatorProcess


class Cluster:
    """The API server as a test's reader and actor. No kubelet and no controller runs: pods are made here."""

    def __init__(self, kube, namespace, operator, gateway, start):
        self.kube, self.namespace, self.operator, self.gateway = kube, namespace, operator, gateway
        self.start = start
        self.took = 0.0  # seconds from the operator's start to its leading

    def get(self, path):
        answer = self.kube.http.get(path)
        return answer.json() if answer.status_code == 200 else None

    def create(self, name="llm", **scaling):
        answer = self.kube.create(
            {
                "apiVersion": c.API_VERSION,
                "kind": c.KIND,
                "metadata": {"name": name, "namespace": self.namespace},
                "spec": {
                    "model": {"uri": "hf://org/model"},
                    "engine": {"type": "Simulated"},
                    "scaling": {"maxReplicas": 4} | scaling,
                },
            }
        )
        assert answer.status_code == 201, answer.text
        return answer.json()

    def fleet_path(self, name="llm"):
        return f"{FLEETS}/namespaces/{self.namespace}/inferenceservices/{name}"

    def fleet(self, name="llm"):
        return self.get(self.fleet_path(name))

    def patch(self, path, patch):
        answer = self.kube.merge(path, patch)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def deployment_path(self, name="llm"):
        return f"/apis/apps/v1/namespaces/{self.namespace}/deployments/{names.engines(name)}"

    def replicas(self, name="llm"):
        found = self.get(self.deployment_path(name))
        return found and found["spec"]["replicas"]

    def condition(self, type_, name="llm"):
        for item in ((self.fleet(name) or {}).get("status") or {}).get("conditions", ()):
            if item["type"] == type_:
                return item["status"], item["reason"]
        return None

    def wait_condition(self, type_, status, reason, name="llm", seconds=60):
        until(lambda: self.condition(type_, name) == (status, reason), f"{type_}={status} {reason}", seconds)

    def wait_replicas(self, number, name="llm", seconds=60):
        until(lambda: self.replicas(name) == number, f"{number} replicas", seconds)

    def settled(self, name="llm"):
        """Wait until the fleet sleeps and everything about it is known; return the object."""
        self.wait_condition(c.READY, "True", c.ASLEEP, name)
        self.wait_condition(c.SIGNALS_AVAILABLE, "True", c.AVAILABLE, name)
        return self.fleet(name)

    def pod(self, pod, status, name="llm"):
        """Make a pod of the fleet, or change its status, as the kubelet would."""
        path = f"/api/v1/namespaces/{self.namespace}/pods"
        if self.get(f"{path}/{pod}") is None:
            template = self.get(self.deployment_path(name))["spec"]["template"]
            body = {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": pod, "labels": template["metadata"]["labels"]},
                "spec": {"containers": [{"name": "engine", "image": "engine:1"}]},
            }
            answer = self.kube.http.post(path, json=body)
            assert answer.status_code == 201, answer.text
        self.patch(f"{path}/{pod}/status", {"status": status})

    def events(self, name="llm"):
        path = f"/api/v1/namespaces/{self.namespace}/events"
        items = self.get(path)["items"]
        return [item for item in items if item["involvedObject"]["name"] == name]


@pytest.fixture
def gateway(tmp_path):
    (tmp_path / "token").write_text("secret\n")
    server = DemandServer("secret")
    yield server
    server.close()


@pytest.fixture
def start(kube, namespace, gateway, tmp_path):
    """Start operator processes; each is ended with the test."""
    running = []

    def begin(name="operator-a", **more):
        operator = OperatorProcess(
            kube.kubeconfig,
            namespace,
            name,
            log=tmp_path / f"{name}.log",
            gateway=gateway.address,
            token_file=tmp_path / "token",
            **more,
        )
        running.append(operator)
        return operator

    yield begin
    for operator in running:
        operator.kill()


@pytest.fixture
def led(kube, namespace, gateway, start):
    """Make a cluster whose operator has the given environment: `led(TORPOR_…="…")`."""
    # No controller makes it here, and pods are refused without it.
    account = {"metadata": {"name": "default"}}
    kube.http.post(f"/api/v1/namespaces/{namespace}/serviceaccounts", json=account)

    def lead(name="operator-a", **more):
        begun = time.monotonic()
        operator = start(name, **more)
        operator.wait_leading()
        operator.wait_streaming()
        made = Cluster(kube, namespace, operator, gateway, start)
        made.took = time.monotonic() - begun
        return made

    return lead


@pytest.fixture
def cluster(led):
    return led()
