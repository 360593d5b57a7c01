"""Lists repair what watches missed, say when a watch is deaf, and cost what they must."""

import pytest
from torpor.api.names import FleetKey
from torpor.api.routes import BareNames, routes
from torpor.cluster.resources import ENDPOINT_SLICES, FLEETS
from torpor.control import naming
from torpor.control.naming import Naming
from torpor.control.store import Store
from torpor.control.watches import STALE_SECONDS, Feed, addresses


class Lists:
    """A server whose lists hold what the test puts there."""

    def __init__(self):
        self.items, self.version = {}, 10

    async def list(self, resource, namespace, selector):
        return list(self.items.get(resource, ())), str(self.version)


class Desk:
    def __init__(self):
        self.kube, self.store, self.naming = Lists(), Store(), Naming(BareNames())
        self.looked, self.gateways, self.now = [], [], 0.0
        self.feed = Feed(
            self.store,
            self.naming,
            self.looked.append,
            lambda found: self.gateways.append(list(found)),
            home="home",
            demand_service="demand",
            namespaces=(),
            clock=lambda: self.now,
        )

    async def list(self, fleets, after=1.0):
        self.now += after
        self.kube.version += 1
        self.kube.items[FLEETS] = fleets
        self.looked.clear()
        await self.feed.list_all(self.kube)


def fleet(name, version=1, model="shared", created="2026-01-01T00:00:00Z"):
    metadata = {"name": name, "namespace": "team", "uid": name, "creationTimestamp": created}
    metadata["resourceVersion"] = str(version)
    return {"metadata": metadata, "spec": {"model": {"name": model}}}


def conflicts(desk, name):
    return [conflict.model for conflict in desk.naming.conflicts(FleetKey("team", name))]


YOUNGER = fleet("young", created="2026-01-02T00:00:00Z")


async def test_a_deletion_that_no_watch_told_frees_the_name():
    desk = Desk()
    await desk.list([fleet("old"), YOUNGER])
    assert conflicts(desk, "young")
    await desk.list([YOUNGER])
    assert not conflicts(desk, "young")
    assert set(desk.looked) == {FleetKey("team", "old"), FleetKey("team", "young")}
    await desk.list([YOUNGER])
    assert desk.looked == []


async def test_events_and_lists_agree_about_names():
    desk = Desk()
    await desk.list([YOUNGER])
    desk.feed.event(FLEETS, "ADDED", fleet("old"))
    assert conflicts(desk, "young")
    desk.feed.event(FLEETS, "DELETED", fleet("old", version=9))
    assert not conflicts(desk, "young")


async def test_a_list_of_many_fleets_makes_the_table_of_names_once(monkeypatch):
    made = []
    monkeypatch.setattr(naming, "routes", lambda *given: made.append(1) or routes(*given))
    desk = Desk()
    made.clear()
    await desk.list([fleet(f"fleet-{number}", model=f"m{number}") for number in range(50)])
    assert len(made) == 1


async def test_a_watch_that_brings_nothing_while_lists_do_is_deaf():
    desk = Desk()
    await desk.list([fleet("a")])
    await desk.list([fleet("a", version=2)])
    assert desk.feed.stale() == []
    await desk.list([fleet("a", version=3)])
    assert desk.feed.stale() == ["inferenceservices: the watch is silent while objects change"]
    desk.feed.event(FLEETS, "MODIFIED", fleet("a", version=4))
    await desk.list([fleet("a", version=5)])
    assert desk.feed.stale() == []
    desk.now += STALE_SECONDS + 1
    assert "inferenceservices: not listed for" in desk.feed.stale()[0]


@pytest.mark.parametrize(("address", "shown"), [("10.0.0.1", "10.0.0.1:9"), ("fd00::1", "[fd00::1]:9")])
async def test_the_gateways_addresses_come_from_events_too(address, shown):
    desk = Desk()
    piece = {
        "metadata": {"name": "demand-1", "namespace": "home", "uid": "s", "resourceVersion": "5"},
        "ports": [{"port": 9}],
        "endpoints": [{"addresses": [address], "conditions": {"ready": False}}],
    }
    desk.feed.event(ENDPOINT_SLICES, "ADDED", piece)
    assert desk.gateways[-1] == addresses([piece]) == [shown]
    desk.feed.event(ENDPOINT_SLICES, "DELETED", piece)
    assert desk.gateways[-1] == []


def test_each_process_of_a_pod_is_found_at_its_own_port():
    ports = [{"name": "demand", "port": 8081}, {"name": "demand-1", "port": 8082}]
    several = {"ports": ports, "endpoints": [{"addresses": ["10.0.0.1"]}, {"addresses": ["10.0.0.2"]}]}
    before = {"ports": ports[:1], "endpoints": [{"addresses": ["10.0.0.3"]}]}  # a pod of the old template
    assert addresses([several, before]) == [
        "10.0.0.1:8081",
        "10.0.0.1:8082",
        "10.0.0.2:8081",
        "10.0.0.2:8082",
        "10.0.0.3:8081",
    ]
