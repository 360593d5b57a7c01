"""Engines that hang: found by counters that stand still in fresh reports, and left out until they move."""

from typing import Any, cast

import pytest
from torpor.api import constants
from torpor.api.names import FleetKey
from torpor_gateway.endpoint import Endpoint
from torpor_gateway.fleet import Fleet
from torpor_gateway.policy import FleetSpec

FRESH = 3.0
LIMIT = int(constants.WEDGED_SECONDS)


class Clock:
    """As much of a loop as a fleet without requests asks for."""

    now = 1000.0

    def time(self) -> float:
        return self.now


class World:
    """A fleet of pods whose launchers report once a second."""

    def __init__(self, pods: int) -> None:
        self.clock = Clock()
        spec = FleetSpec(FleetKey("ns", "llm"), "uid", ("llm",))
        loop = cast("Any", self.clock)
        self.fleet = Fleet(spec, loop, FRESH, lambda fleet, urgent: None, managed=True)
        self.pods = [
            Endpoint("10.0.0.1", port, cast("Any", None), self.fleet.ratios, launcher_port=1)
            for port in range(pods)
        ]
        self.fleet.endpoints = {pod.name: pod for pod in self.pods}

    def report(self, *totals: int | None, running: int = 1, passed: float = 1.0) -> None:
        """All pods report their tokens so far; None says nothing."""
        self.clock.now += passed
        for pod, total in zip(self.pods, totals, strict=True):
            stats: dict[str, Any] = {"fleetUid": "uid", "models": ["llm"], "state": "Ready"}
            stats |= {"running": running, "waiting": 0}
            if total is not None:
                stats |= {"promptTokensTotal": total, "generationTokensTotal": 0}
            pod.report(stats, self.clock.now, "uid", ("llm",))
        self.fleet.recheck()

    @property
    def ready(self) -> list[int]:
        return [pod.port for pod in self.fleet.ready]


def test_an_engine_that_counts_nothing_for_a_minute_is_left_out_until_it_does():
    world = World(3)
    for second in range(LIMIT):
        world.report(7, second, second)
        assert world.ready == [0, 1, 2]
    world.report(7, LIMIT, LIMIT)
    assert world.ready == [1, 2]
    world.report(8, LIMIT + 1, LIMIT + 1)
    assert world.ready == [0, 1, 2]


def test_at_most_half_are_left_out_those_that_stood_still_first():
    world = World(5)
    for second in range(3 * LIMIT):
        world.report(7, min(second, 5), min(second, 10), min(second, 15), 7 if second > 20 else second)
    assert world.ready == [2, 3, 4]


@pytest.mark.parametrize("pods", [1, 2])
def test_a_single_pod_stays_and_one_of_two_goes(pods):
    world = World(pods)
    for _ in range(2 * LIMIT):
        world.report(*[7] * pods)
    assert len(world.ready) == 1


def test_an_engine_that_counts_slowly_is_no_hung_one():
    world = World(2)
    for second in range(5 * LIMIT):
        world.report(second // (LIMIT - 1), second)
        assert world.ready == [0, 1]


@pytest.mark.parametrize(("total", "running"), [(7, 0), (None, 1)])
def test_an_idle_engine_and_one_without_counters_are_not_judged(total, running):
    world = World(2)
    for _ in range(3 * LIMIT):
        world.report(total, total, running=running)
        assert world.ready == [0, 1]


def test_a_gap_in_the_reports_proves_nothing():
    world = World(2)
    for second in range(LIMIT - 5):
        world.report(7, second)
    world.report(7, LIMIT, passed=30.0)
    assert world.ready == [0, 1]
    for second in range(LIMIT - 1):
        world.report(7, LIMIT + 1 + second)
        assert world.ready == [0, 1]
    world.report(7, 3 * LIMIT)
    assert world.ready == [1]
