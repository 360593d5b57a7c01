"""The choice of a pod by what it knows and what it has to do."""

from collections import Counter
from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st
from torpor.dispatch import PodMemory, identity, route, seed_of, session_identity
from torpor.dispatch.router import BOUND, CROWD, MOST_PATIENCE, PATIENCE, homes, least_of_two, limit, patience


@dataclass(eq=False)
class Pod:
    """A pod as the choice sees it."""

    name: str
    load: int = 0
    prompt_tokens_ahead: int = 0
    in_flight: int = 0
    memory: PodMemory = field(default_factory=PodMemory)

    @property
    def seed(self) -> int:
        return seed_of(self.name)


def fleet(count: int) -> list[Pod]:
    return [Pod(f"fleet-{number}") for number in range(count)]


def text(number: int, size: int = 20_000) -> bytes:
    return (b"%d tells a story. " % number * (size // 10))[:size]


def send(pods: list[Pod], prompt: bytes, turn: int = 0) -> Pod:
    found = identity(prompt)
    chosen = route(pods, pods, found, len(prompt), turn=turn)
    assert chosen is not None
    chosen.memory.learn(found)
    return chosen


def test_no_pod_is_none_and_one_pod_is_taken():
    assert route([], [], (), 0, turn=0) is None
    (pod,) = fleet(1)
    assert route([pod], [pod], identity(text(1)), 20_000, turn=0) is pod


def test_the_longest_beginning_wins():
    pods = fleet(4)
    found = identity(text(1))
    pods[1].memory.learn(found[:10])
    pods[2].memory.learn(found[:20])
    assert send(pods, text(1)) is pods[2]


def test_among_those_that_know_it_the_one_with_the_least_to_compute():
    pods = fleet(8)
    found = identity(text(1))
    for pod in pods[1:3]:
        pod.memory.learn(found)
    pods[1].prompt_tokens_ahead = 100
    assert send(pods, text(1)) is pods[2]


def test_a_pod_above_the_line_gets_nothing_whatever_it_knows():
    pods = fleet(4)
    pods[1].memory.learn(identity(text(1)))
    for pod in pods:
        pod.load = 4
    pods[1].load = 20
    assert limit(pods) == 17
    assert send(pods, text(1)) is not pods[1]
    pods[1].load = 5
    assert send(pods, text(1)) is pods[1]


def test_what_everybody_knows_does_not_count():
    pods = fleet(8)
    system = b"You are a helpful assistant. " * 200
    for pod in pods[:7]:
        pod.memory.learn(identity(system))
    chosen = Counter(send(pods, system + text(number)).name for number in range(400))
    assert len(chosen) == 8  # the pod that has just started as well
    assert max(chosen.values()) < 2 * 400 / 8


def test_the_next_turn_finds_its_pod_from_a_gateway_that_never_saw_the_first():
    one, other = fleet(8), fleet(8)
    for number in range(50):
        first = send(one, text(number, 6_000))
        second = send(other, text(number, 6_000) + b"and then?" * 500)
        assert first.name == second.name


@given(st.integers(2, 30), st.integers(0, 1 << 38))
def test_a_pod_that_leaves_moves_only_what_was_its_own(count, key):
    pods = fleet(count)
    first, second = homes(pods, key)
    assert first is not second
    gone = [pod for pod in pods if pod is not first]
    assert homes(gone, key)[0] is second
    stayed = [pod for pod in pods if pod is not second]
    assert homes(stayed, key)[0] is first


def test_rendezvous_is_even():
    pods = fleet(8)
    chosen = Counter(homes(pods, identity(text(number))[0])[0].name for number in range(4000))
    assert len(chosen) == 8
    assert max(chosen.values()) < 1.25 * 500
    assert min(chosen.values()) > 0.75 * 500


def test_a_home_that_is_far_behind_passes_on_to_the_second_and_then_to_the_least():
    pods = fleet(6)
    first, second = homes(pods, identity(text(1))[0])
    first.prompt_tokens_ahead = PATIENCE + 1
    assert send(fleet_without_memory(pods), text(1)).name == second.name
    second.prompt_tokens_ahead = PATIENCE + 1
    third = next(pod for pod in pods if pod not in {first, second})
    for pod in pods:
        pod.prompt_tokens_ahead = max(pod.prompt_tokens_ahead, 1)
    third.prompt_tokens_ahead = 0
    assert send(fleet_without_memory(pods), text(1)).name == third.name


def test_a_home_is_waited_for_by_who_is_not_alone():
    pods = fleet(6)
    first, second = homes(pods, identity(text(1))[0])
    for pod in pods:
        pod.load = pod.in_flight = 3
    first.prompt_tokens_ahead = 10 * PATIENCE
    assert send(fleet_without_memory(pods), text(1)).name == second.name
    for pod in pods:
        pod.in_flight = 1  # as one of three does
    assert send(fleet_without_memory(pods), text(1)).name == first.name


def test_a_crowded_home_keeps_the_long_prompts_and_gives_the_short_away():
    pods = fleet(8)
    short, long = text(1, 600), text(1, 20_000)
    first, second = homes(pods, identity(short)[0])
    assert homes(pods, identity(long)[0])[0] is first
    for pod in pods:
        pod.load = 4
    first.load = 7
    assert patience(pods, len(short) // 4) < 3 * CROWD / (1 + 35 / 8)
    assert send(fleet_without_memory(pods), long).name == first.name
    assert send(fleet_without_memory(pods), short).name == second.name


@given(st.lists(st.tuples(st.integers(0, 99), st.integers(0, 99)), min_size=1), st.integers(0, 1 << 20))
def test_patience_grows_with_the_prompt_and_with_what_others_have_sent(requests, prompt):
    pods = [
        Pod(str(place), load=max(total, own), in_flight=own) for place, (total, own) in enumerate(requests)
    ]
    found = patience(pods, prompt)
    assert PATIENCE <= found <= PATIENCE + MOST_PATIENCE
    assert found <= patience(pods, prompt + 1)
    pods[0].load += 1  # from another process
    assert found <= patience(pods, prompt)
    for pod in pods:
        pod.in_flight = pod.load
    assert patience(pods, prompt) == PATIENCE


@given(st.integers(0, 33), st.integers(0, 33))
def test_a_guess_changes_nothing_but_the_work(learned, guess):
    found = identity(text(1, 70_000))
    memory = PodMemory()
    memory.learn(found[:learned])
    assert memory.depth(found, guess) == memory.depth(found) == learned


def fleet_without_memory(pods: list[Pod]) -> list[Pod]:
    return [Pod(pod.name, pod.load, pod.prompt_tokens_ahead, pod.in_flight) for pod in pods]


def test_a_session_stays_where_it_is_whatever_its_prompts_say():
    pods = fleet(8)
    found = session_identity(b"alice")
    chosen = route(pods, pods, found, 600, turn=0)
    assert chosen is not None
    elsewhere = next(pod for pod in pods if pod is not chosen)
    others = fleet(8)
    assert route(others, others, found, 9000, turn=5).name == chosen.name
    elsewhere.memory.learn(found)
    assert route(pods, pods, found, 700, turn=1) is elsewhere


def test_a_pod_that_just_started_is_not_stampeded():
    pods = fleet(8)
    for pod in pods[:7]:
        pod.load = 10
    for number in range(100):
        chosen = send(pods, text(number))
        chosen.load += 1
        assert chosen.load <= limit(pods, BOUND)
    assert 0 < pods[7].load <= 2.2 * sum(pod.load for pod in pods) / 8


def test_without_an_identity_two_choices_take_the_less_loaded():
    pods = fleet(5)
    pods[3].load = 9
    chosen = Counter(route(pods, pods, (), 100, turn=turn).name for turn in range(1000))
    assert chosen["fleet-3"] == 0
    assert len(chosen) == 4
    assert max(chosen.values()) < 400
    assert least_of_two(pods[:1], 3) is pods[0]


@given(st.lists(st.integers(0, 40), min_size=1, max_size=12), st.integers(0, 999), st.integers(0, 3))
def test_the_chosen_is_below_the_line(loads, number, known):
    pods = fleet(len(loads))
    for pod, load in zip(pods, loads, strict=True):
        pod.load = load
    for pod in pods[:known]:
        pod.memory.learn(identity(text(number)))
    chosen = send(pods, text(number))
    assert chosen.load < limit(pods)
