"""The order of who waits when an objective is given: the fresh before the late, and nobody starves."""

from __future__ import annotations

import math
import time

from hypothesis import given, settings
from hypothesis import strategies as st
from torpor.dispatch import LATE_PLACE, LATE_SHARE, PodLoad, WaitingLine

OBJECTIVE = 2.0
PATIENCE = LATE_SHARE * OBJECTIVE  # 1 s


def anybody(_: object) -> bool:
    return True


def filled(*arrivals: float) -> WaitingLine[float]:
    """A line of requests that are called by their times of arrival."""
    line: WaitingLine[float] = WaitingLine()
    for arrived in arrivals:
        line.join(line.draw(), arrived, 1, arrived)
    return line


def order(line: WaitingLine[float], now: float, **more) -> list[float]:
    taken = []
    while (item := line.take(anybody, now, OBJECTIVE, **more)) is not None:
        taken.append(item)
    return taken


def test_the_fresh_go_before_the_late_and_every_third_place_goes_to_the_oldest() -> None:
    line = filled(0.0, 0.1, 0.2, 9.1, 9.2, 9.3, 9.4, 9.5, 9.6)
    assert order(line, 10.0) == [9.1, 9.2, 0.0, 9.3, 9.4, 0.1, 9.5, 9.6, 0.2]


def test_who_has_waited_just_its_patience_is_not_late() -> None:
    assert order(filled(9.0, 9.5), 10.0) == [9.0, 9.5]
    assert order(filled(8.9, 9.5), 10.0) == [9.5, 8.9]


def test_without_anybody_fresh_the_late_go_in_order() -> None:
    assert order(filled(1.0, 2.0, 3.0), 10.0) == [1.0, 2.0, 3.0]


def test_who_is_urgent_is_first_again_until_it_is_served() -> None:
    line = filled(0.0, 1.0, 5.0, 9.5, 9.6)
    assert order(line, 10.0, urgent=1.0) == [0.0, 1.0, 9.5, 9.6, 5.0]


def test_only_the_urgent_can_be_asked_for() -> None:
    line = filled(0.0, 1.0, 5.0, 9.5)
    assert order(line, 10.0, urgent=1.0, only_urgent=True) == [0.0, 1.0]
    assert len(line) == 2
    # An objective longer than that wait: nobody is late, and the urgent are found all the same.
    line = filled(0.0, 5.0)
    assert line.take(anybody, 10.0, 1000.0, 1.0, only_urgent=True) == 0.0
    assert line.take(anybody, 10.0, 1000.0, 1.0, only_urgent=True) is None


def test_places_are_counted_only_while_somebody_late_waits() -> None:
    line = filled(9.5, 9.6, 9.7, 9.8)
    assert [line.take(anybody, 10.0, OBJECTIVE) for _ in range(4)] == [9.5, 9.6, 9.7, 9.8]
    for arrived in (12.0, 19.1, 19.2, 19.3):
        line.join(line.draw(), arrived, 1, arrived)
    assert order(line, 20.0) == [19.1, 19.2, 12.0, 19.3]


def test_who_returns_stands_where_it_stood_and_is_late_if_it_is() -> None:
    line: WaitingLine[str] = WaitingLine()
    first, second, third = (line.draw() for _ in range(3))
    line.join(second, "b", 1, 0.5)
    line.join(third, "c", 1, 9.5)
    assert line.take(anybody, 10.0, OBJECTIVE) == "c"
    line.join(first, "a", 1, 0.0)
    line.join(third, "c", 1, 9.5)
    assert list(line) == ["a", "b", "c"]
    assert [line.take(anybody, 10.0, OBJECTIVE) for _ in range(3)] == ["c", "a", "b"]


def test_an_objective_that_changes_changes_who_is_late() -> None:
    line = filled(5.0, 9.5)
    assert line.take(lambda item: item == 7, 10.0, OBJECTIVE) is None
    assert line.take(anybody, 10.0, 100.0) == 5.0
    line = filled(5.0, 9.5)
    assert line.take(lambda item: item == 7, 10.0, OBJECTIVE) is None
    assert line.take(anybody, 10.0) == 5.0


def test_the_oldest_arrival_is_known() -> None:
    line = filled(0.0, 9.5)
    assert line.oldest() == 0.0
    line.leave(1)
    assert line.oldest() == 9.5
    assert filled().oldest() == math.inf


steps = st.lists(
    st.tuples(
        st.sampled_from(["join", "take", "pass", "leave", "return"]), st.integers(0, 60), st.integers(0, 8)
    ),
    max_size=150,
)


@given(steps, st.sampled_from([None, 0.5, OBJECTIVE, 30.0]))
@settings(max_examples=200, deadline=None)
def test_nobody_is_lost_doubled_or_starved(steps, objective) -> None:
    """Against a plain list: who goes is the oldest of its class, and the late have their place in time."""
    line: WaitingLine[int] = WaitingLine()
    waiting: dict[int, float] = {}
    gone: dict[int, float] = {}
    passed = 0  # places that went to fresh ones, while somebody late waited, since a late one had one
    now = 0.0
    for what, number, quarters in steps:
        now += quarters / 4
        if what == "join":
            ticket = line.draw()
            waiting[ticket] = now
            line.join(ticket, ticket, number, now)
        elif what == "return" and gone:
            ticket, arrived = gone.popitem()
            waiting[ticket] = arrived
            line.join(ticket, ticket, number, arrived)
        elif what == "leave":
            assert line.leave(number) is (number in waiting)
            waiting.pop(number, None)
        elif what in {"take", "pass"}:
            taken = line.take(anybody if what == "take" else lambda ticket: ticket % 2 == 0, now, objective)
            allowed = [t for t in waiting if what == "take" or t % 2 == 0]
            assert (taken is None) is not bool(allowed)
            if taken is None:
                continue
            assert taken in allowed
            late = {t for t in waiting if objective is not None and now - waiting[t] > LATE_SHARE * objective}
            same = [t for t in allowed if (t in late) is (taken in late)]
            assert taken == min(same)
            if objective is None:
                assert taken == min(allowed)
            if late.intersection(allowed) and passed >= LATE_PLACE - 1:
                assert taken in late
            passed = passed + 1 if late and taken not in late else 0
            gone[taken] = waiting.pop(taken)
        assert list(line) == sorted(waiting)
        assert len(line) == len(waiting)


@given(st.integers(1, 30), st.integers(1, 5))
@settings(max_examples=60, deadline=None)
def test_with_m_older_ones_a_late_one_goes_at_the_latest_at_place_3_m_plus_3(late: int, fresh: int) -> None:
    line = filled(*(float(i) for i in range(late)))
    now, served, places = 1000.0, 0, 0
    while served < late:
        for _ in range(fresh):  # a flood that never ends
            line.join(line.draw(), now, 1, now)
        places += 1
        item = line.take(anybody, now, OBJECTIVE)
        if item is not None and item < late:
            assert item == served  # in order of arrival
            served += 1
            assert places <= LATE_PLACE * served
        now += 0.25


def test_a_place_in_a_long_line_costs_no_more_than_in_a_short_one_times_a_little() -> None:
    def cost(waiting: int) -> float:
        line = filled(*(i / 1000 for i in range(waiting)))
        best = math.inf
        for attempt in range(5):
            began = time.process_time()  # not the time that other programs took in between
            for turn in range(300):
                arrived = 100 + attempt + turn / 1000
                line.join(line.draw(), arrived, 1, arrived)
                assert line.take(anybody, arrived, OBJECTIVE) is not None
            best = min(best, time.process_time() - began)
        return best

    assert cost(20_000) < 8 * cost(200)


def test_who_left_is_not_kept_for_ever() -> None:
    line = filled(0.0)
    for _ in range(10_000):
        ticket = line.draw()
        line.join(ticket, 1.0, 1, 1.0)
        line.leave(ticket)
    assert len(line._fresh) + len(line._late) < 200


def test_the_short_line_is_what_waits_inside() -> None:
    pod = PodLoad(max_num_seqs=100)
    pod.report(running=5, waiting=2, max_num_seqs=100)
    assert pod.accepts_shortly(4)
    pod.dispatched()
    pod.dispatched()
    assert not pod.accepts_shortly(4)
    assert pod.accepts(4)  # the long line has room
    pod.report(running=9, waiting=0, max_num_seqs=100)
    assert pod.accepts_shortly(4)
    pod.report(running=100, waiting=3, max_num_seqs=100)
    pod.dispatched()
    assert not pod.accepts_shortly(4)


def test_a_pod_of_which_nobody_told_what_waits_has_no_short_line() -> None:
    pod = PodLoad(max_num_seqs=50)
    for _ in range(50):
        assert pod.accepts_shortly(0)
        pod.dispatched()
    assert not pod.accepts_shortly(0)


def test_an_engine_that_takes_much_gets_twice_as_much_with_each_report() -> None:
    pod, sent = PodLoad(), []
    pod.report(0, 0, 1000)
    for _ in range(4):
        sent.append(0)
        while pod.accepts_shortly(4):
            pod.dispatched()
            sent[-1] += 1
        for _ in range(sent[-1]):
            pod.finished()
        pod.report(0, 0, 1000)
    assert sent == [4, 8, 16, 32]
    pod.report(3, 1, 1000)  # something waits
    pod.report(3, 0, 1000)
    assert [pod.accepts_shortly(4) and pod.dispatched() is None for _ in range(5)] == [True] * 4 + [False]


def test_who_is_not_short_of_places_gets_no_more() -> None:
    pod = PodLoad()
    for _ in range(20):
        pod.report(1, 0, 1000)
        assert pod.accepts_shortly(4)
    assert pod.doublings == 0
