"""Looks in a row at one fleet, with a server that answers as told."""

import copy
from datetime import UTC, datetime

import pytest
from torpor import metrics
from torpor.cluster.client import ApiError
from torpor.cluster.resources import FLEETS, SERVICES, resource_of
from torpor.control.reconciler import CLOCK_DOUBT_SECONDS, RefusedError

from tests.unit.control.desk import Desk
from tests.unit.control.worlds import KEY, demand, report


async def test_the_first_look_makes_everything_and_the_second_nothing():
    desk = Desk()
    await desk.look()
    assert desk.server.applied[-2:] == ["Deployment", "InferenceService/status"]
    assert await desk.look() is None
    assert desk.server.applied == []


async def test_a_wake_is_one_write_then_the_status():
    desk = Desk()
    await desk.look()
    desk.gateways.seen = demand(held=1)
    await desk.look()
    assert desk.server.applied == ["Deployment/scale", "InferenceService/status"]
    assert desk.told.reasons == ["Wake"]
    assert desk.replicas == 1
    await desk.look()
    assert desk.server.applied == []


async def test_an_arrival_whose_wake_met_a_conflict_still_wakes():
    desk = Desk()
    await desk.look()
    desk.gateways.seen = demand(arrivals=1)
    desk.server.fail["Deployment/scale"] = ApiError(409, "Conflict", "changed")
    with pytest.raises(ApiError):
        await desk.look()
    assert desk.replicas == 0
    await desk.look()
    assert desk.replicas == 1


async def test_a_refused_child_is_a_condition_and_the_others_are_made():
    desk = Desk()
    desk.server.fail["Deployment"] = ApiError(403, "Forbidden", "exceeded quota")
    with pytest.raises(RefusedError, match="exceeded quota"):
        await desk.look()
    assert desk.server.applied.count("Service") == 2
    conditions = desk.store.get(FLEETS, *KEY)["status"]["conditions"]
    ready = next(item for item in conditions if item["type"] == "Ready")
    assert (ready["status"], ready["reason"]) == ("False", "ConfigError")
    await desk.look()
    assert desk.replicas == 0


async def test_a_refused_child_holds_up_neither_the_number_nor_its_history():
    desk = Desk()
    await desk.look()
    desk.store.remove(SERVICES, desk.store.get(SERVICES, KEY.namespace, "llm"))
    desk.server.refuses = {"Service"}
    desk.gateways.seen = demand(held=1)
    with pytest.raises(RefusedError) as first:
        await desk.look()
    assert desk.replicas == 1
    assert desk.told.reasons.count("Wake") == 1
    assert first.value.again <= desk.now + 10.0, "history counts only where somebody looks"
    desk.server.ready("llm-0", desk.store)
    desk.gateways.seen = demand(pods={"llm-0": report()})
    for _ in range(70):
        with pytest.raises(RefusedError):
            await desk.look(after=10.0)
    assert desk.replicas == 0, "idle for ten minutes"


async def test_a_deployment_that_is_refused_serves_on_with_the_number_that_is_needed():
    desk = Desk()
    await desk.look()
    desk.server.refuses = {"Deployment"}
    desk.respec(engine={"type": "Simulated", "args": ["--new"]})
    desk.gateways.seen = demand(held=1)
    with pytest.raises(RefusedError):
        await desk.look()
    assert desk.replicas == 1
    assert desk.told.reasons.count("Wake") == 1
    desk.server.ready("llm-0", desk.store)
    desk.gateways.seen = demand(pods={"llm-0": report()})
    for _ in range(70):
        with pytest.raises(RefusedError):
            await desk.look(after=10.0)
    assert desk.replicas == 0


async def test_before_a_fleet_shrinks_its_least_loaded_replica_is_marked():
    desk = Desk(scaling={"replicas": 2})
    await desk.look()
    for name in ("llm-0", "llm-1"):
        desk.server.ready(name, desk.store)
    desk.gateways.seen = demand(pods={"llm-0": report(running=5), "llm-1": report(running=0)})
    desk.respec(scaling={"replicas": 1})
    desk.server.fail["Pod llm-1"] = ApiError(404, "NotFound", "gone")
    await desk.look()
    assert desk.server.applied == ["Deployment/scale", "InferenceService/status"], "it is best effort"
    desk.respec(scaling={"replicas": 2})
    await desk.look()
    desk.respec(scaling={"replicas": 1})
    await desk.look()
    assert desk.server.applied == ["Pod llm-1", "Deployment/scale", "InferenceService/status"]


async def test_a_new_fleet_that_is_only_watched_starts_with_its_minimum_and_stays_there():
    desk = Desk(scaling={"mode": "Recommend", "minReplicas": 1, "maxReplicas": 8})
    await desk.look()
    assert desk.replicas == 1
    desk.server.ready("llm-0", desk.store)
    desk.gateways.seen = demand(pods={"llm-0": report(waitingCapacity=20)})
    for _ in range(10):
        await desk.look(after=10.0)
    assert desk.replicas == 1
    told = desk.store.get(FLEETS, *KEY)["status"]["decision"]
    assert (told["desiredReplicas"], told["recommendedReplicas"]) == (1, 5)
    assert b'torpor_fleet_recommended_replicas{name="llm",namespace="team"} 5.0' in metrics.exposition()
    # What it begins with, that it is only watched, and the one other number that it recommends.
    assert desk.told.reasons == ["MinReplicas", "Recommend", "Recommend"]
    desk.respec(scaling={"mode": "Auto", "minReplicas": 1, "maxReplicas": 8})
    await desk.look()
    assert desk.replicas == 5
    assert desk.told.reasons[3:] == ["QueueDepth", "Auto"]


async def test_a_refused_request_shows_what_auto_would_do_for_the_idle_period():
    desk = Desk(scaling={"mode": "Recommend", "idleSeconds": 60})
    assert await desk.look() is None
    desk.gateways.seen = demand(arrivals=1)
    again = await desk.look(after=40.0)
    assert again == desk.now + 10.0
    assert desk.store.get(FLEETS, *KEY)["status"]["decision"]["recommendedReplicas"] == 1
    for _ in range(9):
        await desk.look(after=10.0)
    told = desk.store.get(FLEETS, *KEY)["status"]["decision"]
    assert (desk.replicas, told["recommendedReplicas"]) == (0, 0)
    assert await desk.look(after=31.0) is None, "and then there is nothing to look after"


async def test_a_paused_fleet_is_left_alone_and_its_children_are_not():
    desk = Desk(scaling={"mode": "Paused"})
    await desk.look()
    await desk.look(after=40.0)
    desk.gateways.seen = demand(arrivals=7, held=3)
    desk.store.remove(SERVICES, desk.store.get(SERVICES, KEY.namespace, "llm"))
    await desk.look(after=40.0)
    assert desk.server.applied == ["Service"]
    assert desk.replicas == 0
    assert desk.told.reasons == ["Paused"]


async def test_an_unreachable_server_ends_the_look_without_a_status():
    desk = Desk()
    desk.server.fail["Service"] = ApiError(0, "TimeoutError", "no answer")
    with pytest.raises(ApiError):
        await desk.look()
    assert "InferenceService/status" not in desk.server.applied


async def test_a_fleet_that_is_being_deleted_is_not_rebuilt():
    desk = Desk()
    dying = copy.deepcopy(desk.raw)
    dying["metadata"] |= {"deletionTimestamp": "2026-11-21T12:00:00Z", "resourceVersion": "8"}
    desk.store.put(FLEETS, dying)
    await desk.look()
    assert desk.server.applied == []


async def test_a_predecessors_children_are_waited_for():
    desk = Desk()
    await desk.look()
    for place, child in desk.store.children(KEY).items():
        lingering = copy.deepcopy(child)
        lingering["metadata"]["ownerReferences"][0]["uid"] = "another-life"
        lingering["metadata"]["resourceVersion"] = "999"
        desk.store.put(resource_of(child), lingering)
        assert place
    assert await desk.look() == pytest.approx(desk.now + 1.0)
    assert desk.server.applied == []


async def test_an_answer_with_an_unseen_spec_is_left_to_the_watch():
    desk = Desk()
    changed = copy.deepcopy(desk.raw)
    changed["metadata"]["generation"] = 2
    desk.server.raw = changed
    await desk.look()
    assert "InferenceService/status" in desk.server.applied
    assert desk.store.get(FLEETS, *KEY)["metadata"]["generation"] == 1


async def test_a_name_that_is_taken_is_looked_at_again():
    desk = Desk()

    async def occupied(resource, namespace, name):
        return {"metadata": {"name": name}} if resource.kind == "Service" else None

    desk.server.get = occupied
    assert await desk.look() == pytest.approx(desk.now + 10.0)
    assert "Service" not in desk.server.applied


async def test_a_schedule_opens_closes_and_is_looked_at_in_time():
    window = {"name": "office", "days": ["Mon"], "start": "08:00", "end": "20:00", "minReplicas": 1}
    schedule = {"timeZone": "UTC", "windows": [window], "outside": {"maxReplicas": 0}}
    desk = Desk(scaling={"schedule": schedule})
    desk.wall = datetime(2026, 11, 23, 3, 0, tzinfo=UTC)
    assert await desk.look() == desk.now + CLOCK_DOUBT_SECONDS
    desk.wall = datetime(2026, 11, 23, 7, 59, 50, tzinfo=UTC)
    again = await desk.look()
    assert desk.replicas == 0
    assert again == desk.now + 10  # the opening
    desk.wall = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)
    await desk.look()
    assert desk.replicas == 1
    desk.wall = datetime(2026, 11, 23, 20, 0, tzinfo=UTC)
    await desk.look()
    assert desk.replicas == 0
    await desk.look()
    assert desk.told.reasons.count("ScheduleChanged") == 2
    assert [reason for reason in desk.told.reasons if "Schedule" in reason].count("ScheduleCeiling") == 1
