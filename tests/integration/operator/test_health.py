"""What Helm, Flux and Argo CD make of a fleet that a real operator looks after, through its whole life."""

import subprocess

import pytest
import yaml
from torpor.api import constants as c

from tests.integration.gitops.tools import verdicts
from tests.integration.kube import until
from tests.integration.operator.test_fleets import READY, stats

DAY = {"name": "day", "days": ["Mon"], "start": "08:00", "end": "20:00", "minReplicas": 1}
BAD_ZONE = {"timeZone": "Europe/Nowhere", "windows": [DAY]}  # the API server cannot know
HELM_SECONDS = 120


@pytest.fixture
def health(kube, control_plane):
    """Ask kstatus and Argo CD's health check about an object as the API server gives it."""

    def ask(item):
        (told,) = verdicts(control_plane.binaries / "torpor-kubernetes", [item])
        return told["kstatus"]["status"], told["argo"]["status"]

    return ask


def manifest(name, namespace, **scaling):
    return {
        "apiVersion": c.API_VERSION,
        "kind": c.KIND,
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "model": {"uri": "hf://org/model"},
            "engine": {"type": "Simulated"},
            "scaling": {"maxReplicas": 4} | scaling,
        },
    }


def test_a_fleet_that_no_operator_has_seen_is_in_progress(kube, namespace, health):
    fleet = manifest("llm", namespace)
    assert kube.create(fleet).status_code == 201
    found = kube.http.get(kube.path(fleet)).json()
    assert found["status"]["observedGeneration"] == 0
    assert health(found) == ("InProgress", "Progressing")


def test_from_the_first_look_to_the_last(cluster, health):
    def becomes(*told):
        until(lambda: health(cluster.fleet()) == told, f"{told} for {cluster.fleet()}")

    cluster.create()
    becomes("Current", "Healthy")
    assert cluster.condition(c.READY) == ("True", c.ASLEEP)
    for wanted in ("Ready", "Reconciling=False", "Stalled=False"):
        where = f"--namespace={cluster.namespace}"
        cluster.kube.kubectl("wait", f"--for=condition={wanted}", "isvc/llm", where, "--timeout=60s")
    fleet = cluster.settled()
    cluster.gateway.hold(fleet, 1)
    becomes("InProgress", "Progressing")
    cluster.wait_replicas(1)
    cluster.pod("pod-0", READY)
    cluster.gateway.say(fleet, held={"count": 0}, inFlight=1, arrivals=1, pods=stats(running=1))
    becomes("Current", "Healthy")
    # Another revision: the new replica has to come before the fleet is as the spec has it.
    env = [{"name": "LANGUAGE", "value": "de"}]
    cluster.patch(cluster.fleet_path(), {"spec": {"engine": {"env": env}}})
    cluster.wait_condition(c.PROGRESSING, "True", c.SURGE_ROLLOUT)
    becomes("InProgress", "Progressing")
    waiting = {"waiting": {"reason": "ImagePullBackOff", "message": "not found"}}
    container = {"name": "engine", "image": "nowhere:1", "imageID": "", "ready": False, "restartCount": 0}
    cluster.pod("pod-1", {"phase": "Pending", "containerStatuses": [container | {"state": waiting}]})
    becomes("Failed", "Degraded")
    assert cluster.condition(c.READY) == ("True", c.SERVING), "the old replica answers"
    # What goes by itself is healthy again.
    cluster.pod("pod-1", READY | {"containerStatuses": None})
    ended = cluster.kube.http.request(
        "DELETE",
        f"/api/v1/namespaces/{cluster.namespace}/pods/pod-0",
        params={"gracePeriodSeconds": 0},
    )
    assert ended.status_code == 200, ended.text
    becomes("Current", "Healthy")
    gone = cluster.kube.http.delete(cluster.fleet_path(), params={"propagationPolicy": "Foreground"})
    assert gone.status_code == 200, gone.text
    assert health(cluster.fleet())[0] == "Terminating"


@pytest.mark.timeout(600)
def test_helm_waits_for_a_fleet_and_gives_up_on_one_that_cannot_become(cluster, control_plane, tmp_path):
    def helm(release, fleet):
        chart = tmp_path / release
        (chart / "templates").mkdir(parents=True)
        (chart / "Chart.yaml").write_text("{apiVersion: v2, name: fleet, version: 1.0.0}\n")
        (chart / "templates/fleet.yaml").write_text(yaml.safe_dump(fleet))
        binary = str(control_plane.binaries / "torpor-kubernetes")
        command = [binary, "helm", "install", release, str(chart), "--wait", f"--timeout={HELM_SECONDS}s"]
        return subprocess.run(
            [*command, f"--kubeconfig={control_plane.kubeconfig}", f"--namespace={cluster.namespace}"],
            capture_output=True, text=True, timeout=HELM_SECONDS + 30, check=False,
            env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
        )  # fmt: skip

    good = helm("good", manifest("llm", cluster.namespace))
    assert good.returncode == 0, good.stderr
    found = cluster.fleet()
    assert found["status"]["observedGeneration"] == found["metadata"]["generation"], (
        "Helm waited for the look"
    )
    bad = helm("bad", manifest("night", cluster.namespace, schedule=BAD_ZONE))
    assert bad.returncode != 0
    assert "status: Failed" in bad.stderr, bad.stderr
    assert "Europe/Nowhere" in bad.stderr
    assert "deadline" not in bad.stderr, "it did not wait for the time-out"
