"""Looks at a fleet with a ConfigMap: what is in it, when it is written, and that nothing waits for it."""

import asyncio
import copy
import json

import pytest
from torpor.api import constants as c
from torpor.build import revision_of
from torpor.cluster.client import ApiError
from torpor.cluster.resources import CONFIG_MAPS, DEPLOYMENTS, FLEETS
from torpor.control import executor
from torpor.control.keeping import SAVE_SECONDS
from torpor.decide import Memory

from tests.unit.control.test_reconciler import Desk
from tests.unit.control.worlds import KEY, UID, demand, report, service
from tests.unit.decide.fleets import Office

OBJECTIVES = {"objectives": {"interTokenLatencyMilliseconds": 20}}
NAME = "llm-fleet"


def desk(**scaling):
    """A fleet of simulated engines with an objective between tokens: its hardware is known at once."""
    return Desk(scaling=scaling or OBJECTIVES)


def config(at):
    return at.store.get(CONFIG_MAPS, KEY.namespace, NAME)


def text(at, key):
    return json.loads(config(at)["data"][key])


def memo(at):
    return at.reconciler._memos[KEY]


def status(at):
    return at.store.get(FLEETS, *KEY)["status"]["engine"]


def learned(at, hours=11):
    """The fleet has seen a morning."""
    office = Office()
    office.live(hours * 3600)
    memo(at).memory = office.memory


async def test_a_new_fleet_has_its_tuning_before_its_deployment():
    at = desk()
    await at.look()
    kinds = at.server.applied
    assert kinds.index("ConfigMap") < kinds.index("Deployment")
    found = text(at, c.KEY_TUNING)
    assert found["maxNumBatchedTokens"] > 1000  # 20 ms less the 4 of an idle step, at 0.01 ms a token
    assert found["fleetUid"] == UID
    owner = config(at)["metadata"]["ownerReferences"][0]
    assert (owner["uid"], owner["controller"]) == (UID, True)
    assert status(at)["maxNumBatchedTokens"] == found["maxNumBatchedTokens"]
    assert status(at)["hardware"] == "simulated-tiny"
    assert "20 ms" in status(at)["message"]
    await at.look()
    assert at.server.applied == []


async def test_a_fleet_with_nothing_to_keep_has_none():
    at = Desk()
    await at.look()
    assert config(at) is None
    assert "no inter-token latency objective" in status(at)["message"]


async def test_another_objective_changes_the_config_map_and_no_pod():
    at = desk()
    await at.look()
    before = text(at, c.KEY_TUNING)["maxNumBatchedTokens"]
    template = copy.deepcopy(at.store.get(DEPLOYMENTS, KEY.namespace, "llm-engines")["spec"]["template"])
    at.respec(scaling={"objectives": {"interTokenLatencyMilliseconds": 10}})
    await at.look()
    assert [kind for kind in at.server.applied if "status" not in kind] == ["ConfigMap"]
    assert text(at, c.KEY_TUNING)["maxNumBatchedTokens"] < before
    assert at.store.get(DEPLOYMENTS, KEY.namespace, "llm-engines")["spec"]["template"] == template
    at.respec(scaling={})
    await at.look()
    assert c.KEY_TUNING not in (config(at)["data"] or {}), "and where none is asked for, none is left"


async def test_pods_of_a_new_revision_find_its_tuning():
    at = desk()
    await at.look()
    at.respec(scaling=OBJECTIVES, engine={"type": "Simulated", "args": ["--profile=llama-3.1-8b-h100"]})
    await at.look()
    kinds = at.server.applied
    assert kinds.index("ConfigMap") < kinds.index("Deployment")
    assert text(at, c.KEY_TUNING)["hardware"] == "simulated-llama-3.1-8b-h100"


async def test_what_engines_say_is_kept_for_the_next_wake():
    at = desk()
    await at.look()
    revision = revision_of(service(at.raw))
    stats = report(revision=revision, kvCapacityTokens=50_000, maxNumSeqs=100, maxNumBatchedTokens=512)
    at.server.ready("llm-0", at.store)
    at.gateways.seen = demand(pods={"llm-0": stats})
    await at.look()
    assert text(at, c.KEY_ENGINES)["kv_tokens"] == 50_000
    at.gateways.seen = demand()
    await at.look()
    assert memo(at).keeping.engines.max_num_seqs == 100
    assert "ConfigMap" not in at.server.applied


async def test_the_memory_is_written_now_and_then_and_a_successor_goes_on_with_it():
    at = desk()
    await at.look()
    learned(at)
    writes = 0
    for _ in range(60):
        await at.look(after=10.0)
        writes += at.server.applied.count("ConfigMap")
    assert 1 <= writes <= 600 / SAVE_SECONDS + 1
    successor = desk()
    successor.store = at.store
    successor.reconciler._parts.store.put(CONFIG_MAPS, config(at))
    await successor.look()
    assert memo(successor).memory.known.learned == Memory.load(text(at, c.KEY_MEMORY)["memory"]).known.learned
    assert memo(successor).memory.known.profile.seen > 50


async def test_a_leader_that_ends_writes_what_it_learned():
    at = desk()
    await at.look()
    learned(at)
    at.server.applied.clear()
    await at.reconciler.save()
    assert at.server.applied == ["ConfigMap"]
    assert text(at, c.KEY_MEMORY)["memory"] == json.loads(json.dumps(memo(at).memory.dump()))
    assert text(at, c.KEY_TUNING), "beside what was there"
    await at.reconciler.save()
    assert at.server.applied == ["ConfigMap"], "once"
    await at.look()
    assert "ConfigMap" not in at.server.applied, "and the next look finds it as it should be"


async def test_a_namesake_begins_with_nothing():
    at = desk()
    await at.look()
    learned(at)
    await at.reconciler.save()
    old = config(at)
    fresh = desk()
    # The garbage collector is done with the owner and somebody wrote the object again.
    del old["metadata"]["ownerReferences"]
    old["data"] = {key: value.replace(UID, "another") for key, value in old["data"].items()}
    fresh.store.put(CONFIG_MAPS, old | {"metadata": old["metadata"] | {"resourceVersion": "5"}})
    await fresh.look()
    assert memo(fresh).memory.known == Memory().known or memo(fresh).memory.known.profile.seen == 0
    assert "another" in config(fresh)["data"][c.KEY_MEMORY], "and leaves alone what is not its own"
    assert fresh.replicas == 0
    condition = next(
        it for it in fresh.store.get(FLEETS, *KEY)["status"]["conditions"] if it["type"] == "Ready"
    )
    assert condition["status"] == "True", "a fleet can do without"


@pytest.mark.parametrize(
    "error",
    [
        ApiError(403, "Forbidden", "exceeded quota"),
        ApiError(0, "Timeout", "no answer"),
        ApiError(409, "Conflict", "x"),
    ],
)
async def test_what_cannot_be_kept_holds_nothing_up(error):
    at = desk()
    at.server.fail["ConfigMap"] = error
    await at.look()
    assert at.replicas == 0
    assert c.NOT_KEPT in at.told.reasons
    ready = next(it for it in at.store.get(FLEETS, *KEY)["status"]["conditions"] if it["type"] == "Ready")
    assert ready["status"] == "True"
    at.server.fail["ConfigMap"] = error
    at.gateways.seen = demand(held=1)
    again = await at.look()
    assert at.replicas == 1
    assert "ConfigMap" in at.server.fail, "not tried again so soon"
    assert again <= at.now + 30.0
    at.server.fail.clear()
    await at.look(after=31.0)
    assert config(at) is not None
    assert at.told.reasons.count(c.NOT_KEPT) == 1


async def test_a_write_that_never_ends_is_given_up(monkeypatch):
    monkeypatch.setattr(executor, "KEEP_SECONDS", 0.01)
    at = desk()
    apply = at.server.apply

    async def hang(manifest, **options):
        if manifest["kind"] == "ConfigMap":
            await asyncio.Event().wait()
        return await apply(manifest, **options)

    at.server.apply = hang
    await at.look()
    assert at.replicas == 0
    assert at.told.reasons.count(c.NOT_KEPT) == 1


async def test_somebody_elses_config_map_is_left_alone():
    at = desk()

    async def get(resource, namespace, name):
        return (
            {"metadata": {"name": name, "namespace": namespace}, "data": {"mine": "1"}}
            if name == NAME
            else None
        )

    at.server.get = get
    await at.look()
    assert "ConfigMap" not in at.server.applied
    assert at.replicas == 0
    learned(at)
    at.now += 1000.0
    await at.reconciler.save()
    assert "ConfigMap" not in at.server.applied


async def test_a_deleted_or_damaged_one_is_made_again():
    at = desk()
    await at.look()
    at.store.remove(CONFIG_MAPS, config(at))
    at.version = at.server.version = 1000
    for item in (None, {"data": {c.KEY_TUNING: "{"}}):
        if item:
            live = copy.deepcopy(config(at)) | item
            live["metadata"]["resourceVersion"] = "2000"
            at.store.put(CONFIG_MAPS, live)
            at.server.version = 3000
        else:
            at.store._graves.clear()
        await at.look()
        assert at.server.applied == ["ConfigMap"]
        assert text(at, c.KEY_TUNING)["maxNumBatchedTokens"]
