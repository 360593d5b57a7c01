"""Two operators, one writer: whoever dies or freezes, a demand is answered, and nobody writes without the
lease.
"""

import signal
from datetime import UTC, datetime, timedelta

from torpor.api import constants as c

from tests.integration.kube import until


def lease(cluster):
    path = f"/apis/coordination.k8s.io/v1/namespaces/{cluster.namespace}/leases/torpor-operator"
    return cluster.get(path)["spec"]


def test_a_standby_takes_over_from_a_leader_that_was_killed(cluster):
    standby = cluster.start("operator-b")
    standby.wait_ready()
    assert not standby.get("/readyz").json()["leading"]
    cluster.create()
    fleet = cluster.settled()
    cluster.operator.kill()
    cluster.gateway.hold(fleet, 1)  # nobody leads: the request waits at the gateway
    cluster.wait_replicas(1)
    assert lease(cluster)["holderIdentity"] == "operator-b"


def test_a_leader_that_is_told_to_stop_gives_the_lease_back(cluster):
    standby = cluster.start("operator-b")
    standby.wait_ready()
    assert cluster.operator.stop() == 0
    assert lease(cluster).get("holderIdentity") in (None, "", "operator-b"), (
        "it still has a holder that ended"
    )
    until(lambda: lease(cluster).get("holderIdentity") == "operator-b", "the standby leads")


def test_a_leader_that_was_frozen_does_not_write_and_ends(cluster):
    cluster.create()
    fleet = cluster.settled()
    standby = cluster.start("operator-b")
    standby.wait_ready()
    cluster.operator.process.send_signal(signal.SIGSTOP)
    cluster.gateway.hold(fleet, 1)
    cluster.wait_replicas(1)
    cluster.patch(cluster.fleet_path() + "/scale", {"spec": {"replicas": 3}})
    cluster.wait_replicas(3)
    cluster.operator.process.send_signal(signal.SIGCONT)
    assert cluster.operator.process.wait(60) == 1
    assert "Unclosed" not in cluster.operator.log.read_text()
    assert cluster.replicas() == 3
    assert lease(cluster)["holderIdentity"] == "operator-b"


def test_a_new_leader_does_not_shrink_what_it_did_not_watch(cluster):
    cluster.create(minReplicas=0, idleSeconds=60)  # longer than it takes to see that it did not shrink
    fleet = cluster.settled()
    cluster.gateway.hold(fleet, 9)
    cluster.wait_replicas(3)
    cluster.operator.kill()
    cluster.gateway.hold(fleet, 0)
    successor = cluster.start("operator-b")
    successor.wait_leading()
    until(lambda: successor.metric("torpor_operator_look_seconds_count") >= 1, "the successor looked")
    assert cluster.replicas() == 3
    assert cluster.condition(c.SPEC_VALID) == ("True", c.VALID)


def test_the_admin_port_tells_how_the_process_fares(cluster):
    health = cluster.operator.get("/healthz").json()
    assert health["ok"]
    assert health["staleWatches"] == []
    assert health["gateways"] == {"gateway-a": "live"}
    assert cluster.operator.metric("torpor_operator_leader") == 1
    assert cluster.operator.get("/nothing").status_code == 404


def test_a_new_leader_gives_the_account_of_a_wake_that_it_did_not_see_begin(cluster):
    cluster.create()
    fleet = cluster.settled()
    asleep = awake_since(cluster)
    cluster.gateway.hold(fleet, 1)
    cluster.wait_replicas(1)
    # Pods carry whole seconds: in the second in which the fleet fell asleep none of them is younger.
    until(lambda: datetime.now(UTC) >= asleep + timedelta(seconds=1), "the next second")
    cluster.pod("llm-0", {"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "True"}]})
    cluster.wait_condition(c.READY, "True", c.WAKING)
    assert cluster.operator.stop() == 0
    became = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    ready = {"type": "Ready", "status": "True", "lastTransitionTime": became}
    cluster.pod("llm-0", {"phase": "Running", "conditions": [ready]})
    successor = cluster.start("operator-b")
    successor.wait_leading()
    until(lambda: "coldStart" in cluster.fleet()["status"], "the successor's account")
    pod = cluster.get(f"/api/v1/namespaces/{cluster.namespace}/pods/llm-0")
    began = datetime.fromisoformat(pod["metadata"]["creationTimestamp"])
    took = (datetime.fromisoformat(became) - began).total_seconds()
    assert float(cluster.fleet()["status"]["coldStart"]["lastSeconds"]) == took


def awake_since(cluster):
    """Since when the fleet is awake, or is not."""
    conditions = cluster.fleet()["status"]["conditions"]
    (found,) = (item for item in conditions if item["type"] == c.AWAKE)
    return datetime.fromisoformat(found["lastTransitionTime"])
