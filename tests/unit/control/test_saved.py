"""What a fleet's GPUs are counted as, look by look, and that status and metrics say the same."""

import copy
from datetime import timedelta

import pytest
from torpor import metrics
from torpor.api import constants as c
from torpor.api import names
from torpor.api.saved import Account, Rates, Totals, account_of, saved
from torpor.build import revision_of
from torpor.cluster.client import ApiError
from torpor.cluster.resources import DEPLOYMENTS, FLEETS, PODS
from torpor.control.hardware import Engines
from torpor.control.memo import Memo
from torpor.control.saved import price_of
from torpor.decide.prices import Prices

from tests.unit.control.desk import Desk
from tests.unit.control.worlds import KEY, demand, report, service, stamp


def gpus(number, resource="nvidia.com/gpu", **more):
    return {"type": "Simulated", "resources": {"limits": {resource: number}}} | more


class Meter(Desk):
    """A desk whose clock and scrape go together, and pods that book GPUs."""

    def __init__(self, monkeypatch, **spec):
        super().__init__(**spec)
        monkeypatch.setattr(metrics.SAVED, "clock", self._now)
        self._version = 1000

    def _now(self):
        return self.wall.timestamp()

    def respec(self, **spec):
        super().respec(**spec)
        self.server.version += 1

    async def look(self, after=1.0):
        self.wall += timedelta(seconds=after)
        return await super().look(after)

    def pod(self, name="llm-0", number=2, *, scheduled=True, ready=False, leaving=False, phase="Running"):
        """A pod comes, or changes."""
        self._version += 1
        conditions = [
            {"type": "PodScheduled", "status": str(scheduled)},
            {"type": "Ready", "status": str(ready), "lastTransitionTime": stamp()},
        ]
        metadata = {
            "name": name,
            "namespace": KEY.namespace,
            "uid": name,
            "labels": names.pod_selector(KEY.name) | {c.LABEL_REVISION: revision_of(service(self.raw))},
            "resourceVersion": str(self._version),
            "creationTimestamp": stamp(),
        } | ({"deletionTimestamp": stamp()} if leaving else {})
        limits = {"nvidia.com/gpu": str(number), "memory": "1Gi"}
        spec = {"containers": [{"name": "engine", "resources": {"limits": limits}}]}
        status = {"phase": phase, "conditions": conditions}
        self.store.put(PODS, {"metadata": metadata, "spec": spec, "status": status})

    def gone(self, name="llm-0"):
        """A pod is no more."""
        self.store.remove(PODS, self.store.get(PODS, KEY.namespace, name))

    @property
    def status(self):
        return self.store.get(FLEETS, *KEY).get("status", {})

    @property
    def rates(self):
        return account_of(self.status).rates

    def scraped(self, name, **labels):
        told = {"name": "llm", "namespace": "team"} | labels
        wanted = ",".join(f'{key}="{value}"' for key, value in sorted(told.items()))
        line = f"torpor_fleet_{name}{{{wanted}}} "
        return float(metrics.exposition().decode().partition(f"\n{line}")[2].partition("\n")[0])

    def agreed(self):
        """The totals now, which status and scrape must agree about."""
        totals = saved(self.status, self.wall.timestamp()).totals
        assert totals == Totals(
            self.scraped("gpu_used_seconds_total"),
            self.scraped("gpu_asleep_seconds_total"),
            self.scraped("gpu_saved_seconds_total", against="max"),
            self.scraped("gpu_saved_seconds_total", against="peak"),
        )
        return totals


@pytest.fixture
def meter(monkeypatch):
    return Meter(monkeypatch, engine=gpus(2))


async def test_a_night_and_a_day(meter):
    await meter.look()
    assert meter.rates == Rates(used=0, asleep=8, max=8, peak=0)
    meter.wall += timedelta(hours=1)  # nobody looks at a fleet that sleeps
    assert meter.agreed() == Totals(0, 8 * 3600, 8 * 3600, 0)
    meter.gateways.seen = demand(held=1)
    await meter.look()
    assert meter.rates == Rates(used=0, asleep=0, max=8, peak=2), (
        "it waits for a node: neither used nor asleep"
    )
    meter.pod(scheduled=False)
    await meter.look()
    assert meter.rates.used == 0
    meter.pod()
    await meter.look(10)
    assert meter.rates == Rates(used=2, asleep=0, max=8, peak=2), "it starts"
    begun = meter.agreed()
    meter.pod(ready=True)
    meter.gateways.seen = demand(pods={"llm-0": report()})
    for _ in range(70):
        await meter.look(10)
    assert meter.replicas == 0
    meter.pod(ready=True, leaving=True)
    await meter.look(100)
    assert meter.rates.used == 2, "it drains"
    assert meter.agreed().used == begun.used + 2 * 800
    meter.gone()
    await meter.look()
    assert meter.rates == Rates(used=0, asleep=8, max=8, peak=2)
    told = meter.agreed()
    meter.wall += timedelta(seconds=100)
    later = meter.agreed()
    assert later == Totals(told.used, told.asleep + 800, told.saved_max + 800, told.saved_peak + 200)


async def test_the_account_is_written_with_a_change_and_only_then(meter):
    await meter.look()
    before = meter.status["saved"]
    for _ in range(5):
        await meter.look(3600)
    assert meter.server.applied == []
    assert meter.status["saved"] == before
    meter.gateways.seen = demand(held=1)
    await meter.look()
    assert meter.server.applied.count("InferenceService/status") == 1, (
        "one write for the wake and the account"
    )
    assert meter.status["saved"]["asOf"] > before["asOf"]
    held = meter.status["saved"]
    meter.gateways.seen = demand(reporting=0, gap="no gateway reports")
    await meter.look(3600)  # a condition changes, no replica does
    assert meter.server.applied == ["InferenceService/status"]
    assert meter.status["saved"] == held


async def test_a_new_leader_counts_on_and_writes_nothing_for_it(meter):
    await meter.look()
    meter.gateways.seen = demand(held=1)
    await meter.look(100)
    meter.pod()
    await meter.look(10)
    before = meter.status["saved"]
    told = meter.agreed()
    meter.reconciler._memos.clear()
    metrics.forget(*KEY)
    await meter.look(1000)  # nobody led meanwhile
    assert meter.status["saved"] == before
    assert meter.agreed().used == told.used + 2000
    meter.gone()
    await meter.look(10)
    assert meter.agreed().used == told.used + 2020


async def test_a_write_that_fails_counts_on_at_the_old_rate_until_it_succeeds(meter):
    await meter.look()
    meter.gateways.seen = demand(held=1)
    meter.server.fail["InferenceService/status"] = ApiError(0, "", "unreachable")
    with pytest.raises(ApiError):
        await meter.look(10)
    assert meter.agreed().asleep == 80
    meter.wall += timedelta(seconds=10)
    assert meter.agreed().asleep == 160
    await meter.look(10)
    assert meter.rates.asleep == 0
    assert meter.agreed().asleep == 240


async def test_what_somebody_made_of_the_account_is_mended(meter):
    await meter.look()
    meter.wall += timedelta(seconds=100)
    live = copy.deepcopy(meter.store.get(FLEETS, *KEY))
    live["status"]["saved"]["gpuSecondsUsed"] = 10**9
    meter.server.version += 1
    live["metadata"]["resourceVersion"] = str(meter.server.version)
    meter.store.put(FLEETS, live)
    await meter.look()
    assert meter.agreed() == Totals(0, 808, 808, 0)


async def test_each_pod_counts_as_large_as_it_is(meter):
    await meter.look()
    meter.gateways.seen = demand(held=1)
    await meter.look()
    meter.pod("old", 2)
    meter.pod("new", 1)
    meter.respec(engine=gpus(1), scaling={"maxReplicas": 6})
    await meter.look(10)
    assert meter.rates == Rates(used=3, asleep=0, max=6, peak=1)


async def test_pods_that_ended_hold_nothing(meter):
    await meter.look()
    meter.pod("evicted", phase="Failed")
    await meter.look()
    assert meter.rates == Rates(used=0, asleep=8, max=8, peak=0)


async def test_a_fleet_without_gpus_has_no_account(monkeypatch):
    meter = Meter(monkeypatch)
    await meter.look()
    meter.gateways.seen = demand(held=1)
    await meter.look(100)
    meter.pod(number=0)
    await meter.look(100)
    assert "saved" not in meter.status
    assert "torpor_fleet_gpu" not in "".join(
        line for line in metrics.exposition().decode().splitlines() if 'name="llm"' in line
    )


async def test_a_fleet_that_is_only_watched_counts_what_it_has_and_what_it_would_need(monkeypatch):
    scaling = {"mode": "Recommend", "minReplicas": 1, "maxReplicas": 8}
    meter = Meter(monkeypatch, engine=gpus(1), scaling=scaling)
    await meter.look()
    meter.pod(number=1, ready=True)
    meter.gateways.seen = demand(pods={"llm-0": report(waitingCapacity=20)})
    await meter.look()
    needed = meter.status["decision"]["recommendedReplicas"]
    assert needed > meter.replicas == 1
    assert meter.rates == Rates(used=1, asleep=0, max=8, peak=needed)
    meter.respec(engine=gpus(1), scaling=scaling | {"mode": "Paused"})
    await meter.look()
    assert meter.rates == Rates(used=1, asleep=0, max=8, peak=needed), "nothing is worked out any more"


async def test_a_spec_that_cannot_be_read_leaves_always_on_where_it_was(meter):
    await meter.look()
    meter.pod()
    await meter.look()
    meter.reconciler._memos.clear()  # so that no valid spec is known
    meter.respec(engine=gpus(2), model={"uri": "nowhere"})
    meter.gone()
    await meter.look(10)
    assert meter.rates == Rates(used=0, asleep=8, max=8, peak=0)


async def test_a_successor_of_the_same_name_begins_at_zero(meter):
    await meter.look()
    meter.wall += timedelta(hours=1)
    assert meter.agreed().asleep == 8 * 3600
    live = copy.deepcopy(meter.store.get(FLEETS, *KEY)) | {"status": {}}
    meter.store.remove(FLEETS, live)
    meter.store.remove(DEPLOYMENTS, meter.store.get(DEPLOYMENTS, KEY.namespace, "llm-engines"))
    live["metadata"] |= {"uid": "another", "resourceVersion": str(meter.server.version + 1)}
    meter.store.put(FLEETS, live)
    meter.server.raw = live
    memo = Memo.of(live)
    assert memo.account is None
    await meter.reconciler.look(KEY)  # as far as the children of the former one allow
    meter.reconciler.forget(KEY)
    assert "torpor_fleet_gpu" not in "".join(
        line for line in metrics.exposition().decode().splitlines() if 'name="llm"' in line
    )
    metrics.SAVED.set(*KEY, Account.opened(meter.wall.timestamp()))
    assert meter.scraped("gpu_asleep_seconds_total") == 0


async def test_a_scrape_never_shows_less_than_the_one_before(meter):
    await meter.look()
    meter.wall += timedelta(seconds=100)
    assert meter.agreed().asleep == 800
    meter.wall -= timedelta(seconds=50)
    assert meter.scraped("gpu_asleep_seconds_total") == 800
    meter.wall += timedelta(seconds=60)
    assert meter.agreed().asleep == 880


async def test_the_price_is_in_the_status_and_a_series_while_there_is_one(monkeypatch):
    meter = Meter(monkeypatch, engine=gpus(2))
    parts = meter.reconciler._parts
    meter.reconciler._parts = type(parts)(
        parts.store, parts.naming, parts.demand, parts.executor, parts.recorder, parts.build,
        Prices.parse('{"nvidia.com/gpu": "2.50"}'),
    )  # fmt: skip
    await meter.look()
    assert meter.status["saved"]["pricePerGpuHour"] == "2.50"
    assert meter.scraped("price_per_gpu_hour") == 2.5
    meter.wall += timedelta(hours=1)
    told = saved(meter.status, meter.wall.timestamp())
    assert told.money(told.totals.asleep) == 20.0
    meter.reconciler._parts = parts
    await meter.look()
    assert "pricePerGpuHour" not in meter.status["saved"]
    assert "torpor_fleet_price_per_gpu_hour{" not in metrics.exposition().decode()


@pytest.mark.parametrize(
    ("engine", "heard", "price"),
    [
        (gpus(1), "NVIDIA H100 80GB HBM3", "2"),
        (gpus(1, podTemplate={"nodeSelector": {"nvidia.com/gpu.product": "NVIDIA-L4"}}), None, "1"),
        (gpus(1), None, "3"),
        (gpus(1, "amd.com/gpu"), None, None),
        (gpus(1, "nvidia.com/mig-1g.10gb"), "NVIDIA H100 80GB HBM3", "4"),
        ({"type": "Simulated"}, "NVIDIA H100 80GB HBM3", None),
    ],
)
def test_the_price_is_that_of_the_card_it_runs_on(engine, heard, price):
    prices = Prices.parse('{"h100": "2", "l4": "1", "nvidia.com/gpu": "3", "nvidia.com/mig-1g.10gb": 4}')
    desk = Desk(engine=engine)
    assert price_of(service(desk.raw), Engines("r", heard), prices) == price
    assert price_of(None, Engines(), prices) is None
