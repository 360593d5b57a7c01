"""The line at the gateway: the kernel keeps the order of `torpor.dispatch`, and it is worth something."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torpor.dispatch import LATE_PLACE, LATE_SHARE, WaitingLine
from torpor.simulate import fleet_kernel as fk
from torpor.simulate import replica_kernel as rk
from torpor.simulate import results
from torpor.simulate.fleet import Run, Setup, Simulation
from torpor.simulate.profiles import StepCost
from torpor.simulate.traces import Trace

URGENT = 20.0  # seconds
LIMIT = 40.0


def by_kernel(steps: list[tuple[str, int]], objective: float | None) -> list[tuple[str, int]]:
    """What happens to whom, in order, where each step lets time pass by quarters of a second first."""
    gateway = fk.new_gateway(len(steps))
    gateway.counts[fk.REGIME] = fk.BUSY
    requests = rk.new_requests(np.zeros(len(steps)), np.ones(len(steps), int), np.ones(len(steps), int))
    patience = math.inf if objective is None else LATE_SHARE * objective
    rules = fk.Rules(1, 1, 0.0, LIMIT, 9, 0, patience, LATE_PLACE, URGENT, URGENT)
    now, told = 0.0, []
    for what, quarters in steps:
        now += quarters / 4
        if what == "join":
            i = int(gateway.counts[fk.TAIL])
            requests["arrival"][i], gateway.line[i] = now, i
            gateway.counts[fk.TAIL] += 1
            gateway.counts[fk.WAITING] += 1
        while gateway.counts[fk.WAITING]:
            head = int(gateway.line[gateway.counts[fk.HEAD]])
            if now - requests["arrival"][head] < LIMIT:
                break
            gateway.counts[fk.WAITING] -= 1
            fk.close_up(requests, gateway)
            told.append(("expired", head))
        if what == "take" and gateway.counts[fk.WAITING]:
            place = fk.next_place(rules, requests, gateway, now)
            i = int(gateway.line[place])
            requests["sent"][i] = now
            fk.taken(requests, gateway, place)
            told.append(("sent", i))
    assert gateway.counts[fk.WAITING] == sum(what == "join" for what, _ in steps) - len(told)
    return told


def by_gateway(steps: list[tuple[str, int]], objective: float | None) -> list[tuple[str, int]]:
    line: WaitingLine[tuple[int, int, float]] = WaitingLine()
    now, told, came = 0.0, [], 0
    for what, quarters in steps:
        now += quarters / 4
        if what == "join":
            ticket = line.draw()
            line.join(ticket, (ticket, came, now), 1, now)
            came += 1
        for ticket, i, arrived in line:
            if now - arrived >= LIMIT:
                line.leave(ticket)
                told.append(("expired", i))
        if what == "take":
            taken = line.take(lambda _: True, now, objective, now - URGENT)
            if taken is not None:
                told.append(("sent", taken[1]))
    return told


kinds = st.sampled_from(["join", "join", "take"])


@given(st.lists(st.tuples(kinds, st.integers(0, 12)), max_size=120), st.sampled_from([None, 1.0, 4.0, 100.0]))
@settings(max_examples=100, deadline=None)
def test_the_kernel_and_the_gateway_keep_one_order(steps, objective) -> None:
    assert by_kernel(steps, objective) == by_gateway(steps, objective)


@pytest.mark.parametrize("seed", range(6))
def test_and_they_do_so_in_long_lines_of_late_and_fresh(seed: int) -> None:
    draws = np.random.default_rng(seed)
    steps: list[tuple[str, int]] = []
    for _ in range(40):  # a burst comes, time passes, a trickle comes while places are given
        steps += [("join", 0)] * int(draws.integers(1, 12)) + [("take", int(draws.choice([2, 8, 70])))]
        steps += [("join", 0), ("join", 0), ("take", int(draws.integers(0, 2)))] * int(draws.integers(1, 8))
        steps += [("take", 0)] * int(draws.integers(0, 12))
    told = by_kernel(steps, 2.0)
    assert told == by_gateway(steps, 2.0)
    sent = [i for what, i in told if what == "sent"]
    assert sorted(sent) != sent, "nobody yielded"


def burst(objective: float | None) -> Run:
    """Too much for one replica for ten seconds, then less than it can: a backlog that is worked off."""
    draws = np.random.default_rng(5)
    at = np.cumsum(np.concatenate([draws.exponential(1 / 60, 600), draws.exponential(1 / 20, 1600)]))
    load = Trace(at, np.full(len(at), 200), np.full(len(at), 4))
    setup = Setup(
        StepCost(5.0, 0.05, 0.0, 0.1),
        100_000,
        64,
        256,
        30.0,
        queue_target=2,
        initial=1,
        ttft_objective=objective,
    )

    class One:
        name = "one"

        def look(self, view) -> int:
            del view
            return 1

    return Simulation(load, setup, One()).run()


def test_who_is_late_anyway_lets_the_others_be_in_time() -> None:
    first_come, yielding = burst(None), burst(2.0)
    shares = [float(results.attained(run, 2000.0, None).mean()) for run in (first_come, yielding)]
    assert shares[1] > shares[0] + 0.1
    # Nobody is lost for it, the work is the same, and the wait has an end.
    for run in (first_come, yielding):
        assert (run.requests["end"] == rk.COMPLETED).all()
        assert run.generated_tokens == 4 * len(run.requests)
    assert yielding.end == pytest.approx(first_come.end, rel=0.01)
    ttft, _ = results.latencies(yielding.requests)
    assert ttft.max() < 60_000


def test_without_an_objective_the_line_is_as_long_as_before() -> None:
    run = burst(None)
    order = np.argsort(run.requests["sent"], kind="stable")
    assert (np.diff(order) > 0).all()
