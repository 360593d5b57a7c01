"""What is written, and what is not: once, nothing twice, nothing of others', and all of ours repaired."""

import copy

from torpor.api import constants as c
from torpor.cluster.resources import CHILDREN

from tests.integration.kube import until

CRD = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{c.CRD_NAME}"


def version(item):
    return item["metadata"]["resourceVersion"]


def looks(cluster):
    return cluster.operator.metric("torpor_operator_look_seconds_count")


def provoke_looks(cluster, count):
    """Make somebody else's changes that need no answer; return when each was looked at."""
    for number in range(count):
        before = looks(cluster)
        patch = {"metadata": {"annotations": {"example.com/note": str(number)}}}
        cluster.patch(cluster.deployment_path(), patch)
        until(lambda before=before: looks(cluster) > before, "the change was looked at")


def test_looking_at_a_converged_fleet_writes_nothing(cluster):
    cluster.create()
    cluster.settled()
    provoke_looks(cluster, 5)
    before = cluster.fleet()
    writes = cluster.operator.metric("torpor_operator_writes_total")
    events = [(e["reason"], e["count"]) for e in cluster.events()]
    provoke_looks(cluster, 5)
    assert cluster.operator.metric("torpor_operator_writes_total") == writes
    assert version(cluster.fleet()) == version(before)
    assert [(e["reason"], e["count"]) for e in cluster.events()] == events


def test_what_somebody_changed_or_deleted_is_repaired(cluster):
    cluster.create()
    cluster.settled()
    patch = {"spec": {"strategy": {"rollingUpdate": {"maxSurge": 7}}}}
    cluster.patch(cluster.deployment_path(), patch)

    def surge():
        return cluster.get(cluster.deployment_path())["spec"]["strategy"]["rollingUpdate"]["maxSurge"]

    until(lambda: surge() == 1, "maxSurge is 1 again")
    service = f"/api/v1/namespaces/{cluster.namespace}/services/llm"
    cluster.kube.http.delete(service)
    until(lambda: cluster.get(service), "the Service is there again")


def test_a_number_set_on_the_deployment_is_bounded_at_once_and_then_lowered_with_care(cluster):
    cluster.create(maxReplicas=2)
    cluster.settled()
    cluster.patch(cluster.deployment_path(), {"spec": {"replicas": 5}})
    cluster.wait_replicas(2)


def test_what_somebody_added_stays(cluster):
    cluster.create()
    cluster.settled()
    provoke_looks(cluster, 2)
    assert cluster.get(cluster.deployment_path())["metadata"]["annotations"]["example.com/note"] == "1"


def test_a_child_that_is_not_ours_is_left_alone_and_named(cluster):
    service = f"/api/v1/namespaces/{cluster.namespace}/services"
    mine = {"metadata": {"name": "llm"}, "spec": {"ports": [{"port": 1234}]}}
    assert cluster.kube.http.post(service, json=mine).status_code == 201
    cluster.create()
    cluster.wait_condition(c.READY, "False", c.NAME_TAKEN)
    assert cluster.get(f"{service}/llm")["spec"]["ports"][0]["port"] == 1234
    cluster.kube.http.delete(f"{service}/llm")
    cluster.wait_condition(c.READY, "True", c.ASLEEP)


def test_a_successor_of_the_same_name_waits_for_its_predecessors_children(cluster):
    cluster.create()
    old = cluster.settled()
    cluster.kube.http.delete(cluster.fleet_path())
    until(lambda: cluster.fleet() is None, "the fleet is gone")
    new = cluster.create(minReplicas=2)
    assert new["metadata"]["uid"] != old["metadata"]["uid"]
    # No garbage collector runs here: the children linger until they are deleted by hand.
    before = looks(cluster)
    until(lambda: looks(cluster) >= before + 2, "the successor was looked at")
    assert cluster.replicas() == 0
    for resource in CHILDREN:
        collection = resource.path(cluster.namespace)
        for item in cluster.get(collection)["items"]:
            cluster.kube.http.delete(f"{collection}/{item['metadata']['name']}")
    cluster.wait_replicas(2)
    owner = cluster.get(cluster.deployment_path())["metadata"]["ownerReferences"][0]
    assert owner["uid"] == new["metadata"]["uid"]


def test_an_invalid_spec_keeps_the_last_good_children(cluster):
    cluster.create(minReplicas=1, maxReplicas=2)
    cluster.wait_replicas(1)
    cluster.wait_condition(c.SPEC_VALID, "True", c.VALID)
    crd = cluster.get(CRD)
    lax = copy.deepcopy(crd)
    _without_rules(lax["spec"]["versions"][0]["schema"]["openAPIV3Schema"])
    try:
        # An older object may break a rule that came later: let the API server forget its rules.
        cluster.patch(CRD, {"spec": lax["spec"]})
        until(lambda: _breaks(cluster), "the API server accepts a broken spec")
        cluster.wait_condition(c.SPEC_VALID, "False", c.SPEC_INVALID)
        assert cluster.replicas() == 1
        cluster.gateway.hold(cluster.fleet(), 50)
        cluster.wait_replicas(2)  # the last good spec still scales
        message = next(i for i in cluster.fleet()["status"]["conditions"] if i["type"] == c.SPEC_VALID)[
            "message"
        ]
        assert message.startswith("spec.scaling.minReplicas: 5 must not exceed maxReplicas")
    finally:
        cluster.patch(CRD, {"spec": crd["spec"]})
    cluster.patch(cluster.fleet_path(), {"spec": {"scaling": {"minReplicas": 1}}})
    cluster.wait_condition(c.SPEC_VALID, "True", c.VALID)


def _breaks(cluster):
    patch = {"spec": {"scaling": {"minReplicas": 5}}}
    return cluster.kube.merge(cluster.fleet_path(), patch).status_code == 200


def _without_rules(schema):
    if isinstance(schema, dict):
        schema.pop("x-kubernetes-validations", None)
        for part in schema.values():
            _without_rules(part)
    elif isinstance(schema, list):
        for part in schema:
            _without_rules(part)


def test_one_fleet_that_is_refused_does_not_disturb_another(cluster):
    path = f"/api/v1/namespaces/{cluster.namespace}/resourcequotas"
    quota = {"metadata": {"name": "none"}, "spec": {"hard": {"count/deployments.apps": "1"}}}
    assert cluster.kube.http.post(path, json=quota).status_code == 201
    cluster.patch(
        f"{path}/none/status",
        {"status": {"hard": quota["spec"]["hard"], "used": {"count/deployments.apps": "0"}}},
    )
    cluster.create("first")
    cluster.settled("first")
    cluster.create("second")
    cluster.wait_condition(c.READY, "False", c.CONFIG_ERROR, "second")
    cluster.gateway.hold(cluster.fleet("first"), 1)
    cluster.wait_replicas(1, "first")


def test_two_fleets_of_one_model_name_and_the_older_keeps_it(cluster):
    cluster.create("a-older")
    cluster.settled("a-older")
    cluster.create("b-newer")
    cluster.settled("b-newer")
    cluster.patch(cluster.fleet_path("b-newer"), {"spec": {"model": {"name": "a-older"}}})
    cluster.wait_condition(c.ROUTE_ACCEPTED, "False", c.ROUTE_CONFLICT, "b-newer")
    assert cluster.condition(c.ROUTE_ACCEPTED, "a-older") == ("True", c.ACCEPTED)
    cluster.kube.http.delete(cluster.fleet_path("a-older"))
    cluster.wait_condition(c.ROUTE_ACCEPTED, "True", c.ACCEPTED, "b-newer")
