"""Fairness between keys and classes: turns, bounds, places given up; and nothing new without keys."""

from __future__ import annotations

import math
import time

from hypothesis import given, settings
from hypothesis import strategies as st
from torpor.dispatch import ANONYMOUS, BATCH_PLACE, FairLine, Lane, WaitingLine

A, B, C = Lane("a"), Lane("b"), Lane("c")
LATER = Lane("night", batch=True)


def anybody(_: object) -> bool:
    return True


def joined(line: FairLine[str], lane: Lane, *names: str, size: int = 1) -> None:
    for name in names:
        line.join(line.draw(), name, size, 0.0, lane)


def order(line: FairLine[str]) -> str:
    taken = []
    while (item := line.take(anybody)) is not None:
        taken.append(item)
    return " ".join(taken)


def test_keys_take_turns_however_many_each_has() -> None:
    line: FairLine[str] = FairLine()
    joined(line, A, "a1", "a2", "a3", "a4", "a5")
    joined(line, B, "b1", "b2")
    joined(line, C, "c1")
    assert order(line) == "a1 b1 c1 a2 b2 a3 a4 a5"


def test_who_was_away_saves_up_no_turns() -> None:
    line: FairLine[str] = FairLine()
    joined(line, A, "a1", "a2", "a3", "a4", "a5", "a6")
    assert [line.take(anybody) for _ in range(4)] == ["a1", "a2", "a3", "a4"]
    joined(line, B, "b1", "b2", "b3")
    assert order(line) == "b1 a5 b2 a6 b3"


def test_who_leaves_and_comes_back_gets_no_second_turn() -> None:
    """A key that sends its next request when the last one went has one turn a round, like one that floods."""
    line: FairLine[str] = FairLine()
    joined(line, A, "a1", "a2", "a3")
    joined(line, B, "b1")
    joined(line, C, "c1", "c2", "c3")
    taken = []
    for turn in range(2, 8):
        taken.append(line.take(anybody))
        if str(taken[-1]).startswith("b"):
            joined(line, B, f"b{turn}")
    assert [str(one)[0] for one in taken] == ["a", "b", "c", "a", "b", "c"]


def test_a_key_that_cannot_go_loses_its_turns_and_does_not_save_them() -> None:
    line: FairLine[str] = FairLine()
    joined(line, A, *[f"a{i}" for i in range(9)])
    joined(line, B, *[f"b{i}" for i in range(9)])
    assert [line.take(lambda name: name[0] == "b") for _ in range(5)] == ["b0", "b1", "b2", "b3", "b4"]
    assert [str(line.take(anybody))[0] for _ in range(4)].count("a") == 2


def test_every_tenth_place_goes_to_batch_while_batch_waits() -> None:
    line: FairLine[str] = FairLine()
    joined(line, A, *["a"] * 25)
    joined(line, LATER, "n", "n", "n")
    assert BATCH_PLACE == 10
    assert order(line).split() == [*["a"] * 9, "n", *["a"] * 9, "n", *["a"] * 7, "n"]


def test_places_are_counted_only_while_batch_waits() -> None:
    line: FairLine[str] = FairLine()
    joined(line, A, *["a"] * 30)
    for _ in range(20):
        line.take(anybody)
    joined(line, LATER, "n")
    assert order(line).split() == [*["a"] * 9, "n", "a"]


def test_an_interactive_request_takes_the_place_of_the_youngest_batch_one() -> None:
    line: FairLine[str] = FairLine()
    joined(line, LATER, "n1", "n2")
    joined(line, Lane("other", batch=True), "o1")
    joined(line, A, "a1")
    assert line.make_room(A, 1, most=4, most_bytes=100) == ["n2"]
    assert len(line) == 3
    assert line.make_room(LATER, 1, most=3, most_bytes=100) == []
    assert order(line) == "a1 n1 o1"


def test_in_a_full_line_a_key_that_floods_gives_up_places_to_one_that_does_not() -> None:
    line: FairLine[str] = FairLine()
    joined(line, A, "a1", "a2", "a3", "a4")
    assert line.make_room(A, 1, most=4, most_bytes=100) == [], "its own"
    assert line.make_room(B, 1, most=4, most_bytes=100) == ["a4"]
    joined(line, B, "b1")
    assert line.make_room(C, 1, most=4, most_bytes=100) == ["a3"]
    joined(line, C, "c1")
    assert line.make_room(B, 1, most=4, most_bytes=100) == [], "two and one and one: nobody has more than it"
    assert order(line) == "a1 b1 c1 a2"


def test_room_for_bytes_is_made_by_the_key_that_keeps_most_of_them_or_not_at_all() -> None:
    line: FairLine[str] = FairLine()
    joined(line, A, "a1", "a2", "a3", size=30)
    joined(line, B, "b1", size=5)
    assert line.make_room(B, 30, most=100, most_bytes=100) == ["a3"]
    joined(line, A, "a3", size=30)
    assert line.make_room(B, 101, most=100, most_bytes=100) == []
    assert line.make_room(B, 70, most=100, most_bytes=100) == [], "it would keep more than the other does"
    assert (len(line), line.bytes) == (4, 95)
    assert order(line) == "a1 b1 a2 a3"


def test_who_needs_no_room_sheds_nobody_and_no_key_sheds_nobody() -> None:
    line: FairLine[str] = FairLine()
    joined(line, ANONYMOUS, "x", "y", "z")
    assert line.make_room(ANONYMOUS, 1, most=3, most_bytes=100) == []
    assert line.make_room(A, 1, most=3, most_bytes=100) == []
    assert line.make_room(A, 1, most=4, most_bytes=100) == []
    assert len(line) == 3


def test_an_empty_line_remembers_no_key() -> None:
    line: FairLine[str] = FairLine()
    for i in range(500):
        joined(line, Lane(f"key-{i}"), "x")
        assert line.take(anybody) == "x"
    assert len(line._interactive.queues) == len(line._interactive.turns) == 0


# --- laws -----------------------------------------------------------------------------------------

lanes = st.builds(Lane, st.sampled_from(["a", "b", "c", "d"]), st.booleans())
steps = st.lists(
    st.tuples(
        st.sampled_from(["join", "join", "take", "pass", "leave", "return"]),
        st.integers(0, 60),
        st.integers(0, 8),
        lanes,
    ),
    max_size=150,
)


@given(steps, st.sampled_from([None, 0.5, 2.0]))
@settings(max_examples=120, deadline=None)
def test_nobody_is_lost_or_doubled_and_within_a_key_the_order_is_that_of_its_line(steps, objective) -> None:
    line: FairLine[int] = FairLine()
    waiting: dict[int, tuple[Lane, int, float]] = {}
    gone: dict[int, tuple[Lane, int, float]] = {}
    now = 0.0
    for what, number, quarters, lane in steps:
        now += quarters / 4
        if what == "join" or (what == "return" and gone):
            if what == "join":
                ticket, entry = line.draw(), (lane, number, now)
            else:
                ticket, entry = gone.popitem()
            waiting[ticket] = entry
            line.join(ticket, ticket, entry[1], entry[2], entry[0])
        elif what == "leave":
            assert line.leave(number) is (number in waiting)
            waiting.pop(number, None)
        elif what in {"take", "pass"}:
            may_go = anybody if what == "take" else lambda ticket: ticket % 2 == 0
            allowed = [ticket for ticket in waiting if may_go(ticket)]
            taken = line.take(may_go, now, objective)
            assert (taken is None) is not bool(allowed)
            if taken is not None:
                assert taken in allowed
                if objective is None:
                    mine = waiting[taken][0]
                    assert taken == min(t for t in allowed if waiting[t][0] == mine)
                gone[taken] = waiting.pop(taken)
        assert list(line) == sorted(waiting)
        assert line.bytes == sum(size for _, size, _ in waiting.values())
        assert line.oldest() == min((came for _, _, came in waiting.values()), default=math.inf)
        assert line.waiting(batch=True) == sum(lane.batch for lane, _, _ in waiting.values())


plain = st.lists(
    st.tuples(
        st.sampled_from(["join", "join", "take", "pass", "urgent", "leave", "return"]),
        st.integers(0, 60),
        st.integers(0, 8),
    ),
    max_size=150,
)


@given(plain, st.lists(st.sampled_from([None, 0.5, 2.0, 30.0]), min_size=1, max_size=3))
@settings(max_examples=150, deadline=None)
def test_without_keys_it_is_the_plain_line(steps, objectives) -> None:
    fair: FairLine[int] = FairLine()
    line: WaitingLine[int] = WaitingLine()
    gone: list[tuple[int, float]] = []
    arrivals: dict[int, float] = {}
    now = 0.0
    for at, (what, number, quarters) in enumerate(steps):
        now += quarters / 4
        objective = objectives[at * len(objectives) // len(steps)]
        if what == "join":
            ticket = fair.draw()
            assert ticket == line.draw()
            arrivals[ticket] = now
            fair.join(ticket, ticket, number, now)
            line.join(ticket, ticket, number, now)
        elif what == "return" and gone:
            ticket, came = gone.pop()
            fair.join(ticket, ticket, number, came)
            line.join(ticket, ticket, number, came)
        elif what == "leave":
            assert fair.leave(number) is line.leave(number)
        elif what in {"take", "pass", "urgent"} and len(line):
            may_go = (lambda ticket: ticket % 2 == 0) if what == "pass" else anybody
            more = {"only_urgent": what == "urgent"}
            taken = fair.take(may_go, now, objective, now - 5.0, **more)
            assert taken == line.take(may_go, now, objective, now - 5.0, **more)
            if taken is not None:
                gone.append((taken, arrivals[taken]))
        assert (len(fair), fair.bytes, fair.oldest()) == (len(line), line.bytes, line.oldest())
        assert list(fair) == list(line)


@given(
    st.integers(0, 8),
    st.lists(st.tuples(st.integers(1, 5), st.integers(0, 3)), min_size=1, max_size=6),
    st.integers(0, 20),
    st.booleans(),
)
@settings(max_examples=120, deadline=None)
def test_with_m_of_its_own_ahead_and_k_keys_a_request_goes_by_place_m_plus_2_times_k(
    ahead: int, floods: list[tuple[int, int]], before: int, batch: bool
) -> None:
    """Keys flood as they like (how many at first, how many before each place): one key's wait is bounded."""
    line: FairLine[str] = FairLine()
    others = [Lane(f"flood-{i}", batch) for i in range(len(floods))]
    mine = Lane("mine", batch)
    for lane, (first, _) in zip(others, floods, strict=True):
        joined(line, lane, *["x"] * first)
    for _ in range(before):  # whatever round it is
        line.take(anybody)
        joined(line, others[0], "x")
    joined(line, mine, *["m"] * ahead, "it")
    keys, places = len(floods) + 1, 0
    while True:
        places += 1
        taken = line.take(anybody)
        if taken == "it":
            break
        assert places < (ahead + 2) * keys
        for lane, (_, more) in zip(others, floods, strict=True):
            joined(line, lane, *["x"] * more)
    assert places <= (ahead + 2) * keys


@given(st.integers(0, 5), st.integers(1, 4), st.integers(1, 4))
@settings(max_examples=100, deadline=None)
def test_a_batch_request_goes_by_ten_times_that_place_whatever_interactive_keys_do(
    ahead: int, keys: int, floods: int
) -> None:
    line: FairLine[str] = FairLine()
    for i in range(keys - 1):
        joined(line, Lane(f"b{i}", batch=True), *["x"] * 50)
    joined(line, LATER, *["n"] * ahead, "it")
    places = 0
    taken = None
    while taken != "it":
        for i in range(floods):
            joined(line, Lane(f"i{i}"), "now", "now")
        places += 1
        assert places <= BATCH_PLACE * (ahead + 2) * keys
        taken = line.take(anybody)
    assert places >= BATCH_PLACE * (ahead + 1)


@given(
    st.lists(st.tuples(lanes, st.integers(1, 40)), max_size=60),
    lanes,
    st.integers(1, 60),
    st.integers(1, 12),
    st.integers(10, 200),
)
@settings(max_examples=120, deadline=None)
def test_places_are_given_up_to_make_room_or_not_at_all_and_only_by_whom_they_may(
    present, lane, size, most, most_bytes
) -> None:
    line: FairLine[tuple[Lane, int]] = FairLine()
    for one, its_size in present:
        if len(line) < most and line.bytes + its_size <= most_bytes:
            line.join(line.draw(), (one, its_size), its_size, 0.0, one)
    before = list(line)
    had_room = len(before) < most and line.bytes + size <= most_bytes
    shed = line.make_room(lane, size, most, most_bytes)
    assert len(line) == len(before) - len(shed)
    assert line.bytes == sum(its_size for _, its_size in line)
    if had_room:
        assert shed == []
    elif shed:
        assert len(line) < most
        assert line.bytes + size <= most_bytes
        for other, _ in shed:
            assert other != lane
            assert other.batch or not lane.batch
    else:
        assert sorted(before) == sorted(line)
        if not lane.batch and len(before) >= most and sum(s for _, s in before) + size <= most_bytes:
            assert not any(other.batch for other, _ in before), "a batch request kept its place"


def test_a_place_costs_no_more_in_a_long_line_of_many_keys_than_in_a_short_one_times_a_little() -> None:
    def cost(waiting: int) -> float:
        line: FairLine[str] = FairLine()
        for i in range(waiting):
            joined(line, Lane(f"key-{i % (waiting // 10)}"), "x")
        best = math.inf
        for _ in range(5):
            began = time.process_time()
            for turn in range(300):
                joined(line, Lane(f"key-{turn}"), "x")
                assert line.take(anybody) is not None
                assert line.oldest() == 0.0
            best = min(best, time.process_time() - began)
        return best

    assert cost(20_000) < 8 * cost(200)


def test_who_left_is_not_kept_for_ever() -> None:
    line: FairLine[str] = FairLine()
    joined(line, A, "stays")
    for _ in range(10_000):
        ticket = line.draw()
        line.join(ticket, "x", 1, 1.0, A)
        line.leave(ticket)
    queue = line._interactive.queues["a"]
    assert len(line._oldest) + len(queue.young) + len(line._interactive.turns) < 400
