"""The modes on a real API server: who changes the number, and what the object and the command line say."""

import json
import subprocess
import sys

from torpor.api import constants as c

from tests.integration.kube import until
from tests.integration.operator.test_fleets import READY, stats


def decision(cluster):
    return (cluster.fleet()["status"] or {}).get("decision") or {}


def mode(cluster, name):
    cluster.patch(cluster.fleet_path(), {"spec": {"scaling": {"mode": name}}})


def told(cluster, reason):
    return [event["message"] for event in cluster.events() if event["reason"] == reason]


def explained(cluster, *arguments):
    command = [sys.executable, "-c", "from torpor.cli import main; main()", "explain", *arguments]
    where = ["-n", cluster.namespace, "--kubeconfig", str(cluster.kube.kubeconfig)]
    done = subprocess.run([*command, *where], capture_output=True, text=True, timeout=150, check=False)
    return done.returncode, done.stdout, done.stderr


def test_a_number_is_recommended_then_followed_then_kept(cluster):
    cluster.create(mode="Recommend", minReplicas=1)
    cluster.wait_replicas(1)
    cluster.wait_condition(c.SCALING_ACTIVE, "False", c.RECOMMEND)
    cluster.pod("pod-0", READY)
    cluster.wait_condition(c.READY, "True", c.SERVING)
    cluster.gateway.say(cluster.fleet(), inFlight=8, pods=stats(running=8, waitingCapacity=11))
    until(lambda: decision(cluster).get("recommendedReplicas") == 3, "three are recommended")
    assert (decision(cluster)["desiredReplicas"], decision(cluster)["reason"]) == (1, "Recommend")
    assert cluster.replicas() == 1
    until(lambda: told(cluster, "Recommend"), "an Event tells of it")  # it follows the status
    assert len(told(cluster, "Recommend")) == 1, "one Event, updated"

    code, page, _ = explained(cluster, "llm")
    assert code == 0
    assert "Torpor alone would ask for 3." in page
    assert "Recommend lowers 3 to 1: spec.scaling.mode is Recommend" in page
    code, document, _ = explained(cluster, "llm", "-o", "json")
    assert (code, json.loads(document)["decision"]["recommendedReplicas"]) == (0, 3)
    code, _, error = explained(cluster, "lmm")
    assert (code, "there is llm" in error) == (1, True), error

    mode(cluster, "Auto")
    cluster.wait_replicas(3)
    cluster.wait_condition(c.SCALING_ACTIVE, "True", c.AUTO)
    mode(cluster, "Paused")
    cluster.wait_condition(c.SCALING_ACTIVE, "False", c.PAUSED)
    cluster.gateway.say(cluster.fleet(), inFlight=8, pods=stats(running=8, waitingCapacity=40))
    cluster.patch(cluster.fleet_path() + "/scale", {"spec": {"replicas": 2}})
    cluster.wait_replicas(2)  # its writer is obeyed, whatever the mode
    cluster.wait_condition(c.SCALING_ACTIVE, "False", c.REPLICAS_SET)
    cluster.patch(cluster.fleet_path(), {"spec": {"scaling": {"replicas": None}}})
    cluster.wait_condition(c.SCALING_ACTIVE, "False", c.PAUSED)
    assert cluster.replicas() == 2, "what is there is kept"


def test_a_request_at_zero_shows_what_auto_would_do(cluster):
    cluster.create(mode="Recommend")
    cluster.wait_condition(c.READY, "False", c.RECOMMEND)
    cluster.wait_condition(c.SIGNALS_AVAILABLE, "True", c.AVAILABLE)
    cluster.gateway.say(cluster.fleet(), arrivals=1, refused=1)
    until(lambda: decision(cluster).get("recommendedReplicas") == 1, "a wake is recommended")
    assert cluster.replicas() == 0
    mode(cluster, "Auto")
    cluster.wait_condition(c.READY, "True", c.ASLEEP)
    assert cluster.replicas() == 0, "what was refused before wakes nobody"
    cluster.gateway.hold(cluster.fleet(), 1)
    cluster.wait_replicas(1)
