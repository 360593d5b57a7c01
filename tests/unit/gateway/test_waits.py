"""Waiting times fall into time asleep and time awake, whatever the fleet does; and the speeds of streams."""

from itertools import pairwise
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torpor_gateway.sketch import Sketch, Speed
from torpor_gateway.waits import Waits


def joined(waits: Waits, now: float) -> SimpleNamespace:
    return SimpleNamespace(waiting_since=now, slept=waits.slept(now), trail=None)


def seen(sketch: Sketch) -> tuple[int, float]:
    return sketch.count, pytest.approx(sketch.sum)


# Whole milliseconds, as the loop's clock tells them.
TURNS = st.lists(st.tuples(st.integers(0, 5_000), st.booleans()), max_size=12)


@given(turns=TURNS, join=st.integers(0, 20_000), wait=st.integers(1, 40_000))
def test_a_wait_is_divided_by_where_the_fleet_was(turns, join, wait) -> None:
    waits = Waits(0.0)
    moment, asleep, changes = 0, True, [(0, True)]
    for after, value in turns:
        moment += after
        changes.append((moment, value))
    end = join + wait
    request = None
    held = 0
    for (begin, asleep), (until, _) in pairwise([*changes, (max(end, moment) + 1, False)]):
        if begin > end:
            break
        waits.turn(begin / 1000, asleep=asleep)
        held += max(0, min(until, end) - max(begin, join)) if asleep else 0
        if request is None and begin <= join < until:
            request = joined(waits, join / 1000)
    assert request is not None
    asleep_in_the_end = waits._asleep_since is not None
    waits.end(request, end / 1000)
    queued = wait - held
    if min(held, queued) < 2:  # a tick of the clock is no part of its own
        held = wait if (asleep_in_the_end if wait < 4 else held > queued) else 0
        queued = wait - held
    assert seen(waits.hold) == (1 if held else 0, held / 1000)
    assert seen(waits.queue) == (1 if queued else 0, queued / 1000)


@pytest.mark.parametrize("asleep", [True, False])
def test_who_joins_and_leaves_within_a_moment_has_waited_too(asleep) -> None:
    waits = Waits(0.0)
    waits.turn(5.0, asleep=asleep)
    waits.end(joined(waits, 7.0), 7.0)
    assert (waits.hold.count, waits.queue.count) == ((1, 0) if asleep else (0, 1))


def test_a_speed_is_that_of_the_tokens_after_the_first() -> None:
    speed = Speed()
    speed.stream((100, 51), 2.0)
    assert seen(speed) == (1, 25.0)
    assert [count for bound, count in speed.cumulative() if bound == 25.0] == [1]
    for used, seconds in ((None, 1.0), ((100, 1), 1.0), ((0, 0), 1.0), ((100, 51), 0.0)):
        speed.stream(used, seconds)
    assert speed.count == 1
