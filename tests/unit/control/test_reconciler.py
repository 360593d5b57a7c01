"""Looks in a row at one fleet, with a server that answers as told."""

import copy
from datetime import UTC, datetime

import pytest
from torpor import metrics
from torpor.api import constants as c
from torpor.api import names
from torpor.api.routes import BareNames
from torpor.build import revision_of
from torpor.cluster.client import ApiError
from torpor.cluster.resources import DEPLOYMENTS, FLEETS, PODS, SERVICES, resource_of
from torpor.control.executor import Executor
from torpor.control.naming import Naming
from torpor.control.reconciler import CLOCK_DOUBT_SECONDS, Parts, Reconciler, RefusedError
from torpor.control.store import Store
from torpor.decide.observation import Tally

from tests.unit.control.worlds import BUILD, KEY, NOW, UID, demand, fleet, report, service


class Server:
    """Keeps what is applied and numbers it; `fail` maps a kind to the error its next write gets, `refuses`
    names the kinds that are refused for ever.
    """

    def __init__(self, raw):
        self.raw, self.applied, self.fail, self.refuses, self.version = raw, [], {}, set(), 100

    def ready(self, name, store):
        """A pod of the fleet becomes ready."""
        status = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
        labels = names.pod_selector(KEY.name) | {c.LABEL_REVISION: revision_of(service(self.raw))}
        metadata = {"name": name, "namespace": KEY.namespace, "uid": name, "labels": labels}
        store.put(PODS, {"metadata": metadata | {"resourceVersion": "50"}, "status": status})

    async def get(self, resource, namespace, name):
        return None

    async def apply(self, manifest, *, subresource=None):
        kind = f"{manifest['kind']}/{subresource}" if subresource else manifest["kind"]
        if kind in self.refuses:
            raise ApiError(422, "Invalid", "it may not change")
        if error := self.fail.pop(kind, None):
            raise error
        self.applied.append(kind)
        self.version += 1
        answer = copy.deepcopy(manifest)
        if subresource:
            answer = copy.deepcopy(self.raw) | {"status": answer["status"]}
        answer["metadata"] |= {"resourceVersion": str(self.version), "uid": UID if subresource else kind}
        return answer

    async def merge(self, resource, namespace, name, patch, *, subresource=None):
        kind = f"{resource.kind}/{subresource}" if subresource else f"{resource.kind} {name}"
        if error := self.fail.pop(kind, None):
            raise error
        self.applied.append(kind)
        self.version += 1
        if subresource is None:
            metadata = {
                "name": name,
                "namespace": namespace,
                "uid": name,
                "resourceVersion": str(self.version),
            }
            return {"metadata": metadata | patch["metadata"]}
        # As the API server answers: the subresource's own kind, of which only the version is of use.
        return {"kind": "Scale", "metadata": {"resourceVersion": str(self.version)}, "spec": patch["spec"]}


class Gateways:
    seen = demand()

    def fleet(self, key, uid):
        return self.seen

    def forget(self, key):
        pass


class Told:
    def __init__(self):
        self.reasons = []

    async def record(self, metadata, severity, reason, message):
        self.reasons.append(reason)


class Desk:
    """A reconciler and everything around it."""

    def __init__(self, **spec):
        self.raw = fleet(**spec)
        metrics.forget(*KEY)  # what another test's fleet of this name left
        self.server, self.store, self.gateways, self.told = Server(self.raw), Store(), Gateways(), Told()
        self.store.put(FLEETS, copy.deepcopy(self.raw))
        parts = Parts(
            self.store,
            Naming(BareNames()),
            self.gateways,
            Executor(self.server, self.store),
            self.told,
            BUILD,
        )
        self.now = 0.0
        self.wall = NOW
        self.reconciler = Reconciler(parts, clock=lambda: self.now, wall=lambda: self.wall)

    def respec(self, **spec):
        """The owner changes the spec."""
        metadata = copy.deepcopy(self.store.get(FLEETS, *KEY)["metadata"])
        metadata |= {
            "generation": metadata["generation"] + 1,
            "resourceVersion": str(self.server.version + 1),
        }
        status = self.store.get(FLEETS, *KEY).get("status", {})
        self.raw = self.server.raw = fleet(**spec) | {"metadata": metadata, "status": status}
        self.store.put(FLEETS, copy.deepcopy(self.raw))

    async def look(self, after=1.0):
        self.now += after
        self.server.applied.clear()
        return await self.reconciler.look(KEY)

    @property
    def replicas(self):
        return self.store.get(DEPLOYMENTS, KEY.namespace, "llm-engines")["spec"]["replicas"]


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


async def test_series_that_say_nothing_any_more_go():
    window = {"name": "office", "days": ["Mon"], "start": "08:00", "end": "20:00", "minReplicas": 1}
    schedule = {"timeZone": "UTC", "windows": [window], "outside": {"maxReplicas": 0}}
    desk = Desk(scaling={"schedule": schedule, "minReplicas": 1})
    await desk.look()
    seen = metrics.exposition().decode()
    fleet_labels = 'name="llm",namespace="team"'
    for line in (
        f'torpor_fleet_mode{{mode="Auto",{fleet_labels}}} 1.0',
        f'torpor_fleet_clamp_replicas{{clamp="MinReplicas",{fleet_labels}}} 1.0',
        f'torpor_fleet_clamp_replicas{{clamp="ScheduleCeiling",{fleet_labels}}} -1.0',
        f'torpor_fleet_decision{{{fleet_labels},reason="ScheduleCeiling"}} 1.0',
        f'torpor_fleet_signal{{{fleet_labels},signal="queueDepth"}} 0.0',
        f'torpor_fleet_signal_target{{{fleet_labels},signal="queueDepth"}} 4.0',
        f'torpor_fleet_signal_replicas{{{fleet_labels},signal="queueDepth"}} 0.0',
        f"torpor_fleet_schedule_closed{{{fleet_labels}}} 1.0",
        f"torpor_fleet_schedule_max_replicas{{{fleet_labels}}} 0.0",
    ):
        assert line in seen
    opens = datetime(2026, 11, 23, 8, 0, tzinfo=UTC).timestamp()  # the Monday after NOW
    told = f"torpor_fleet_schedule_next_transition_timestamp_seconds{{{fleet_labels}}} "
    assert float(seen.partition(told)[2].partition("\n")[0]) == opens
    desk.respec(scaling={"mode": "Paused"})
    await desk.look()
    left = [line for line in metrics.exposition().decode().splitlines() if 'name="llm"' in line]
    assert f'torpor_fleet_mode{{mode="Paused",{fleet_labels}}} 1.0' in left
    for name in ("signal", "clamp", "schedule", "recommended"):
        assert not [line for line in left if line.startswith(f"torpor_fleet_{name}")]
    assert (
        len([line for line in left if line.startswith(("torpor_fleet_mode", "torpor_fleet_decision{"))]) == 2
    )


async def test_an_unreachable_server_ends_the_look_without_a_status():
    desk = Desk()
    desk.server.fail["Service"] = ApiError(0, "TimeoutError", "no answer")
    with pytest.raises(ApiError):
        await desk.look()
    assert "InferenceService/status" not in desk.server.applied


async def test_a_fleet_that_is_gone_leaves_no_series_behind():
    desk = Desk()
    await desk.look()
    assert b'torpor_fleet_desired_replicas{name="llm",namespace="team"}' in metrics.exposition()
    desk.store.remove(FLEETS, desk.raw)
    assert await desk.look() is None
    assert b'namespace="team"' not in metrics.exposition()


async def test_what_the_gateways_counted_is_in_the_metrics_once():
    desk = Desk()
    for n in (3, 3, 8):
        desk.gateways.seen = demand(tally=Tally(n, 100.0 * n, n - 1, 10.0 * n))
        await desk.look()
    desk.gateways.seen = demand(reporting=0, gap="no gateway reports")
    await desk.look()
    text = metrics.exposition().decode()
    fleet_labels = 'name="llm",namespace="team"'
    assert f"torpor_fleet_arrivals_total{{{fleet_labels}}} 8.0" in text
    assert f"torpor_fleet_completed_total{{{fleet_labels}}} 7.0" in text
    assert f'torpor_fleet_tokens_total{{kind="prompt",{fleet_labels}}} 800.0' in text
    assert f'torpor_fleet_tokens_total{{kind="output",{fleet_labels}}} 80.0' in text
    desk.reconciler.forget(KEY)
    assert b'namespace="team"' not in metrics.exposition()


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
