"""What goes wrong on purpose: starts that fail, reports that stop, and what a policy then sees."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest
from torpor.decide import Unknown, measured
from torpor.simulate import replica_kernel as rk
from torpor.simulate import results
from torpor.simulate.conditions import Conditions, Reports
from torpor.simulate.fleet import Run, Simulation
from torpor.simulate.policies import Static, observation

from tests.unit.simulate.test_fleet import Script, setup, trace

if TYPE_CHECKING:
    from torpor.simulate.view import View

STEADY = [(float(second), 100, 200) for second in range(1, 400, 3)]


def run(policy: object, conditions: Conditions, *, seed: int = 1) -> Run:
    return Simulation(trace(*STEADY), setup(conditions=conditions, seed=seed, look=5.0), policy).run()


def test_a_start_that_fails_is_billed_and_replaced_after_its_deadline() -> None:
    failing = Simulation(
        trace((0.0, 10, 1), (500.0, 10, 1)),
        setup(conditions=Conditions(failed_starts=1.0, start_deadline=100.0), look=5.0, hold_seconds=450),
        Static(1),
    ).run()
    assert failing.requests["end"].tolist() == [rk.EXPIRED, rk.EXPIRED]
    lives = sorted(failing.lives)
    assert [born for born, _ in lives] == pytest.approx([100.0 * place for place in range(10)])
    assert [died - born for born, died in lives][:-1] == pytest.approx([100.0] * 9)
    assert results.replica_seconds(failing) == pytest.approx(failing.end)


def test_only_the_share_fails_and_the_rest_start_as_they_would() -> None:
    good = run(Static(5), Conditions())
    some = run(Static(5), Conditions(failed_starts=0.4, start_deadline=90.0))
    assert (some.requests["end"] == rk.COMPLETED).all()
    assert len(good.births) == 5
    assert 5 < len(some.births) < 20
    assert len(run(Static(5), Conditions(failed_starts=0.4, start_deadline=90.0)).births) == len(some.births)


def test_giving_up_a_failing_start_does_not_replace_it() -> None:
    policy = Script((0.0, 1), (20.0, 0))
    done = run(policy, Conditions(failed_starts=1.0, start_deadline=100.0))
    assert done.lives == [(0.0, 20.0)]


def seen(conditions: Conditions) -> list[View]:
    policy = Script((0.0, 2), (150.0, 3))
    run(policy, conditions)
    return policy.views


def test_an_outage_hides_the_engines_and_not_the_gateways() -> None:
    plain, hidden = seen(Conditions()), seen(Conditions(outages=((100.0, 200.0),)))
    for clear, view in zip(plain, hidden, strict=True):
        assert view.ended == clear.ended
        assert (view.in_flight, view.waiting, view.arrivals, view.output_tokens) == (
            clear.in_flight,
            clear.waiting,
            clear.arrivals,
            clear.output_tokens,
        )
        assert [row[:2] for row in view.rows] == [row[:2] for row in clear.rows]
        if 100 <= view.now < 200:
            assert view.report_age == pytest.approx(view.now - 95.0)
            assert all(math.isnan(value) for row in view.rows for value in (*row[2:9], row[10]))
            assert len(view.unknown) == view.ready > 0
            assert all(isinstance(measured(engine.running), Unknown) for engine in observation(view).engines)
        else:
            assert view.rows == clear.rows
            assert view.unknown == ()


def test_stale_reports_stand_still_and_newcomers_have_none() -> None:
    plain, old = seen(Conditions()), seen(Conditions(stale=((100.0, 300.0),)))
    last = next(view for view in plain if view.now == 95.0)
    for clear, view in zip(plain, old, strict=True):
        if not 100 <= view.now < 300:
            assert view.rows == clear.rows
            continue
        assert view.report_age == pytest.approx(view.now - 95.0)
        assert [row[2:9] for row in view.rows[:2]] == [row[2:9] for row in last.rows]
        assert [row[:2] for row in view.rows] == [row[:2] for row in clear.rows]
        if view.now > 150:
            assert all(math.isnan(value) for value in view.rows[2][2:9])
    during = next(view for view in old if view.now == 100.0)
    assert not isinstance(measured(observation(during).engines[0].running), Unknown)
    later = next(view for view in old if view.now == 120.0)
    assert isinstance(observation(later).engines[0].running, Unknown)


def test_without_troubles_nothing_is_copied() -> None:
    rows = [[2.0, 0.0, 1.0, 0.0, 0.5, 1.0, 1.0, 1.0, 0.0, 0.0, *[1.0] * 6]]
    assert Reports(Conditions()).seen(7.0, rows) == (rows, 0.0)
    assert Reports(Conditions()).seen(7.0, rows)[0] is rows


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"failed_starts": 1.5}, "failed_starts=1.5: must be a share"),
        ({"failed_starts": math.nan}, "failed_starts=nan"),
        ({"start_deadline": 0.0}, "start_deadline=0.0"),
        ({"start_deadline": math.inf}, "start_deadline=inf"),
        ({"outages": ((5.0, 5.0),)}, "outages: 5 to 5"),
        ({"stale": ((-1.0, 5.0),)}, "stale: -1 to 5"),
        ({"outages": ((0.0, math.nan),)}, "outages: 0 to nan"),
    ],
)
def test_senseless_conditions_are_refused(values, said) -> None:
    with pytest.raises(ValueError, match=said):
        Conditions(**values)
