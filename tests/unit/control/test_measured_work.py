"""The metrics of work, forecast and cold starts: each says what it is about, and is gone when nothing is."""

import copy
import math
from datetime import timedelta

import pytest
from torpor import metrics
from torpor.build import fleet_config
from torpor.cluster.resources import CONFIG_MAPS, FLEETS
from torpor.control.drift import stamped
from torpor.control.keeping import Keeping
from torpor.decide import Memory
from torpor.decide.known import Known
from torpor.decide.minutes import MINUTE, Minute
from torpor.decide.observation import Tally
from torpor.decide.profile import Profile

from tests.unit.control.desk import Desk
from tests.unit.control.worlds import KEY, NOW, UID, demand, report, service

WORKS = {
    "engine": {"type": "Simulated", "args": ["--profile=llama-3.1-8b-h100"]},
    "scaling": {"objectives": {"timeToFirstTokenMilliseconds": 1000, "interTokenLatencyMilliseconds": 50}},
}
WORK, FORECAST = "torpor_fleet_work_replicas", "torpor_fleet_forecast_work_replicas"
P95, PHASE = "torpor_fleet_cold_start_p95_seconds", "torpor_fleet_cold_start_phase_seconds"
DAY = 24 * 60  # minutes


def told(name: str) -> dict[str, float]:
    """The fleet's series of a name, each by the label that it has beside the fleet's."""
    found = {}
    for line in metrics.exposition().decode().splitlines():
        series, _, value = line.rpartition(" ")
        if series.startswith(name + "{") and 'name="llm",namespace="team"' in series:
            found[series.partition('phase="')[2].partition('"')[0]] = float(value)
    return found


class Busy(Desk):
    """A desk whose gateways count requests of 1,000 tokens that are answered with 200."""

    def __init__(self, status=None, **spec):
        super().__init__(**(WORKS | spec))
        self.raw["status"] = status or {}
        self.raw["metadata"]["resourceVersion"] = "8"
        self.store.put(FLEETS, copy.deepcopy(self.raw))
        self.requests = 0.0

    async def live(self, seconds: int, rate: float) -> None:
        """Look every two seconds while `rate` requests come in each."""
        for _ in range(seconds // 2):
            self.requests += 2 * rate
            n = self.requests
            tally = Tally(n, 1e3 * n, n, 200.0 * n, 1e6 * n, 4e4 * n, 2e5 * n)
            self.gateways.seen = demand(tally=tally, arrivals=int(n), held=0, queued=0, in_flight=0)
            self.wall += timedelta(seconds=2)
            await self.look(2.0)


async def test_the_arriving_work_is_told_in_replicas_that_it_keeps_busy():
    """Twice the requests are twice the work; of a fleet without an objective nobody can say it."""
    desk = Busy()
    await desk.look()
    assert told(WORK) == {}, "nobody has counted a request yet"
    await desk.live(200, rate=1)
    (one,) = told(WORK).values()
    await desk.live(300, rate=2)
    (two,) = told(WORK).values()
    assert 0 < one < 1, "a request of that length takes a part of a second of an H100"
    assert two == pytest.approx(2 * one, rel=0.05)
    desk.gateways.seen = demand(reporting=0, gap="no gateway reports")
    await desk.look()
    assert told(WORK) == {}, "what is not known is not told as it was"
    await desk.live(10, rate=2)
    assert told(WORK)
    desk.respec(engine=WORKS["engine"])
    await desk.look()
    assert told(WORK) == {}, "without an objective work is no signal"


async def test_what_waits_alone_is_not_the_arriving_work():
    """A gateway of an earlier version tells its line and not what it counts: the need is known by what waits,
    and the metric, which a forecast is compared with, is absent and not that.
    """
    desk = Busy()
    await desk.live(200, rate=1)
    assert told(WORK)
    desk.gateways.seen = demand(tally=None, arrivals=500, held=0, queued=40, in_flight=0)
    await desk.look()
    signals = {item["name"]: item for item in desk.store.get(FLEETS, *KEY)["status"]["decision"]["signals"]}
    assert float(signals["workRate"]["value"]) > 0, "the work of what waits is known"
    assert told(WORK) == {}


def yesterday(desk: Desk, level: float) -> None:
    """Leave what a leader kept that saw `level` busy replicas around this time yesterday."""
    now, profile = math.floor(NOW.timestamp() / MINUTE), Profile()
    for number in range(now - DAY - 60, now - DAY + 60):
        profile = profile.add(Minute(number, level), 0.0)
    keeping = Keeping.of(UID, None, 0.0)
    assert keeping.save(Memory(known=Known(profile=profile)), 0.0, NOW)
    config = stamped(fleet_config(service(desk.raw), keeping.data()))
    config["metadata"]["resourceVersion"] = "5"
    desk.store.put(CONFIG_MAPS, config)


COLD = {"coldStart": {"p95Seconds": "60", "lastSeconds": "50"}}


async def test_a_forecast_is_told_once_there_is_one_and_goes_with_it():
    async def foreseen(level: float | None) -> dict[str, float]:
        desk = Busy(status=COLD)
        if level is not None:
            yesterday(desk, level)
        await desk.look()
        assert told(FORECAST) == {}, "no minute was watched yet"
        await desk.live(150, rate=0)
        return told(FORECAST)

    assert await foreseen(None) == {}, "there was no earlier day"
    (low,) = (await foreseen(1.5)).values()
    (high,) = (await foreseen(3.0)).values()
    assert 0 < low <= 1.5, "replicas kept busy, as yesterday at most"
    assert high == pytest.approx(2 * low, rel=0.01)


async def test_a_forecast_that_is_no_more_is_told_no_more():
    desk = Busy(status=COLD)
    yesterday(desk, 1.5)
    await desk.look()
    await desk.live(150, rate=0)
    assert told(FORECAST)
    desk.respec(engine=WORKS["engine"])
    await desk.look()
    assert told(FORECAST) == {}


async def test_cold_starts_are_told_with_the_phases_of_the_last():
    """A new leader tells what the last wrote down; a wake of its own takes the place of it."""
    phases = [{"name": "Fetching", "seconds": "20"}, {"name": "Loading", "seconds": "12.5"}]
    desk = Busy(status={"coldStart": {"p95Seconds": "60", "lastSeconds": "50", "phases": phases}})
    await desk.look()
    assert told(P95) == {"": 60.0}
    assert told(PHASE) == {"Fetching": 20.0, "Loading": 12.5}
    desk.gateways.seen = demand(held=1, arrivals=1)
    await desk.look()
    assert desk.replicas == 1
    ready = report(phases=[{"name": "Loading", "seconds": 70}, {"name": "Warming", "seconds": 3}])
    desk.gateways.seen = demand(held=1, arrivals=1, pods={"llm-0": ready})
    desk.server.ready("llm-0", desk.store)
    await desk.look(after=75.0)
    assert told("torpor_fleet_cold_start_seconds") == {"": 75.0}
    assert told(P95) == {"": 75.0}, "of three the slowest is the 95th percentile"
    assert told(PHASE) == {"Loading": 70.0, "Warming": 3.0}, "a phase of another start is gone"
    desk.store.remove(FLEETS, desk.raw)
    await desk.look()
    assert (told(P95), told(PHASE), told("torpor_fleet_cold_start_seconds")) == ({}, {}, {})
