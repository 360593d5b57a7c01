"""Annotations on the way through a reconciler: carried out once, told once, remembered by the status."""

import copy
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torpor.api import constants as c
from torpor.cluster.client import ApiError
from torpor.cluster.resources import DEPLOYMENTS, FLEETS, PODS, SERVICES
from torpor.control.reconciler import CLOCK_DOUBT_SECONDS, RefusedError
from torpor.control.requests import RETRY_SECONDS, requests_of

from tests.unit.control.desk import Desk
from tests.unit.control.worlds import KEY, NOW, demand, report, stamp

VERBS = {"wake": c.ANNOTATION_WAKE_AT, "sleep": c.ANNOTATION_SLEEP_AT, "restart": c.ANNOTATION_RESTART_AT}


def ask(desk, **values):
    """Somebody annotates the object; None takes an annotation away."""
    live = copy.deepcopy(desk.store.get(FLEETS, *KEY))
    notes = live["metadata"].setdefault("annotations", {})
    for verb, value in values.items():
        notes.pop(VERBS[verb], None) if value is None else notes.update({VERBS[verb]: value})
    desk.server.version += 1
    live["metadata"]["resourceVersion"] = str(desk.server.version)
    desk.server.raw = copy.deepcopy(live)
    desk.store.put(FLEETS, live)


def told(desk):
    return {item["name"]: item for item in desk.store.get(FLEETS, *KEY)["status"].get("requests", ())}


async def awake(number=1, **scaling):
    """A desk whose fleet has ready, idle replicas."""
    desk = Desk(scaling={"replicas": number} | scaling)
    await desk.look()
    names = [f"llm-{index}" for index in range(number)]
    for name in names:
        desk.server.ready(name, desk.store)
    desk.gateways.seen = demand(pods={name: report() for name in names})
    desk.respec(scaling=scaling)
    desk.server.version += 1  # which the desk gave to that change
    await desk.look()
    desk.told.reasons.clear()
    return desk


async def test_a_fleet_is_woken_once_and_the_status_remembers_it():
    desk = Desk()
    await desk.look()
    ask(desk, wake=stamp(1))
    await desk.look()
    assert desk.server.applied == ["Deployment/scale", "InferenceService/status"]
    assert (desk.replicas, desk.told.reasons) == (1, [c.WAKE_REQUESTED, c.WAKE_REQUESTED])
    assert told(desk)["wake"]["state"] == c.STATE_DONE
    ask(desk, sleep=stamp(0))
    await desk.look()
    assert desk.replicas == 0
    ask(desk, wake=None)
    await desk.look()
    ask(desk, wake=stamp(1))
    await desk.look()
    assert desk.replicas == 0, "the same value is not another request"


async def test_another_leader_does_not_act_again():
    desk = Desk()
    await desk.look()
    ask(desk, wake=stamp(1))
    await desk.look()
    ask(desk, sleep=stamp(0))
    await desk.look()
    status = desk.store.get(FLEETS, *KEY)["status"]
    assert {record.state for record in requests_of(status).values()} == {c.STATE_DONE}
    desk.reconciler._memos.clear()  # what another process would know
    await desk.look()
    assert desk.replicas == 0
    assert "Deployment/scale" not in desk.server.applied


async def test_a_leader_that_died_before_its_status_is_no_second_wake():
    desk = Desk()
    await desk.look()
    ask(desk, wake=stamp(1))
    desk.server.fail["InferenceService/status"] = ApiError(0, "TimeoutError", "no answer")
    with pytest.raises(ApiError):
        await desk.look()
    desk.reconciler._memos.clear()
    desk.told.reasons.clear()
    await desk.look()
    assert (desk.replicas, told(desk)["wake"]["state"]) == (1, c.STATE_DONE)
    assert "idle time begins anew" in told(desk)["wake"]["message"]


async def test_a_time_to_come_is_waited_for_and_may_be_withdrawn():
    desk = Desk()
    await desk.look()
    ask(desk, wake=stamp(-30))
    assert await desk.look() == desk.now + 30
    assert (desk.replicas, told(desk)["wake"]["state"]) == (0, c.STATE_PENDING)
    desk.wall = NOW + timedelta(seconds=30)
    await desk.look()
    assert desk.replicas == 1
    ask(desk, sleep=stamp(-4000))
    assert await desk.look() <= desk.now + CLOCK_DOUBT_SECONDS
    ask(desk, sleep=None)
    await desk.look()
    assert "sleep" not in told(desk)


async def test_sleep_waits_for_those_who_wait():
    desk = await awake()
    desk.gateways.seen = demand(queued=2, pods={"llm-0": report()})
    ask(desk, sleep=stamp(1))
    assert await desk.look() <= desk.now + RETRY_SECONDS
    assert (desk.replicas, told(desk)["sleep"]["state"]) == (1, c.STATE_PENDING)
    assert desk.told.reasons == []
    desk.gateways.seen = demand(pods={"llm-0": report()})
    await desk.look()
    assert (desk.replicas, told(desk)["sleep"]["state"]) == (0, c.STATE_DONE)


async def test_a_restart_replaces_pods_of_the_same_revision_once():
    desk = await awake(2)
    before = desk.store.get(DEPLOYMENTS, KEY.namespace, "llm-engines")["spec"]["template"]
    ask(desk, restart=stamp(1))
    await desk.look()
    assert desk.server.applied == ["Deployment", "InferenceService/status"]
    assert desk.told.reasons == [c.SURGE_ROLLOUT, c.RESTART_REQUESTED]
    template = desk.store.get(DEPLOYMENTS, KEY.namespace, "llm-engines")["spec"]["template"]
    assert template["metadata"]["annotations"][c.ANNOTATION_RESTARTED] == stamp(1)
    assert template["metadata"]["labels"] == before["metadata"]["labels"], "what was learned is kept"
    progressing = {"Progressing": "True"}
    found = {item["type"]: item["status"] for item in desk.store.get(FLEETS, *KEY)["status"]["conditions"]}
    assert progressing.items() <= found.items()
    desk.reconciler._memos.clear()
    await desk.look()
    assert "Deployment" not in desk.server.applied

    for name in ("llm-0", "llm-1"):  # the Deployment's controller replaces them
        desk.server.ready(name, desk.store)
        pod = copy.deepcopy(desk.store.get(PODS, KEY.namespace, name))
        pod["metadata"] |= {"annotations": {c.ANNOTATION_RESTARTED: stamp(1)}, "resourceVersion": "60"}
        desk.store.put(PODS, pod)
    await desk.look()
    found = {item["type"]: item["status"] for item in desk.store.get(FLEETS, *KEY)["status"]["conditions"]}
    assert found["Progressing"] == "False"
    assert desk.told.reasons == [c.SURGE_ROLLOUT, c.RESTART_REQUESTED]


async def test_a_restart_of_a_sleeping_fleet_is_done_without_a_write():
    desk = Desk()
    await desk.look()
    ask(desk, restart=stamp(1))
    await desk.look()
    assert desk.server.applied == ["InferenceService/status"]
    assert "no replica runs" in told(desk)["restart"]["message"]


async def test_a_restart_that_is_refused_is_tried_again():
    desk = await awake()
    ask(desk, restart=stamp(1))
    desk.server.fail["Deployment"] = ApiError(403, "Forbidden", "exceeded quota")
    with pytest.raises(RefusedError):
        await desk.look()
    assert told(desk)["restart"]["state"] == c.STATE_PENDING
    await desk.look()
    assert told(desk)["restart"]["state"] == c.STATE_DONE
    assert desk.told.reasons.count(c.RESTART_REQUESTED) == 1


async def test_a_restart_is_done_although_another_child_is_refused():
    desk = await awake()
    ask(desk, restart=stamp(1))
    desk.store.remove(SERVICES, desk.store.get(SERVICES, KEY.namespace, "llm"))
    desk.server.refuses = {"Service"}
    with pytest.raises(RefusedError):
        await desk.look()
    assert told(desk)["restart"]["state"] == c.STATE_DONE


async def test_refusals_and_nonsense_are_events_and_change_nothing():
    desk = await awake(minReplicas=1)
    ask(desk, sleep=stamp(1), wake="tomorrow", restart=stamp(7200))
    await desk.look()
    assert desk.replicas == 1
    assert [told(desk)[verb]["state"] for verb in VERBS] == ["Invalid", "Refused", "Missed"]
    assert "minReplicas is 1" in told(desk)["sleep"]["message"]
    assert set(desk.told.reasons) == {c.REQUEST_INVALID, c.REQUEST_REFUSED, c.REQUEST_MISSED}
    count = len(desk.told.reasons)
    await desk.look()
    assert (len(desk.told.reasons), desk.server.applied) == (count, [])


async def test_a_broken_spec_refuses_what_needs_one():
    desk = Desk(scaling={"minReplicas": 9})
    await desk.look()
    ask(desk, wake=stamp(1), restart=stamp(1))
    await desk.look()
    assert {item["state"] for item in told(desk).values()} == {c.STATE_REFUSED}


@given(
    st.recursive(st.none() | st.booleans() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x))
)
def test_a_mangled_status_is_no_record(value):
    assert requests_of({"requests": value}) == {}
    assert requests_of({"requests": [{"name": "wake", "value": value, "state": "Odd"}]}) == {}
