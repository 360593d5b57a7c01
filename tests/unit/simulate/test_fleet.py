"""The simulated fleet: nothing is lost, times are what they must be, and the closed form comes out of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torpor import dispatch
from torpor.decide import Policy
from torpor.decide.budget import prefill_budget
from torpor.decide.hardware import Hardware
from torpor.decide.work import Objectives
from torpor.simulate import fleet_kernel as fk
from torpor.simulate import replica_kernel as rk
from torpor.simulate import results
from torpor.simulate.fleet import Run, Setup, Simulation, SimulationError
from torpor.simulate.hardware import cost_of, for_objective, mean_request, work_ms
from torpor.simulate.policies import Static, Torpor
from torpor.simulate.profiles import StepCost
from torpor.simulate.traces import Trace

if TYPE_CHECKING:
    from torpor.simulate.view import View

COST = StepCost(10.0, 1.0, 0.001, 0.1)


def setup(**values) -> Setup:
    known = {
        "cost": COST,
        "kv_tokens": 64_000,
        "max_num_seqs": 4,
        "max_num_batched_tokens": 256,
        "cold_start": 60.0,
    }
    return Setup(**(known | values))


def trace(*rows: tuple[float, int, int]) -> Trace:
    at, prompt, output = zip(*rows, strict=True)
    return Trace(np.array(at, float), np.array(prompt), np.array(output))


class Script:
    """Asks for what the list says, from each time on; remembers when it was asked."""

    name = "script"

    def __init__(self, *steps: tuple[float, int]) -> None:
        self.steps = steps
        self.views: list[View] = []

    def look(self, view: View) -> int:
        self.views.append(view)
        return [count for at, count in self.steps if at <= view.now][-1]


class OnDemand(Script):
    """Wakes one replica when something waits."""

    def look(self, view: View) -> int:
        self.views.append(view)
        return max(view.replicas, 1 if view.waiting else 0)


rows = st.lists(st.tuples(st.floats(0, 3), st.integers(1, 900), st.integers(0, 60)), min_size=1, max_size=60)
steps = st.lists(st.integers(0, 5), min_size=1, max_size=12)


@given(rows, steps, st.integers(0, 40), st.sampled_from([0.0, 1.0, 15.0, 60.0]), st.integers(0, 5))
@settings(max_examples=80, deadline=None)
def test_every_request_ends_once_and_every_token_is_counted(rows, steps, room, cold, seed) -> None:
    at = np.cumsum([row[0] for row in rows])
    load = Trace(at, np.array([row[1] for row in rows]), np.array([row[2] for row in rows]))
    policy = Script(*((7.0 * place, count) for place, count in enumerate(steps)))
    run = Simulation(
        load,
        setup(
            look=3.0,
            cold_start=cold,
            max_waiting=room,
            kv_tokens=1600,
            hold_seconds=30,
            queue_seconds=5,
            seed=seed,
        ),
        policy,
    ).run()
    requests = run.requests
    assert np.isin(requests["end"], [rk.COMPLETED, rk.REFUSED, rk.EXPIRED]).all()
    done = requests[requests["end"] == rk.COMPLETED]
    other = requests[requests["end"] != rk.COMPLETED]
    assert run.generated_tokens == done["output"].sum()
    assert run.prompt_tokens >= done["prompt"].sum()
    if not run.preemptions:
        assert run.prompt_tokens == done["prompt"].sum()
    assert (done["sent"] >= done["arrival"]).all()
    assert (done["first"] > done["sent"]).all()
    assert (done["finish"] >= done["first"]).all()
    assert np.isnan(other["first"]).all()
    waited = other["finish"] - other["arrival"]
    assert (waited[other["end"] == rk.EXPIRED] >= 5).all()
    for born, died in run.lives:
        assert 0 <= born <= died
    assert results.replica_seconds(run) <= sum(died - born for born, died in run.lives) + 1e-6


def test_a_request_to_a_sleeping_fleet_is_seen_at_once_and_held_for_the_cold_start() -> None:
    policy = OnDemand((0.0, 0))
    run = Simulation(trace((33.3, 100, 3)), setup(), policy).run()
    assert 33.3 in [view.now for view in policy.views]
    born, died = run.lives[0]
    assert born == pytest.approx(33.3)
    ready = float(run.requests["sent"][0])
    assert 30 < ready - born < 110
    # A prefill and two decodes.
    seconds = (10 + 1 + 10) + (10 + 1 + 0.1) + (10 + 1 + 0.101)
    assert run.requests["finish"][0] == pytest.approx(ready + seconds / 1000)
    figures = results.score(run, "x", ttft_ms=2000.0, itl_ms=50.0)
    assert figures["wakes"] == figures["starts"] == figures["peak_replicas"] == 1
    assert figures["slo_attainment_percent"] == 0
    assert figures["held_seconds"]["p50"] == pytest.approx(ready - 33.3, abs=0.001)
    assert died == pytest.approx(run.end)


def test_who_waits_for_a_wake_has_another_limit_than_who_waits_for_a_place() -> None:
    asleep = Simulation(
        trace((5.0, 10, 1), (6.0, 10, 1)), setup(hold_seconds=20, queue_seconds=1), Static(0)
    ).run()
    assert asleep.requests["end"].tolist() == [rk.EXPIRED, rk.EXPIRED]
    assert asleep.requests["finish"].tolist() == pytest.approx([25.0, 26.0])
    busy = Simulation(
        trace((0.0, 100, 5000), *[(1.0 + place, 100, 5000) for place in range(3)]),
        setup(max_num_seqs=1, queue_target=1, initial=1, hold_seconds=1000, queue_seconds=7),
        Static(1),
    ).run()
    assert busy.requests["end"].tolist() == [rk.COMPLETED, rk.COMPLETED, rk.EXPIRED, rk.EXPIRED]
    assert busy.requests["finish"][2:].tolist() == pytest.approx([9.0, 10.0])
    # One more on its way: the limits of a cold start, and then a place.
    growing = Simulation(
        trace((0.0, 100, 5000), *[(1.0 + place, 100, 5000) for place in range(3)]),
        setup(max_num_seqs=1, queue_target=1, initial=1, hold_seconds=1000, queue_seconds=7, look=2.0),
        Script((0.0, 1), (5.0, 2)),
    ).run()
    assert (growing.requests["end"] == rk.COMPLETED).all()


def test_a_full_line_refuses_and_so_does_a_cache_that_is_too_small() -> None:
    run = Simulation(
        trace((0.0, 10, 1), (1.0, 10, 1), (2.0, 10, 1), (3.0, 60_000, 5000)), setup(max_waiting=2), Static(0)
    ).run()
    assert run.requests["end"].tolist() == [rk.EXPIRED, rk.EXPIRED, rk.REFUSED, rk.REFUSED]


def test_a_draining_replica_ends_its_work_and_is_billed_until_then() -> None:
    policy = Script((0.0, 2), (20.0, 1))
    run = Simulation(
        trace((1.0, 100, 4000), (2.0, 100, 4000), (100.0, 10, 1)), setup(initial=2, look=20.0), policy
    ).run()
    assert (run.requests["end"] == rk.COMPLETED).all()
    (_, first), (_, last) = run.lives
    assert first in [pytest.approx(finish) for finish in run.requests["finish"][:2]]
    assert first > 40
    assert last == pytest.approx(run.end)
    assert results.score(run, "x", ttft_ms=None, itl_ms=None)["peak_replicas"] == 2


def test_a_starting_replica_goes_before_a_ready_one() -> None:
    policy = Script((0.0, 1), (10.0, 2), (20.0, 1))
    run = Simulation(trace((1.0, 10, 1), (200.0, 10, 1)), setup(initial=1), policy).run()
    assert sorted(run.lives) == [(0.0, pytest.approx(run.end)), (10.0, 20.0)]


def test_the_same_seed_meets_the_same_cold_starts() -> None:
    def waits(seed: int) -> list[float]:
        run = Simulation(trace(*((float(i), 10, 1) for i in range(9))), setup(seed=seed), Static(3)).run()
        return [float(x) for x in run.requests["sent"]]

    assert waits(1) == waits(1)
    assert waits(1) != waits(2)


def test_cold_starts_have_the_mean_and_the_spread_they_should() -> None:
    simulation = Simulation(trace((0.0, 1, 1)), setup(cold_start=120.0), Static(0))
    draws = np.array([simulation._cold_start() for _ in range(4000)])
    assert draws.mean() == pytest.approx(120, rel=0.02)
    assert draws.std() / draws.mean() == pytest.approx(0.2, rel=0.05)


@pytest.mark.parametrize("wished", [10**9, -1, 1001, 1.5, True, None, float("nan")])
def test_a_senseless_number_of_replicas_ends_the_run(wished) -> None:
    with pytest.raises(SimulationError, match="must be a whole number from 0 to 1000"):
        Simulation(trace((0.0, 1, 1)), setup(), Static(wished)).run()


@given(
    st.lists(st.tuples(st.booleans(), st.integers(0, 6), st.integers(0, 6)), max_size=8),
    st.integers(1, 12),
    st.integers(1, 7),
    st.integers(0, 20),
)
@settings(max_examples=100, deadline=None)
def test_the_choice_is_the_gateways(loads, line, short, turn) -> None:
    pods, places = rk.new_pods(8, setup().machine())
    for r, (ready, running, waiting) in enumerate(loads):
        pods[r]["state"] = rk.READY if ready else rk.STARTING
        pods[r]["running"], pods[r]["waiting"] = running, waiting
    seen = [
        (r, dispatch.PodLoad(max_num_seqs=line - short, reported=running + waiting, waiting=waiting))
        for r, (ready, running, waiting) in enumerate(loads)
        if ready
    ]
    allowed = [pod for _, pod in seen if pod.accepts_shortly(short)]
    chosen = dispatch.least_loaded(allowed, turn)
    expected = next((r for r, pod in seen if pod is chosen), -1)
    fleet = fk.Fleet(pods, places, np.zeros(8, np.int64), np.zeros(8))
    fk.mirror(fleet, len(loads))
    assert fk.least_loaded(fleet, len(loads), line, short, turn) == expected


def test_the_view_shows_what_an_operator_sees() -> None:
    policy = Script((0.0, 1), (15.0, 3))
    Simulation(
        trace(*((5.0, 500, 2000) for _ in range(7))),
        setup(initial=1, queue_target=1, queue_seconds=1000, cold_start=1000.0),
        policy,
    ).run()
    view = next(view for view in policy.views if view.now == 30.0)
    assert (view.replicas, view.ready, view.starting) == (3, 1, 2)
    assert (view.arrivals, view.prompt_tokens, view.held, view.queued, view.in_flight) == (7, 3500, 0, 2, 5)
    busy = next(pod for pod in view.pods if pod.ready)
    assert (busy.running, busy.waiting) == (4, 1)
    context = 500 + busy.tokens / 4
    assert busy.kv == pytest.approx(4 * context / 64_000, rel=0.05)
    # Steps of four sequences, whose contexts were half as much longer on average as they are now.
    mean = 4 * (500 + busy.tokens / 8)
    assert busy.decode_seconds / busy.tokens == pytest.approx(0.001 * (10 + 4 + 0.001 * mean), rel=0.01)
    assert busy.prompts == 2000
    assert view.output_tokens == busy.tokens


@given(rows, st.integers(0, 40), st.sampled_from([1.0, 15.0]), st.sampled_from([0.05, 1.0, 20.0]))
@settings(max_examples=40, deadline=None)
def test_the_gateways_judge_as_the_score_does(rows, room, cold, ttft) -> None:
    at = np.cumsum([row[0] for row in rows])
    load = Trace(at, np.array([row[1] for row in rows]), np.array([row[2] for row in rows]))
    policy = OnDemand((0.0, 0))
    shape = setup(look=2.0, cold_start=cold, max_waiting=room, kv_tokens=1600, judged_by=(ttft, 0.02))
    run = Simulation(load, shape, policy).run()
    judged, missed = policy.views[-1].judged
    ended = run.requests["finish"] <= policy.views[-1].now
    refused = run.requests["end"] == rk.REFUSED  # when is not told, so perhaps after the last look
    assert ended.sum() <= judged <= ended.sum() + refused.sum()
    good = results.attained(run, 1000 * ttft, 20.0) & ended
    assert missed == judged - good.sum()
    told = [view.judged for view in policy.views]
    assert told == sorted(told)


def test_the_production_decision_wakes_serves_and_sleeps() -> None:
    owner = Policy(
        0, 5, 4.0, 0.8, idle_seconds=60.0, window_seconds=30.0, credit_seconds=120.0, max_num_seqs=4
    )
    load = trace((10.0, 100, 20), *((300.0 + i, 100, 20) for i in range(20)), (900.0, 10, 1))
    run = Simulation(load, setup(look=5.0), Torpor(lambda p95: owner)).run()
    figures = results.score(run, "torpor", ttft_ms=2000.0, itl_ms=50.0)
    assert figures["completed"] == len(load)
    assert figures["wakes"] == 3
    assert figures["replica_hours"] < 0.3


def mean_itl(run: Run) -> float:
    """Milliseconds per token over all tokens but the first of each request, the ends of the run left out."""
    requests = run.requests[len(run.requests) // 5 : -len(run.requests) // 5]
    return 1000 * float((requests["finish"] - requests["first"]).sum() / (requests["output"] - 1).sum())


def full_step(machine: Hardware, load: Trace, rate: float) -> int:
    """Tokens of a step of 50 ms at the mean batch of `rate` requests a second. The operator's budget leaves
    room for chance, so that no step of its replicas is as long as the closed form's mean.
    """
    running = rate * 0.05 * float(np.mean(load.output))
    cached = rate * 0.05 * float(np.mean(load.output * (load.prompt + load.output / 2)))
    return int((50.0 - machine.a - machine.b * running - machine.c * cached) / machine.d + running)


# Of each recorded trace: the means of prompt, output, their product and the output squared (tokens).
MEANS = {
    "azure-code": (2047.8, 27.9, 57_235, 4_361),
    "azure-conversation": (1154.7, 211.1, 223_497, 71_100),
    "mooncake": (12_035.1, 342.6, 4_407_260, 179_842),
    "large48": (1683.3, 78.3, 133_929, 10_930),
    "mid52": (2672.0, 32.6, 87_155, 1_345),
    "mid64": (5862.1, 1117.4, 6_586_794, 2_015_159),
}


def drawn(means: tuple[float, float, float, float], count: int) -> tuple[np.ndarray, np.ndarray]:
    """Lognormal lengths with these means: W has no others. The prompts' spread is free."""
    prompt, output, product, square = means
    spread, outputs = 0.6, np.log(square / output**2)
    both = np.array([[spread**2, np.log(product / (prompt * output))]] * 2)
    both[1] = [both[0, 1], outputs]
    centre = np.log([prompt, output]) - np.diag(both) / 2
    lengths = np.exp(np.random.default_rng(3).multivariate_normal(centre, both, count))
    return np.maximum(1, lengths[:, 0]).astype(int), np.maximum(2, lengths[:, 1]).astype(int)


@pytest.mark.parametrize("lengths", ["chat", "code", *MEANS])
def test_the_closed_form_of_capacity_comes_out(lengths: str) -> None:
    """lambda_max = (1 - a/ITL)/E[W] (autoscaling.md 11.3), with mixed lengths, within 5 %.

    Where the cache is nearly full at that rate (mid64), requests wait beyond it while the ITL stays.
    """
    draws = np.random.default_rng(3)
    count = 6000
    if lengths in MEANS:
        prompt, output = drawn(MEANS[lengths], count)
    else:
        prompt = draws.integers(200, 2000, count) if lengths == "chat" else draws.integers(2000, 6000, count)
        output = draws.integers(50, 450, count) if lengths == "chat" else draws.integers(10, 60, count)
    machine = Hardware("70b", 11.02, 0.0547, 2.791e-5, 0.0446, 640_000, 1024, 8192)
    even = Trace(np.arange(count, dtype=float), prompt, output)
    predicted = 1000 * (1 - machine.a / 50.0) / float(np.mean(work_ms(machine, even)))
    replica = for_objective(machine, even, 50.0, seqs=None, budget=full_step(machine, even, predicted))

    def holds(rate: float) -> bool:
        load = Trace(np.arange(count) / rate, prompt, output)
        run = Simulation(
            load,
            setup(
                cost=cost_of(replica),
                kv_tokens=replica.kv_tokens,
                max_num_seqs=replica.max_num_seqs,
                max_num_batched_tokens=replica.max_num_batched_tokens,
                initial=1,
                queue_seconds=1e9,
            ),
            Static(1),
        ).run()
        late = run.requests[-count // 5 :]
        return mean_itl(run) < 50.0 and float(np.median(late["first"] - late["arrival"])) < 5.0

    low, high = 0.5 * predicted, 1.5 * predicted
    for _ in range(8):
        middle = (low + high) / 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    assert low == pytest.approx(predicted, rel=0.05)


def test_the_budget_is_the_operators() -> None:
    """What a fleet is simulated with is what its launcher would start, on the same hardware and requests."""
    machine = Hardware("70b", 11.02, 0.0547, 2.791e-5, 0.0446, 640_000, 1024, 8192)
    load = trace(*((float(i), 800 + 10 * i, 100 + i) for i in range(100)))
    found = prefill_budget(machine, Objectives(2000.0, 50.0), mean_request(machine, load))
    replica = for_objective(machine, load, 50.0, seqs=None, budget=None, ttft_ms=2000.0)
    assert replica.max_num_batched_tokens == found.max_num_batched_tokens < 8192
    assert replica.max_num_seqs == min(1024, replica.max_num_batched_tokens)


def test_flags_keep_their_sizes() -> None:
    machine = Hardware("70b", 11.02, 0.0547, 2.791e-5, 0.0446, 640_000, 1024, 8192)
    load = trace((0.0, 1000, 200), (1.0, 1000, 200))
    assert for_objective(machine, load, None, seqs=None, budget=None) == machine
    assert for_objective(machine, load, 50.0, seqs=None, budget=512).max_num_seqs == 512
    assert for_objective(machine, load, 50.0, seqs=2000, budget=None).max_num_batched_tokens == 2000
