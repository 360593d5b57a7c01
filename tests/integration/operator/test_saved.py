"""GPU seconds through the real reconciler and a real API server: counted once, whoever leads."""

from datetime import datetime

from torpor.api import constants as c
from torpor.api import names

from tests.integration.kube import until

LIMITS = {"nvidia.com/gpu": 2, "memory": "1Gi"}
USED = "torpor_fleet_gpu_used_seconds_total"
ASLEEP = "torpor_fleet_gpu_asleep_seconds_total"
SAVED = "torpor_fleet_gpu_saved_seconds_total"
PRICE = "torpor_fleet_price_per_gpu_hour"


def create(cluster):
    """A fleet of at most 4 replicas of 2 GPUs, whose number the test sets."""
    answer = cluster.kube.create(
        {
            "apiVersion": c.API_VERSION,
            "kind": c.KIND,
            "metadata": {"name": "llm", "namespace": cluster.namespace},
            "spec": {
                "model": {"uri": "hf://org/model"},
                "engine": {"type": "Simulated", "resources": {"limits": LIMITS}},
                "scaling": {"maxReplicas": 4, "replicas": 0},
            },
        }
    )
    assert answer.status_code == 201, answer.text
    return answer.json()


def saved(cluster):
    return ((cluster.fleet() or {}).get("status") or {}).get("saved") or {}


def wait_gpus(cluster, **gpus):
    """Wait until these count; return the account."""

    def found():
        account = saved(cluster)
        return account if gpus.items() <= account.get("gpus", {}).items() else None

    return until(found, f"these GPUs count: {gpus}")


def seconds(account, before):
    """Between the two times up to which accounts count."""
    began, ended = (datetime.fromisoformat(one["asOf"]) for one in (before, account))
    return (ended - began).total_seconds()


def start_pod(cluster):
    """What the Deployment's and the scheduler's controllers would do."""
    path = f"/api/v1/namespaces/{cluster.namespace}/pods"
    template = cluster.get(cluster.deployment_path())["spec"]["template"]
    (engine,) = template["spec"]["containers"]
    container = {"name": "engine", "image": "engine:1", "resources": engine["resources"]}
    labels = template["metadata"]["labels"]
    body = {"metadata": {"name": "llm-0", "labels": labels}, "spec": {"containers": [container]}}
    assert cluster.kube.http.post(path, json=body).status_code == 201
    until(lambda: saved(cluster)["gpus"]["asleep"] == 0, "the fleet is not asleep")
    assert saved(cluster)["gpus"]["used"] == 0, "it has no node yet"
    cluster.pod("llm-0", {"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "True"}]})


def collect_garbage(cluster):
    """What the controller of that name would do after the fleet's deletion."""
    for group, kind, name in (
        ("/apis/apps/v1", "deployments", names.engines("llm")),
        ("/api/v1", "services", names.front("llm")),
        ("/api/v1", "services", names.engines("llm")),
        ("/api/v1", "configmaps", names.config("llm")),
        ("/apis/policy/v1", "poddisruptionbudgets", names.engines("llm")),
        ("/apis/networking.k8s.io/v1", "networkpolicies", names.engines("llm")),
    ):
        cluster.kube.http.delete(f"{group}/namespaces/{cluster.namespace}/{kind}/{name}")


def test_gpu_seconds_count_once_over_two_leaders(led):
    cluster = led(TORPOR_GPU_HOUR_PRICES='{"nvidia.com/gpu": "2.50"}')
    create(cluster)
    night = wait_gpus(cluster, used=0, asleep=8, max=8)
    assert night["pricePerGpuHour"] == "2.50"
    assert cluster.operator.metric(PRICE) == 2.5
    until(lambda: cluster.operator.metric(ASLEEP) >= 16, "the meter runs while nobody looks")
    assert saved(cluster) == night, "and nothing is written for it"

    cluster.patch(cluster.fleet_path(), {"spec": {"scaling": {"replicas": 1}}})
    cluster.wait_replicas(1)
    start_pod(cluster)
    day = wait_gpus(cluster, used=2, asleep=0)
    assert day["gpuSecondsAsleep"] % 8 == 0
    assert 16 <= day["gpuSecondsAsleep"] <= 8 * seconds(day, night)
    shown = until(lambda: cluster.operator.metric(USED), "the pod's seconds are shown")
    assert shown % 2 == 0
    assert cluster.operator.stop() == 0

    second = cluster.start("operator-b")
    second.wait_leading()
    until(lambda: second.metric("torpor_operator_look_seconds_count") >= 1, "the successor looked")
    assert second.metric(USED) >= shown
    assert {**saved(cluster), "pricePerGpuHour": "2.50"} == day, "it has no prices, and goes on counting"
    until(lambda: "pricePerGpuHour" not in saved(cluster), "the price is gone")

    cluster.patch(cluster.fleet_path(), {"spec": {"scaling": {"replicas": 0}}})
    cluster.wait_replicas(0)
    cluster.kube.http.delete(f"/api/v1/namespaces/{cluster.namespace}/pods/llm-0?gracePeriodSeconds=0")
    again = wait_gpus(cluster, used=0, asleep=8)
    assert again["gpuSecondsUsed"] == 2 * seconds(again, day)
    assert again["gpuSecondsAsleep"] == day["gpuSecondsAsleep"]
    always_on = 8 * seconds(again, night)
    assert again["gpuSecondsUsed"] + again["gpuSecondsSaved"]["max"] == always_on
    assert again["since"] == night["since"]
    until(lambda: second.metric(ASLEEP) > again["gpuSecondsAsleep"], "the meter runs on")
    assert second.metric(USED) == again["gpuSecondsUsed"]


def test_a_fleet_that_is_made_anew_begins_at_zero(cluster):
    create(cluster)
    first = wait_gpus(cluster, asleep=8)
    until(lambda: cluster.operator.metric(ASLEEP) >= 16, "the meter runs")
    patch = {"spec": {"scaling": {"maxReplicas": 3}}}
    cluster.patch(cluster.fleet_path(), patch)
    counted = wait_gpus(cluster, asleep=6, max=6)
    assert counted["gpuSecondsAsleep"] == 8 * seconds(counted, first) > 0

    cluster.kube.http.delete(cluster.fleet_path())
    until(lambda: f'{ASLEEP}{{name="llm"' not in cluster.operator.get("/metrics").text, "its series are gone")
    collect_garbage(cluster)
    create(cluster)
    successor = wait_gpus(cluster, asleep=8)
    assert (successor["gpuSecondsAsleep"], successor["gpuSecondsSaved"]["max"]) == (0, 0)
    assert successor["since"] >= counted["asOf"]
