"""The fleet's ConfigMap on a real API server: it outlives leaders, is distrusted, and holds nothing up."""

import json

from torpor.api import constants as c

from tests.integration.kube import until

OBJECTIVES = {"interTokenLatencyMilliseconds": 20}


def path(cluster, name="llm"):
    return f"/api/v1/namespaces/{cluster.namespace}/configmaps/{name}-fleet"


def data(cluster):
    return (cluster.get(path(cluster)) or {}).get("data") or {}


def tuning(cluster):
    """The budget in the ConfigMap; None where there is none that can be read."""
    try:
        return json.loads(data(cluster)[c.KEY_TUNING])["maxNumBatchedTokens"]
    except (KeyError, ValueError):
        return None


def memory(cluster):
    return json.loads(data(cluster)[c.KEY_MEMORY])["memory"]["known"]


def engine(cluster):
    return ((cluster.fleet() or {}).get("status") or {}).get("engine") or {}


def kept(cluster):
    """A fleet that has a ConfigMap."""
    cluster.create(objectives=OBJECTIVES)
    fleet = cluster.settled()
    until(lambda: tuning(cluster), "the fleet has a prefill budget")
    return fleet


def lived(cluster, fleet):
    """Requests come and are answered while the leader looks."""
    looks = "torpor_operator_look_seconds_count"
    for number in range(1, 8):
        before = cluster.operator.metric(looks)
        cluster.gateway.say(
            fleet,
            arrivals=20 * number,
            arrivedPromptTokens=20_000 * number,
            completed=20 * number,
            promptTokens=20_000 * number,
            outputTokens=4_000 * number,
            promptSquares=20e6 * number,
            outputSquares=0.8e6 * number,
            products=4e6 * number,
            waitingPromptTokens=0,
        )
        until(lambda before=before: cluster.operator.metric(looks) > before, "the news was looked at")


def successor(cluster, name="operator-b"):
    found = cluster.start(name)
    found.wait_leading()
    until(lambda: found.metric("torpor_operator_look_seconds_count") >= 1, "the successor looked")
    return found


def test_the_budget_is_there_before_a_pod_is_and_the_fleet_owns_it(cluster):
    fleet = kept(cluster)
    found = cluster.get(path(cluster))
    owner = found["metadata"]["ownerReferences"][0]
    assert (owner["uid"], owner["controller"]) == (fleet["metadata"]["uid"], True)
    assert found["metadata"]["labels"][c.LABEL_FLEET] == "llm"
    template = cluster.get(cluster.deployment_path())["spec"]["template"]["spec"]
    volume = next(it for it in template["volumes"] if it["name"] == c.TUNING_VOLUME)["configMap"]
    assert (volume["name"], volume["optional"]) == (found["metadata"]["name"], True)
    until(lambda: engine(cluster).get("maxNumBatchedTokens") == tuning(cluster), "the status says it")


def test_another_objective_changes_the_budget_and_no_template(cluster):
    kept(cluster)
    before = tuning(cluster)
    generation = cluster.get(cluster.deployment_path())["metadata"]["generation"]
    cluster.patch(
        cluster.fleet_path(),
        {"spec": {"scaling": {"objectives": {"interTokenLatencyMilliseconds": 10}}}},
    )
    until(lambda: tuning(cluster) and tuning(cluster) < before, "a smaller budget")
    assert cluster.get(cluster.deployment_path())["metadata"]["generation"] == generation
    cluster.patch(cluster.fleet_path(), {"spec": {"scaling": {"objectives": None}}})
    until(lambda: c.KEY_TUNING not in data(cluster), "no budget")


def test_a_leader_that_ends_hands_over_what_it_learned(cluster):
    fleet = kept(cluster)
    lived(cluster, fleet)
    assert cluster.operator.stop() == 0
    before = memory(cluster)
    assert before["traffic"]["prompts"] > 0
    assert before["traffic"]["prompt_sum"] > 0
    second = successor(cluster)
    assert "going on with what was learned" in second.log.read_text()
    assert second.stop() == 0
    assert memory(cluster) == before, "and has lost nothing of it"


def test_a_successor_of_a_leader_that_was_killed_goes_on_with_what_was_written(cluster):
    fleet = kept(cluster)
    lived(cluster, fleet)
    assert cluster.operator.stop() == 0
    before = memory(cluster)
    successor(cluster, "operator-b").kill()
    third = successor(cluster, "operator-c")
    assert "going on with what was learned" in third.log.read_text()
    assert memory(cluster) == before


def test_what_engines_said_survives_a_leader(cluster):
    fleet = kept(cluster)
    cluster.gateway.hold(fleet, 1)
    cluster.wait_replicas(1)
    deployment = cluster.get(cluster.deployment_path())
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    stats = {
        "state": c.STATE_READY,
        "revision": labels[c.LABEL_REVISION],
        "kvCapacityTokens": 12_345,
        "maxNumSeqs": 64,
        "running": 0,
        "waiting": 0,
    }
    pods = {"llm-0": {"address": "10.0.0.1", "ageSeconds": 0.1, "matched": True, "stats": stats}}
    cluster.pod("llm-0", {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]})
    cluster.gateway.say(fleet, pods=pods, held={"count": 0})
    until(lambda: c.KEY_ENGINES in data(cluster), "the engines' word is kept")
    cluster.operator.kill()
    cluster.gateway.say(fleet, pods={})
    successor(cluster)
    assert json.loads(data(cluster)[c.KEY_ENGINES])["kv_tokens"] == 12_345


def test_a_damaged_config_map_is_ignored_and_mended(cluster):
    fleet = kept(cluster)
    budget = tuning(cluster)
    cluster.operator.stop()
    broken = dict.fromkeys((c.KEY_TUNING, c.KEY_ENGINES, c.KEY_MEMORY), '{"v": 1, "fleetUid": [')
    cluster.patch(path(cluster), {"data": broken})
    cluster.gateway.hold(fleet, 1)
    second = successor(cluster)
    cluster.wait_replicas(1)
    until(lambda: tuning(cluster) == budget, "the budget is there again")
    assert "is ignored" in second.log.read_text()
    assert data(cluster).get(c.KEY_MEMORY) != broken[c.KEY_MEMORY]
    # Whatever somebody does to it while a leader looks is undone, too.
    cluster.patch(path(cluster), {"data": {"mine": "1", c.KEY_TUNING: "{}"}})
    until(lambda: "mine" not in data(cluster) and tuning(cluster) == budget, "it is as it was")
    cluster.kube.http.delete(path(cluster))
    until(lambda: tuning(cluster) == budget, "it is made again")


def test_the_texts_of_another_life_are_not_believed(cluster):
    fleet = kept(cluster)
    cluster.operator.stop()
    other = {"v": 1, "fleetUid": "of-another-life", "maxNumBatchedTokens": 64, "message": "", "hardware": ""}
    cluster.patch(path(cluster), {"data": {c.KEY_TUNING: json.dumps(other | {"asked": ""})}})
    successor(cluster)
    until(lambda: tuning(cluster) not in (None, 64), "the budget is worked out anew")
    assert json.loads(data(cluster)[c.KEY_TUNING])["fleetUid"] == fleet["metadata"]["uid"]


def test_a_quota_that_refuses_it_stops_nothing(cluster):
    quotas = f"/api/v1/namespaces/{cluster.namespace}/resourcequotas"
    hard = {"count/configmaps": "0"}
    assert cluster.kube.http.post(
        quotas, json={"metadata": {"name": "none"}, "spec": {"hard": hard}}
    ).is_success
    cluster.patch(f"{quotas}/none/status", {"status": {"hard": hard, "used": hard}})
    cluster.create(objectives=OBJECTIVES)
    fleet = cluster.settled()
    cluster.gateway.hold(fleet, 1)
    cluster.wait_replicas(1)
    until(lambda: c.NOT_KEPT in {event["reason"] for event in cluster.events()}, "somebody is told")
    assert cluster.get(path(cluster)) is None
    # It is known, and goes into the object with the next try.
    until(lambda: engine(cluster).get("maxNumBatchedTokens"), "the status says it")


def test_somebody_elses_object_of_that_name_is_left_alone(cluster):
    collection = f"/api/v1/namespaces/{cluster.namespace}/configmaps"
    mine = {"metadata": {"name": "llm-fleet"}, "data": {"mine": "1"}}
    assert cluster.kube.http.post(collection, json=mine).status_code == 201
    cluster.create(objectives=OBJECTIVES)
    fleet = cluster.settled()
    cluster.gateway.hold(fleet, 1)
    cluster.wait_replicas(1)
    assert cluster.operator.stop() == 0
    assert data(cluster) == {"mine": "1"}
