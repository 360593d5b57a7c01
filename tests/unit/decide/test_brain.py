"""Stories of whole days: work, forecast, economics and memory together."""

import dataclasses

import pytest
from torpor.decide import Memory, Unknown, decide
from torpor.decide.hardware import conservative
from torpor.decide.work import Objectives
from torpor.decide.work_rate import sentence

from tests.unit.decide.fleets import POLICY, Office, office

HOUR, DAY = 3600, 86_400


@pytest.fixture(scope="module")
def first_day():
    """The fleet of an office at the midnight after its first day."""
    fleet = Office()
    fleet.live(DAY)
    return fleet


def morning(memory, policy=POLICY):
    """A fleet on the second day: replicas at eight, and the longest line before nine."""
    fleet = Office(policy, memory=memory, start=DAY + 7 * HOUR)
    fleet.clock = 1000.0 + DAY + 7 * HOUR
    fleet.live(HOUR)
    at_eight, longest = len(fleet.ready()), 0.0
    for _ in range(360):
        fleet.look()
        longest = max(longest, fleet.held)
    return at_eight, longest


def test_the_second_morning_finds_the_fleet_awake(first_day):
    at_eight, longest = morning(first_day.memory)
    assert at_eight >= 1
    assert longest == 0
    assert morning(Memory())[1] > 5


def test_what_was_learned_wakes_the_fleet_after_a_restart_too(first_day):
    loaded = Memory.load(first_day.memory.dump())
    assert morning(loaded)[1] == 0


def test_a_step_is_answered_at_once():
    """Within two looks, by several replicas, and not one a cold start."""
    fleet = Office(rate=lambda seconds: 5.0 if seconds < HOUR else 200.0)
    before = fleet.live(HOUR - 20)
    fleet.live(40)
    assert fleet.replicas >= 3 * before
    assert fleet.replicas - before >= 6


def test_a_wake_is_ordered_at_once_for_the_queue_that_it_will_find():
    """As soon as the rate is known nobody is added while the first replicas start: they would come when the
    queue is gone.
    """
    fleet = Office(rate=lambda seconds: 20.0 if seconds > 600 else 0.0)
    fleet.live(600)
    assert fleet.replicas == 0
    assert fleet.look() >= 4
    ordered = fleet.live(20)
    assert [fleet.look() for _ in range(9)] == [ordered] * 9
    assert not fleet.ready()


def test_a_wake_without_a_measured_cold_start_is_ordered_for_who_waits():
    fleet = Office(
        dataclasses.replace(POLICY, cold_start=None), rate=lambda seconds: 20.0 if seconds > 600 else 0.0
    )
    fleet.live(600)
    assert fleet.look() < fleet.live(60)


def test_silence_ends_in_sleep_by_economics_and_the_owner_may_say_otherwise():
    spells = {}
    for idle in (None, 900.0):
        fleet = Office(
            dataclasses.replace(POLICY, idle_seconds=idle),
            rate=lambda seconds: 5.0 if seconds < HOUR else 0.0,
        )
        fleet.live(HOUR)
        while fleet.replicas:
            fleet.look()
        spells[idle] = fleet.now - HOUR
    assert spells[900.0] == pytest.approx(900, abs=20)
    assert 120 <= spells[None] <= 600


def test_engines_slower_than_the_table_get_more_replicas():
    """Half as fast: learned from their own steps, so that the work is believed to be twice as much."""
    numbers = {}
    for slow in (1.0, 1.5):
        fleet = Office(rate=lambda _: 20.0, slow=slow)
        fleet.live(2 * HOUR)
        numbers[slow] = fleet.replicas
        constants = fleet.memory.known.learned.constants
    assert constants[0] == pytest.approx(1.5 * 11.02, rel=0.1)
    assert numbers[1.5] > numbers[1.0]


def queued(fleet, count, looks):
    """The largest number while `count` requests wait inside the engines."""
    most = 0
    for _ in range(looks):
        engines = tuple(
            dataclasses.replace(
                engine, waiting=count / len(fleet.ready()) if engine.ready else engine.waiting
            )
            for engine in fleet.observation(0.0, 10.0).engines
        )
        most = max(most, fleet.look(engines=engines))
    return most


def test_a_queue_that_will_be_worked_off_brings_no_crowd_until_it_lasts():
    fleet = Office(dataclasses.replace(POLICY, max_replicas=100), rate=lambda _: 20.0)
    number = fleet.live(900)
    assert queued(fleet, 200.0, 3) <= number + 2
    assert "QueueDrains" in [line.name for line in fleet.decision.clamps]
    assert queued(fleet, 200.0, 40) >= 40


def test_a_target_that_the_owner_wrote_is_honoured_at_once_and_in_full():
    policy = dataclasses.replace(POLICY, max_replicas=100, queue_target_given=True)
    fleet = Office(policy, rate=lambda _: 20.0)
    fleet.live(900)
    assert queued(fleet, 200.0, 1) == 50  # of 4 each
    assert "QueueDrains" not in [line.name for line in fleet.decision.clamps]


@pytest.mark.parametrize(
    "changes",
    [
        {"hardware": None},
        {"objectives": Objectives()},
        {"hardware": conservative(None, None), "revision": "new"},
    ],
)
def test_where_the_capacity_is_not_known_a_queue_is_honoured_at_once(changes):
    policy = dataclasses.replace(POLICY, max_replicas=100, **changes)
    fleet = Office(policy, rate=lambda _: 20.0)
    fleet.live(300)
    fleet.memory = dataclasses.replace(fleet.memory, known=Memory().known)
    assert queued(fleet, 200.0, 2) >= 40


def test_a_reading_is_as_old_as_the_oldest_report_in_it():
    fleet = Office(rate=lambda _: 20.0)
    fleet.live(600)
    seen = fleet.observation(0.0, 10.0)
    engines = tuple(
        dataclasses.replace(engine, report_age=age)
        for engine, age in zip(seen.engines, (3.0, 7.0), strict=True)
    )

    def ages(**changes):
        looked = dataclasses.replace(seen, **changes)
        decision, _ = decide(looked, fleet.policy, fleet.memory, fleet.clock + 1.0)
        return [reading.age for reading in decision.signals]

    assert ages() == [None, None, None]
    assert ages(engines=engines) == [7.0, 7.0, 7.0]
    demand = dataclasses.replace(seen.demand, age=9.0)
    assert ages(engines=engines, demand=demand) == [9.0, 7.0, 9.0]
    assert ages(demand=demand) == [9.0, None, 9.0]


def raw_of_work(fleet, held, tokens, inside=0.0):
    """What the arriving work asks for while so many wait, with so many prompt tokens at the gateways."""
    seen = fleet.observation(0.0, 10.0)
    demand = dataclasses.replace(seen.demand, held=held, waiting_prompt_tokens=tokens)
    each = inside / len(seen.engines)
    engines = tuple(dataclasses.replace(engine, waiting=each) for engine in seen.engines)
    seen = dataclasses.replace(seen, engines=engines, demand=demand)
    decision, _ = decide(seen, fleet.policy, fleet.memory, fleet.clock + 1.0)
    return next(reading.raw for reading in decision.signals if reading.name == "workRate")


def test_long_prompts_that_wait_ask_for_more_than_short_ones():
    fleet = Office(dataclasses.replace(POLICY, max_replicas=1000), rate=lambda _: 20.0)
    fleet.live(600)
    few, like_the_mean, many = (raw_of_work(fleet, 6000.0, 6000.0 * each) for each in (50, 1000, 8000))
    assert few < like_the_mean < many
    assert raw_of_work(fleet, 6000.0, Unknown("not told")) == like_the_mean
    # A picture's bytes are taken for no more than the engine can keep.
    assert raw_of_work(fleet, 1.0, 1e9) <= raw_of_work(fleet, 1.0, 1e6) < few


def test_of_requests_that_wait_inside_engines_the_length_is_the_mean():
    fleet = Office(dataclasses.replace(POLICY, max_replicas=1000), rate=lambda _: 20.0)
    fleet.live(600)
    # So many wait inside that no engine has a free place that a waiting one would take at once.
    of_both = raw_of_work(fleet, 3000.0, 3000.0 * 1000, inside=6000.0)
    assert of_both == raw_of_work(fleet, 0.0, 0.0, inside=9000.0)
    assert raw_of_work(fleet, 3000.0, 3000.0 * 8000, inside=6000.0) > of_both


@pytest.fixture(scope="module")
def busy():
    """An hour of a constant load that keeps several replicas busy, by the share that missed an objective."""
    fleets = {}
    for missed in (None, 0.0, 0.007, 0.02, 0.9):
        fleets[missed] = Office(rate=lambda seconds: 150.0, missed=missed)
        fleets[missed].live(HOUR)
    return fleets


def test_objectives_kept_better_than_promised_give_care_back(busy):
    asked = {missed: fleet.decision.basis.need for missed, fleet in busy.items()}
    assert asked[0.0].burst < asked[0.007].burst < asked[0.02].burst
    assert asked[0.0].work == pytest.approx(asked[0.02].work)
    told = {
        missed: sentence(asked[missed], fleet.memory.known.model, fleet.replicas)
        for missed, fleet in busy.items()
    }
    assert "kept better than promised" in told[0.0]
    assert "kept better than promised" not in told[0.02]


def test_more_misses_than_promised_ask_for_no_more_than_none_known(busy):
    """A prompt that no replica can prefill in time must not order replicas without end."""
    assert busy[0.9].decision.basis.need == busy[0.02].decision.basis.need == busy[None].decision.basis.need


def test_a_night_of_the_office_is_slept_through(first_day):
    fleet = Office(memory=Memory.load(first_day.memory.dump()), start=DAY)
    fleet.clock = 1000.0 + DAY
    assert first_day.replicas == 0
    for _ in range(6 * 360):
        assert fleet.look() == 0
    assert office(fleet.now) == 0
