"""Plans: what is missing, in the order in which it must be written, and nothing else."""

import copy

import pytest
from torpor.build import children
from torpor.cluster.resources import DEPLOYMENTS, SERVICES
from torpor.control.drift import fingerprint
from torpor.control.plan import Plan, Scale, plan, plan_scale

from tests.unit.control.worlds import BUILD, fleet, live_children, service, world

RAW = fleet()
PLACE = (DEPLOYMENTS, "llm-engines")


def wanted(seen, replicas, raw=RAW):
    return children(service(raw), BUILD, replicas, seen.deployment)


def kinds(todo):
    return [manifest["kind"] for manifest in todo.applies]


def test_a_converged_world_needs_no_write():
    seen = world(replicas=2)
    assert plan(seen, wanted(seen, 2), {}).empty


def test_a_new_fleet_gets_its_deployment_last_and_with_its_number():
    seen = world(children={})
    todo = plan(seen, wanted(seen, 0), {})
    assert kinds(todo)[-1] == "Deployment"
    assert todo.applies[-1]["spec"]["replicas"] == 0
    assert len(todo.new) == len(todo.applies)


def test_a_wake_changes_the_number_and_nothing_else():
    seen = world(replicas=0)
    todo = plan(seen, wanted(seen, 1), {})
    assert todo == Plan(scale=Scale(seen.deployment, 1))


def test_a_wake_that_finds_more_amiss_is_one_write_conditional_on_what_was_seen():
    lived = live_children(RAW, 0)
    lived[PLACE]["spec"]["strategy"]["rollingUpdate"]["maxSurge"] = 5
    del lived[SERVICES, "llm"]
    seen = world(children=lived)
    todo = plan(seen, wanted(seen, 1), {})
    assert kinds(todo) == ["Deployment", "Service"]
    assert todo.scale is None
    assert todo.applies[0]["spec"]["replicas"] == 1
    assert todo.applies[0]["metadata"]["resourceVersion"] == seen.deployment["metadata"]["resourceVersion"]


def test_a_value_that_the_server_rewrites_does_not_make_a_wake_more_than_a_number():
    lived = live_children(RAW, 0)
    lived[PLACE]["spec"]["template"]["spec"]["volumes"][0]["emptyDir"]["sizeLimit"] = "16777216"
    left_behind = {PLACE: fingerprint(lived[PLACE])}
    for number in (1, 0):
        seen = world(children=lived)
        todo = plan(seen, wanted(seen, number), left_behind)
        assert not todo.applies
        lived[PLACE]["spec"]["replicas"] = number


@pytest.mark.parametrize(
    "change",
    [
        lambda live: live["spec"]["strategy"]["rollingUpdate"].update(maxSurge=5),
        lambda live: live["metadata"]["labels"].clear(),
        lambda live: live["metadata"]["annotations"].clear(),
        lambda live: live["metadata"].update(ownerReferences=[]),
    ],
)
def test_a_value_that_somebody_changed_is_applied_again(change):
    lived = live_children(RAW, 1)
    change(lived[PLACE])
    seen = world(children=lived)
    assert kinds(plan(seen, wanted(seen, 1), {})) == ["Deployment"]


def test_what_somebody_added_is_left_alone():
    lived = live_children(RAW, 1)
    lived[PLACE]["metadata"]["annotations"]["deployment.kubernetes.io/revision"] = "3"
    lived[PLACE]["spec"]["paused"] = False
    seen = world(children=lived)
    assert plan(seen, wanted(seen, 1), {}).empty


def test_a_value_that_the_server_rewrites_is_applied_once_and_not_for_ever():
    lived = live_children(RAW, 0)
    volumes = lived[PLACE]["spec"]["template"]["spec"]["volumes"]
    volumes[0]["emptyDir"]["sizeLimit"] = "16777216"
    seen = world(children=lived)
    assert kinds(plan(seen, wanted(seen, 0), {})) == ["Deployment"]
    assert plan(seen, wanted(seen, 0), {PLACE: fingerprint(lived[PLACE])}).empty


def test_a_field_that_left_the_manifest_is_news_although_every_value_fits():
    more = fleet(drainSeconds=30, engine={"type": "Simulated", "env": [{"name": "A", "value": "b"}]})
    lived = live_children(more, 0)
    seen = world(RAW, children=lived)
    assert "Deployment" in kinds(plan(seen, wanted(seen, 0), {}))


def test_the_number_alone_is_changed_where_no_valid_spec_is_known():
    seen = world(replicas=1, service=None)
    assert plan_scale(seen, 0).scale == Scale(seen.deployment, 0)
    assert plan_scale(seen, 1).empty
    assert plan_scale(world(service=None, children={}), 1).empty


def test_planning_changes_nothing_it_was_given():
    seen = world(replicas=1)
    before = copy.deepcopy(seen.children)
    plan(seen, wanted(seen, 2), {})
    assert seen.children == before
