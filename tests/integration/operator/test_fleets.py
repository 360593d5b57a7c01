"""One fleet's life: made asleep, woken, measured, put to sleep; and what is said about it."""

from torpor.api import constants as c
from torpor.cluster.resources import CHILDREN

from tests.integration.kube import until

READY = {
    "phase": "Running",
    "conditions": [
        {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"},
        {"type": "PodScheduled", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"},
    ],
}


def stats(**more):
    numbers = {
        "state": "Ready",
        "running": 0,
        "waiting": 0,
        "waitingCapacity": 0,
        "kvUtilization": 0.0,
        "metricsAgeSeconds": 0.1,
        "maxNumSeqs": 8,
        "phases": [{"name": "load", "seconds": 1.5}],
    }
    return {"pod-0": {"address": "10.0.0.1", "ageSeconds": 0.1, "matched": True, "stats": numbers | more}}


def test_a_new_fleet_sleeps_and_never_asks_for_a_pod(cluster):
    cluster.create()
    fleet = cluster.settled()
    deployment = cluster.get(cluster.deployment_path())
    assert deployment["spec"]["replicas"] == 0
    assert deployment["metadata"]["generation"] == 1, "the number was 0 from the first write on"
    status = fleet["status"]
    assert (status["replicas"], status["readyReplicas"], status["desiredReplicas"]) == (0, 0, 0)
    assert status["observedGeneration"] == fleet["metadata"]["generation"]
    assert status["decision"]["reason"] == "Asleep"
    assert status["url"] == f"http://llm.{cluster.namespace}.svc.cluster.local/v1"
    for resource in CHILDREN:
        if resource.kind in ("PersistentVolumeClaim", "ConfigMap"):  # not asked for; nothing to keep yet
            continue
        items = cluster.get(resource.path(cluster.namespace))["items"]
        assert items, resource.kind
        assert all(
            item["metadata"]["ownerReferences"][0]["uid"] == fleet["metadata"]["uid"] for item in items
        )


def test_a_held_request_wakes_and_the_status_says_why(cluster):
    cluster.create()
    fleet = cluster.settled()
    cluster.gateway.hold(fleet, 1)
    cluster.wait_replicas(1)
    cluster.wait_condition(c.AWAKE, "False", c.STARTING)
    cluster.wait_condition(c.READY, "True", c.WAKING)
    decision = cluster.fleet()["status"]["decision"]
    assert decision["desiredReplicas"] == 1
    until(lambda: [e for e in cluster.events() if e["reason"] == "Wake"], "an Event tells of the wake")


def test_a_burst_wakes_as_many_as_it_needs(cluster):
    cluster.create()
    cluster.gateway.hold(cluster.settled(), 11)
    cluster.wait_replicas(3)


def test_a_whole_night_wake_serve_measure_sleep(cluster):
    cluster.create(idleSeconds=2)
    fleet = cluster.settled()
    cluster.gateway.hold(fleet, 1)
    cluster.wait_replicas(1)
    cluster.pod("pod-0", READY)
    cluster.gateway.say(fleet, held={"count": 0}, inFlight=1, arrivals=1, pods=stats(running=1))
    cluster.wait_condition(c.READY, "True", c.SERVING)
    until(lambda: cluster.fleet()["status"].get("coldStart"), "the cold start is measured")
    # The launcher's word may come after the kubelet's.
    cold = until(
        lambda: (cold := cluster.fleet()["status"]["coldStart"]).get("phases") and cold,
        "the launcher's phases",
    )
    assert float(cold["lastSeconds"]) >= 0  # to a tenth, and the pod of a test may come sooner than that
    assert cold["phases"] == [{"name": "load", "seconds": "1.50"}]
    assert cluster.replicas() == 1
    cluster.gateway.say(fleet, inFlight=0, pods=stats())
    cluster.wait_replicas(0)
    until(lambda: cluster.fleet()["status"]["decision"]["desiredReplicas"] == 0, "the status says so")


def test_queue_depth_and_kv_cache_utilization_scale_out(cluster):
    cluster.create(minReplicas=1, maxReplicas=3)
    cluster.wait_replicas(1)
    cluster.pod("pod-0", READY)
    fleet = cluster.fleet()
    cluster.gateway.say(fleet, inFlight=16, pods=stats(running=8, waiting=8, waitingCapacity=8))
    cluster.wait_replicas(2)
    cluster.gateway.say(fleet, inFlight=16, queued=20, pods=stats(running=8, waiting=4, waitingCapacity=4))
    cluster.wait_replicas(3)


def test_an_image_that_cannot_be_pulled_is_a_failed_wake_with_a_next_step(cluster):
    cluster.create()
    fleet = cluster.settled()
    cluster.gateway.hold(fleet, 1)
    cluster.wait_replicas(1)
    waiting = {"waiting": {"reason": "ImagePullBackOff", "message": "not found"}}
    container = {"name": "engine", "image": "nowhere:1", "imageID": "", "ready": False, "restartCount": 0}
    cluster.pod("pod-0", {"phase": "Pending", "containerStatuses": [container | {"state": waiting}]})
    cluster.wait_condition(c.READY, "False", c.WAKE_FAILED)
    message = next(i for i in cluster.fleet()["status"]["conditions"] if i["type"] == c.READY)["message"]
    assert message.startswith(c.IMAGE_PULL_FAILED)
    assert "spec.engine.image" in message
    until(lambda: [e for e in cluster.events() if e["type"] == "Warning"], "a Warning tells of it")


def test_the_replica_with_the_fewest_requests_is_marked_before_the_fleet_shrinks(cluster):
    cluster.create(replicas=2)
    cluster.wait_replicas(2)
    for name in ("pod-0", "pod-1"):
        cluster.pod(name, READY)
    cluster.wait_condition(c.PROGRESSING, "False", c.STABLE)
    busy = {"pod-0": stats(running=1)["pod-0"], "pod-1": stats(running=7)["pod-0"]}
    cluster.gateway.say(cluster.fleet(), inFlight=8, pods=busy)
    cluster.wait_condition(c.SIGNALS_AVAILABLE, "True", c.AVAILABLE)
    cluster.patch(cluster.fleet_path() + "/scale", {"spec": {"replicas": 1}})
    cluster.wait_replicas(1)
    pods = f"/api/v1/namespaces/{cluster.namespace}/pods"
    costs = {
        name: cluster.get(f"{pods}/{name}")["metadata"].get("annotations", {}).get(c.ANNOTATION_DELETION_COST)
        for name in busy
    }
    assert costs == {"pod-0": "-1", "pod-1": None}


def test_the_writer_of_scale_is_obeyed_until_the_field_is_removed(cluster):
    cluster.create()
    cluster.settled()
    cluster.patch(cluster.fleet_path() + "/scale", {"spec": {"replicas": 6}})
    cluster.wait_replicas(6)
    cluster.wait_condition(c.EXTERNALLY_SCALED, "True", c.REPLICAS_SET)
    cluster.patch(cluster.fleet_path() + "/scale", {"spec": {"replicas": 0}})
    cluster.wait_replicas(0)
    cluster.wait_condition(c.READY, "False", c.SCALED_TO_ZERO_EXTERNALLY)
    cluster.patch(cluster.fleet_path(), {"spec": {"scaling": {"replicas": None}}})
    cluster.wait_condition(c.EXTERNALLY_SCALED, "False", c.DECIDED_BY_TORPOR)
    cluster.wait_condition(c.READY, "True", c.ASLEEP)
