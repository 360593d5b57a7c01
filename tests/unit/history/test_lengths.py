"""Lengths out of histograms, and traces out of a past."""

from __future__ import annotations

import numpy as np
import pytest
from torpor.history.backtest import below, quantile
from torpor.history.lengths import Lengths
from torpor.history.read import EMPTY, Histogram, Past
from torpor.history.rebuild import Rebuilt
from torpor.history.series import Growth

BOUNDS = np.array([m * 10.0**e for e in range(6) for m in (1, 2, 5)] + [np.inf])


def histogram(*windows: np.ndarray) -> Histogram:
    counts = [np.histogram(w, np.concatenate([[0], BOUNDS]))[0].astype(float) for w in windows]
    return Histogram(
        BOUNDS,
        np.array(counts),
        np.array([w.sum() for w in windows], float),
        1800.0 * np.arange(len(windows)),
    )


@pytest.mark.parametrize(("mean", "sigma"), [(5000.0, 0.5), (300.0, 1.2), (40.0, 0.6)])
def test_lognormal_lengths_are_met_in_mean_and_spread(mean: float, sigma: float) -> None:
    draws = np.random.default_rng(1)
    truth = mean * np.exp(sigma * draws.standard_normal(20_000) - sigma**2 / 2)
    found = Lengths(histogram(truth), 1.0).draw(np.zeros(20_000), np.random.default_rng(2))
    assert found.mean() == pytest.approx(truth.mean(), rel=0.03)
    assert np.percentile(found, [25, 75]) == pytest.approx(np.percentile(truth, [25, 75]), rel=0.12)
    assert np.percentile(found, 95) == pytest.approx(np.percentile(truth, 95), rel=0.15)


def test_each_window_has_its_own_shape_and_a_thin_one_borrows() -> None:
    short, long, thin = np.full(1000, 60.0), np.full(1000, 3000.0), np.full(3, 9.0)
    lengths = Lengths(histogram(short, long, thin), 1.0)
    draw = np.random.default_rng(3)
    assert lengths.draw(np.full(2000, 100.0), draw).mean() == pytest.approx(60, rel=0.1)
    assert lengths.draw(np.full(2000, 1900.0), draw).mean() == pytest.approx(3000, rel=0.1)
    assert 500 < lengths.draw(np.full(2000, 3700.0), draw).mean() < 2500  # a mixture of both


def test_without_a_histogram_one_length_is_assumed() -> None:
    assert set(Lengths(EMPTY, 256.0).draw(np.zeros(10), np.random.default_rng(0)).tolist()) == {256}


def test_shares_and_quantiles_lie_straight_between_bounds() -> None:
    one = Histogram(
        np.array([1.0, 2.0, np.inf]), np.array([[50.0, 40.0, 10.0]]), np.array([0.0]), np.zeros(1)
    )
    assert below(one, 1.0) == 0.5
    assert below(one, 1.5) == pytest.approx(0.7)
    assert below(one, 99.0) == 0.9  # what is beyond the last bound is beyond any limit
    assert quantile(one, 0.7) == pytest.approx(1.5)
    assert quantile(one, 0.99) == 2.0


def test_a_trace_has_every_counted_request_where_it_was_counted() -> None:
    grown = Growth(np.array([100.0, 130.0]), np.array([115.0, 145.0]), np.array([30.0, 5.0]))
    past = Past("", 100.0, 200.0, 15.0, 1, grown, "engine", [], [], [], EMPTY, EMPTY, EMPTY, EMPTY, EMPTY)
    trace = Rebuilt(past).trace(4)
    assert len(trace) == 35
    assert (np.diff(trace.arrival) >= 0).all()
    assert ((trace.arrival < 15) | (trace.arrival >= 30)).all()
    assert trace.arrival.max() < 45
    assert trace.arrival.tolist() == Rebuilt(past).trace(4).arrival.tolist()
    assert trace.arrival.tolist() != Rebuilt(past).trace(5).arrival.tolist()
