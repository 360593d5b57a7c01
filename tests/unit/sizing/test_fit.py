"""What is said to be enough is enough in the simulator, and one replica fewer is not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from torpor.decide.hardware import conservative
from torpor.decide.work import Objectives
from torpor.simulate import results
from torpor.simulate.fleet import Setup, Simulation
from torpor.simulate.hardware import cost_of
from torpor.simulate.policies import Static
from torpor.simulate.traces import Trace
from torpor.sizing import fit
from torpor.sizing.model import Model, from_numbers

LOAD = fit.Load(2000, 30.0, 1024.0, 256.0, 8192, Objectives(2000.0, 50.0))
LLAMA = replace(
    from_numbers("70.6B", 80, 8, 128, active=None, quantization="fp8"), name="Llama-3.1-70B", heads=64
)


def attained(one: fit.Option, replicas: int) -> float:
    """Percent within the objectives over half an hour of Poisson arrivals with lognormal lengths."""
    draws = np.random.default_rng(11)
    seconds = 1800.0
    count = int(draws.poisson(one.requests * seconds))
    arrival = np.sort(draws.uniform(0, seconds, count))
    prompt, output = (
        np.maximum(1, mean * np.exp(0.5 * draws.standard_normal(count) - 0.125)).astype(np.int64)
        for mean in (LOAD.prompt, LOAD.output)
    )
    h = one.hardware
    setup = Setup(
        cost_of(h),
        h.kv_tokens,
        h.max_num_seqs,
        h.max_num_batched_tokens,
        60.0,
        initial=replicas,
        ttft_objective=2.0,
    )
    run = Simulation(Trace(arrival, prompt, output), setup, Static(replicas)).run()
    return 100.0 * float(results.attained(run, 2000.0, 50.0).mean())


def test_what_is_recommended_keeps_the_objectives_in_the_simulator() -> None:
    one = fit.option(LLAMA, LOAD, "h100", 4)
    assert not one.why
    assert not one.hardware.guessed
    assert attained(one, one.replicas) >= 99.0
    assert attained(one, int(one.replicas * 0.6)) < 90.0  # and it is no waste


def test_more_users_slower_people_and_longer_answers_move_the_number_the_right_way() -> None:
    def replicas(**change: float) -> int:
        return fit.option(LLAMA, replace(LOAD, **change), "h100", 4).replicas  # type: ignore[arg-type]

    usual = replicas()
    assert replicas(users=8000.0) > 3 * usual
    assert replicas(think=120.0) < usual
    assert replicas(output=1024.0) > usual


def test_the_guess_is_the_decisions_own() -> None:
    eight = replace(
        from_numbers("8B", 32, 8, 128, active=None, quantization=None), name="Mystery-8B", heads=32
    )
    ours = fit.hardware_of(eight, LOAD, "l40s", 1, kv_tokens=1000)
    theirs = conservative("l40s", "Mystery-8B", 1)
    assert (ours.a, ours.b, ours.c, ours.d) == pytest.approx((theirs.a, theirs.b, theirs.c, theirs.d))
    assert ours.guessed


@pytest.mark.parametrize(
    ("gpu", "ranks", "change", "said"),
    [
        ("h100", 1, {}, "71 GB of weights do not fit into 80 GB"),
        ("h100", 2, {"context": 1_000_000}, "less than one context of 1000000"),
        ("h100", 4, {"objectives": Objectives(2000.0, 5.0)}, "ITL"),
        ("h100", 4, {"objectives": Objectives(20.0, 50.0)}, "TTFT|prefill"),
    ],
)
def test_what_does_not_do_says_why(gpu: str, ranks: int, change: dict[str, object], said: str) -> None:
    one = fit.option(LLAMA, replace(LOAD, **change), gpu, ranks)  # type: ignore[arg-type]
    assert __import__("re").search(said, one.why), one.why
    assert one.replicas == 0


def test_heads_that_cannot_be_split() -> None:
    odd = replace(LLAMA, heads=63)
    assert "63 attention heads cannot be split by 4" in fit.option(odd, LOAD, "h100", 4).why


def test_the_best_is_first_by_price_where_prices_are_known() -> None:
    gpus = ("h100", "h200")
    fewest = fit.options(LLAMA, LOAD, gpus, (2, 4), {})
    assert [one.gpus for one in fewest] == sorted(one.gpus for one in fewest)
    cheap = fit.options(LLAMA, LOAD, gpus, (2, 4), {"h100": 1.0, "h200": 9.0})
    assert cheap[0].gpu == "h100"
    assert cheap[0].price == cheap[0].gpus * 1.0


def test_the_formula_shows_the_numbers_of_the_answer() -> None:
    one = fit.option(LLAMA, LOAD, "h100", 4)
    told = "\n".join(fit.formula(LLAMA, LOAD, one))
    assert f"= {one.replicas}" in told
    assert f"a={one.hardware.a:.4g}" in told
    assert "320 KiB a token" in told
    assert isinstance(LLAMA, Model)
