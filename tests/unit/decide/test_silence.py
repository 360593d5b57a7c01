"""Gateways that fall silent and come back: no burst is made up, and nothing that arrived is lost."""

import dataclasses
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torpor.decide import Demand, Observation, Tally, decide, traffic
from torpor.decide.known import NO_WATCH, Known
from torpor.decide.memory import Memory
from torpor.decide.study import study
from torpor.decide.work_rate import arriving

from tests.unit.decide.fleets import MIX, MONDAY, POLICY

RATES = (3.0, 5.0, 2.0)  # requests per second at each gateway, evenly
TRUTH = sum(RATES)
WARM, END, EVERY = 120, 900, 2
SETTLING = 5.0  # seconds for which a gateway that is back tells and cannot vouch for everything yet


@dataclasses.dataclass(frozen=True)
class Silence:
    gateway: int
    start: float
    length: float

    def hides(self, time):
        return self.start <= time < self.start + self.length

    def doubtful(self, time):
        return self.start <= time < self.start + self.length + SETTLING


silences = st.lists(
    st.builds(Silence, st.integers(0, 2), st.floats(WARM, END), st.floats(1.0, 400.0)), max_size=6
)


def tally_of(requests):
    return Tally(
        requests,
        requests * MIX.prompt,
        requests,
        requests * MIX.output,
        requests * MIX.prompt**2,
        requests * MIX.output**2,
        requests * MIX.prompt * MIX.output,
    )


def demand(spells, time, *, kept=True):
    """What the gateways tell at a time. kept: the sum keeps what a silent one had counted, else it drops."""
    heard, missing = 0.0, 0
    for gateway, rate in enumerate(RATES):
        own = [spell for spell in spells if spell.gateway == gateway]
        last = time
        while any(spell.hides(last) for spell in own):  # back to when it was heard last
            last = min(spell.start for spell in own if spell.hides(last)) - 1e-6
        missing += last != time
        if kept or last == time:
            heard += rate * last
    complete = not any(spell.doubtful(time) for spell in spells)
    told = None if missing == len(RATES) else tally_of(heard)
    gap = "" if complete else "gateway b is silent"
    return Demand(0.0, 0.0, 1.0, int(heard), complete=complete, gap=gap, tally=told)


def looks(spells, *, kept=True):
    """Yield each look's demand and what is known after it."""
    known = Known()
    for time in range(0, END, EVERY):
        told = demand(spells, time, kept=kept)
        seen = Observation(1, demand=told, wall=MONDAY + time)
        known = study(known, seen, POLICY, 1000.0 + time, NO_WATCH)
        yield time, told, known


@settings(max_examples=60, deadline=None)
@given(silences, st.booleans())
def test_no_look_has_more_than_the_truth_and_the_whole_looks_have_all_of_it(spells, kept):
    covered = arrived = 0.0
    first = last = None
    with patch.object(traffic, "observe", wraps=traffic.observe) as observe:
        for time, told, known in looks(spells, kept=kept):
            requests, prompts = known.traffic.rates
            assert requests <= TRUTH * (1 + 1e-9)
            assert prompts <= TRUTH * MIX.prompt * (1 + 1e-9)
            counts = observe.call_args.args[1] if observe.called else None
            observe.reset_mock()
            if counts is not None:
                assert counts.arrivals <= TRUTH * counts.seconds + 1e-3
            if not told.complete:
                continue
            assert requests == pytest.approx(TRUTH if time >= SETTLING else requests, rel=1e-6)
            first, last = time if first is None else first, time
            if counts is not None:
                covered, arrived = covered + counts.seconds, arrived + counts.arrivals
    assert covered == pytest.approx(last - first)
    assert arrived == pytest.approx(TRUTH * (last - first))


@settings(max_examples=30, deadline=None)
@given(silences)
def test_the_minutes_of_the_forecast_have_the_mean_of_the_silence(spells):
    for time, told, known in looks(spells):
        if time > WARM and told.complete and known.meter.covered:
            work = arriving(known.model, TRUTH, TRUTH * MIX.prompt)
            assert known.meter.amount / known.meter.covered == pytest.approx(work, rel=1e-6)


def test_what_the_others_see_still_counts_while_one_is_silent():
    """A step of the load at the gateways that report shows before the silent one is back."""
    spells = [Silence(2, 200.0, 2000.0)]
    known = Known()
    for time in range(0, 260, EVERY):
        told = demand(spells, time)
        if time >= 200:
            told = dataclasses.replace(told, tally=tally_of(told.tally.arrivals + 40.0 * (time - 200)))
        known = study(known, Observation(1, demand=told), POLICY, 1000.0 + time, NO_WATCH)
        if time == 200:
            before = known.traffic.rates[0]
    assert known.traffic.rates[0] > 3 * before


def test_a_return_asks_for_no_more_replicas_than_before():
    memory, numbers = Memory(), []
    spells = [Silence(1, 300.0, 200.0)]
    for time in range(0, 600, EVERY):
        seen = Observation(1, demand=demand(spells, time), wall=MONDAY + time)
        decision, memory = decide(seen, POLICY, memory, 1000.0 + time)
        numbers.append(next(r.raw for r in decision.signals if r.name == "workRate") if time else None)
    before = numbers[298 // EVERY]
    assert before >= 1
    assert max(numbers[300 // EVERY :]) == before
