"""Wake, sleep and restart as a person asks for them: the command line, an operator, a real API server."""

import json
import subprocess
import sys

import pytest
from torpor.api import constants as c

from tests.integration.kube import until
from tests.integration.operator.test_fleets import READY, stats


def torpor(cluster, *arguments):
    command = [sys.executable, "-c", "from torpor.cli import main; main()", *arguments]
    where = ["-n", cluster.namespace, "--kubeconfig", str(cluster.kube.kubeconfig)]
    done = subprocess.run([*command, *where], capture_output=True, text=True, timeout=150, check=False)
    return done.returncode, done.stdout, done.stderr


def became(cluster, verb):
    """What the status says of the request: (state, message)."""
    for item in (cluster.fleet().get("status") or {}).get("requests", ()):
        if item["name"] == verb:
            return item["state"], item["message"]
    return None


def told(cluster, reason):
    return [event["message"] for event in cluster.events() if event["reason"] == reason]


@pytest.mark.timeout(600)
def test_a_person_wakes_restarts_and_puts_to_sleep_and_another_leader_does_nothing_again(led):
    cluster = led("operator-a")
    cluster.create()
    cluster.settled()
    code, _, error = torpor(cluster, "wake", "llm")
    assert (code, "say --yes" in error, cluster.replicas()) == (2, True, 0)
    code, out, error = torpor(cluster, "wake", "llm", "--yes", "--wait", "--timeout", "120", "-o", "json")
    assert (code, json.loads(out)["message"]) == (0, "0 -> 1 replicas"), error
    cluster.wait_replicas(1)
    until(lambda: told(cluster, c.WAKE_REQUESTED), "an Event tells of the wake")
    assert cluster.fleet()["spec"]["scaling"].get("replicas") is None, "/scale was not used"

    cluster.pod("pod-0", READY)
    cluster.wait_condition(c.READY, "True", c.SERVING)
    cluster.gateway.say(cluster.fleet(), inFlight=1, pods=stats(running=1))
    generation = cluster.get(cluster.deployment_path())["metadata"]["generation"]
    code, _, error = torpor(cluster, "restart", "llm", "--yes", "--wait", "--timeout", "120")
    assert code == 0, error
    deployment = cluster.get(cluster.deployment_path())
    assert deployment["metadata"]["generation"] == generation + 1
    template = deployment["spec"]["template"]["metadata"]["annotations"]
    assert (
        template[c.ANNOTATION_RESTARTED]
        == cluster.fleet()["metadata"]["annotations"][c.ANNOTATION_RESTART_AT]
    )
    cluster.wait_condition(c.PROGRESSING, "True", c.SURGE_ROLLOUT)
    cluster.patch(  # the Deployment's controller would have replaced it
        f"/api/v1/namespaces/{cluster.namespace}/pods/pod-0",
        {"metadata": {"annotations": {c.ANNOTATION_RESTARTED: template[c.ANNOTATION_RESTARTED]}}},
    )
    cluster.wait_condition(c.PROGRESSING, "False", c.STABLE)

    cluster.gateway.say(cluster.fleet(), queued=2)
    code, _, error = torpor(cluster, "sleep", "llm", "--yes")
    assert code == 0, error
    until(
        lambda: became(cluster, "sleep") == (c.STATE_PENDING, "requests wait; done once none does"),
        "it waits",
    )
    assert cluster.replicas() == 1
    cluster.gateway.say(cluster.fleet(), queued=0, inFlight=0, pods=stats(running=0))
    cluster.wait_replicas(0)
    until(lambda: became(cluster, "sleep") == (c.STATE_DONE, "1 -> 0 replicas"), "it is done")
    requests = cluster.fleet()["status"]["requests"]
    assert cluster.operator.stop() == 0

    later = led("operator-b")
    later.patch(later.fleet_path(), {"metadata": {"annotations": {c.ANNOTATION_SLEEP_AT: "tomorrow"}}})
    until(lambda: became(later, "sleep") and became(later, "sleep")[0] == c.STATE_INVALID, "nonsense is told")
    until(lambda: told(later, c.REQUEST_INVALID), "by an Event")
    assert later.replicas() == 0, "the wake of before is not acted on again"
    kept = {item["name"]: item for item in later.fleet()["status"]["requests"]}
    assert [kept[name] for name in ("wake", "restart")] == [it for it in requests if it["name"] != "sleep"]

    code, page, error = torpor(later, "status")
    assert code == 0, error
    assert [line.split()[1] for line in page.splitlines()] == ["NAME", "llm"]
    code, page, _ = torpor(later, "explain", "llm")
    assert (code, "Asked for" in page) == (0, True)
