"""The dispatch line, the choice of pod and the order of waiting."""

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st
from torpor.dispatch import PodLoad, WaitingLine, least_loaded


def test_the_line_is_max_num_seqs_plus_the_queue_target():
    pod = PodLoad(max_num_seqs=2)
    for _ in range(3):
        assert pod.accepts(1)
        pod.dispatched()
    assert not pod.accepts(1)
    pod.finished()
    assert pod.accepts(1)


def test_a_pod_without_a_known_capacity_has_no_line():
    pod = PodLoad()
    for _ in range(1000):
        pod.dispatched()
    assert pod.accepts(0)


def test_what_was_sent_since_the_report_counts_on_top_of_it():
    pod = PodLoad(max_num_seqs=4)
    pod.report(running=3, waiting=0, max_num_seqs=4)
    pod.dispatched()
    assert pod.load == 4
    assert not pod.accepts(0)
    pod.report(running=4, waiting=0, max_num_seqs=4)
    assert pod.load == 4


def test_a_report_older_than_a_request_makes_no_room():
    pod = PodLoad(max_num_seqs=1)
    pod.dispatched()
    pod.report(running=0, waiting=0, max_num_seqs=1)
    assert not pod.accepts(0)


def test_what_came_back_since_the_report_is_taken_off():
    pod = PodLoad(max_num_seqs=2)
    pod.dispatched()
    pod.report(running=2, waiting=0, max_num_seqs=2)
    pod.finished()
    assert pod.load == 1


def test_unknown_gauges_are_not_zero():
    pod = PodLoad()
    pod.report(running=5, waiting=1, max_num_seqs=8)
    pod.report(running=None, waiting=None, max_num_seqs=8)
    assert pod.load == 6


@given(st.lists(st.sampled_from(["send", "end", "report"]), max_size=60), st.integers(0, 5))
def test_a_process_alone_never_exceeds_the_line(actions, target):
    pod, here = PodLoad(max_num_seqs=3), 0
    for action in actions:
        if action == "send" and pod.accepts(target):
            pod.dispatched()
            here += 1
        elif action == "end" and here:
            pod.finished()
            here -= 1
        elif action == "report":
            pod.report(running=min(here, 3), waiting=max(0, here - 3), max_num_seqs=3)
        assert here <= 3 + target
        assert pod.load >= here == pod.in_flight
    while here:
        pod.finished()
        here -= 1
    pod.report(0, 0, 3)
    assert pod.load == 0


@dataclass
class Pod:
    load: int


def test_the_least_loaded_is_chosen_and_ties_take_turns():
    pods = [Pod(2), Pod(1), Pod(1)]
    chosen = [least_loaded(pods, turn) for turn in range(4)]
    assert [next(at for at, pod in enumerate(pods) if pod is one) for one in chosen] in (
        [1, 2, 1, 2],
        [2, 1, 2, 1],
    )
    assert least_loaded([], 0) is None


@given(st.lists(st.integers(0, 50), min_size=1), st.integers(0, 1000))
def test_no_pod_has_less_than_the_chosen_one(loads, turn):
    chosen = least_loaded([Pod(load) for load in loads], turn)
    assert chosen is not None
    assert chosen.load == min(loads)


def test_first_come_first_served_and_a_returner_keeps_its_place():
    line: WaitingLine[str] = WaitingLine()
    tickets = {name: line.draw() for name in "abc"}
    for name in "bc":
        line.join(tickets[name], name, 10)
    line.join(tickets["a"], "a", 10)
    assert list(line) == ["a", "b", "c"]
    assert line.bytes == 30
    assert [line.take(lambda _: True) for _ in range(4)] == ["a", "b", "c", None]
    assert line.bytes == 0


def test_who_cannot_be_served_is_passed_over():
    line: WaitingLine[str] = WaitingLine()
    for name in "abc":
        line.join(line.draw(), name, 1)
    assert line.take(lambda item: item != "a") == "b"
    assert list(line) == ["a", "c"]
    assert not line.leave(2)
    assert line.leave(1)
    assert len(line) == 1


@given(
    st.lists(st.tuples(st.sampled_from(["join", "leave", "take", "return"]), st.integers(0, 30)), max_size=80)
)
def test_the_line_is_always_in_order_and_its_bytes_add_up(actions):
    line: WaitingLine[int] = WaitingLine()
    waiting: dict[int, int] = {}
    out: list[int] = []
    for action, number in actions:
        if action == "join":
            ticket = line.draw()
            line.join(ticket, ticket, number)
            waiting[ticket] = number
        elif action == "leave":
            assert line.leave(number) is (number in waiting)
            waiting.pop(number, None)
        elif action == "take":
            taken = line.take(lambda _: True)
            assert taken == min(waiting, default=None)
            if taken is not None:
                del waiting[taken]
                out.append(taken)
        elif out:
            ticket = out.pop()
            line.join(ticket, ticket, number)
            waiting[ticket] = number
        assert list(line) == sorted(waiting)
        assert line.bytes == sum(waiting.values())
