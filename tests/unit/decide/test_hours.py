"""Stories of fleets with a schedule: what opens, closes, wakes at night and is refused."""

import pytest
from torpor.decide import Demand, Observation, Standing, Unknown
from torpor.decide.schedule import Limits, State

from tests.unit.decide.test_stories import QUIET, Story, demand, engine, fleet, policy

BLIND = Demand()


def hours(floor=None, ceiling=None, name="office", **more):
    values = {"until": None, "after": None, "opens": None, "opens_text": "Mon 08:00 UTC"} | more
    return Standing(State((name,), Limits(floor, ceiling)), **values)


NIGHT = hours(ceiling=0, name="outside")
REFUSING = hours(ceiling=0, name="outside", refuse_when_closed=True)
OFFICE = hours(floor=2, until_text="Mon 20:00 UTC")


def scheduled(standing, **changes):
    return policy(schedule=standing, schedule_ends_in=3600.0, **changes)


def names(story):
    return [line.name for line in story.decision.clamps]


@pytest.mark.parametrize("seen", [QUIET, BLIND])
def test_a_window_opens_with_or_without_signals(seen):
    story = Story(scheduled(OFFICE))
    assert story.look(seen=seen) == 2
    assert story.decision.reason == "ScheduleFloor"
    assert "(office) asks for at least 2 until Mon 20:00 UTC" in story.decision.message


@pytest.mark.parametrize("seen", [QUIET, BLIND])
def test_a_closing_takes_all_with_or_without_signals(seen):
    story = Story(scheduled(OFFICE), replicas=2)
    story.looks(700, fleet(2), seen)
    story.policy = scheduled(NIGHT)
    assert story.look(fleet(2), seen) == 0
    assert story.decision.reason == "ScheduleCeiling"
    assert "closed by the schedule (outside) until Mon 08:00 UTC" in story.decision.message


def test_a_transition_changes_the_number_once_under_steady_traffic():
    """Traffic at the border: some replicas stay for it, and nothing flutters."""
    story = Story(scheduled(OFFICE), replicas=3)
    busy = fleet(3, running=2.0, kv=0.5)
    story.looks(700, busy, demand(in_flight=6.0))
    story.policy = scheduled(NIGHT)
    numbers = [
        story.look(fleet(story.replicas, running=2.0, kv=0.5), demand(in_flight=2.0)) for _ in range(90)
    ]
    assert set(numbers) == {1}


def test_a_request_in_closed_hours_wakes_up_to_the_ceiling_of_those_hours_and_goes_after_idle_seconds():
    story = Story(scheduled(NIGHT))
    story.look()
    assert story.look(seen=demand(held=50.0)) == 1
    assert "at most 1 while there are requests" in story.decision.message
    story.policy = scheduled(hours(ceiling=0, closed_ceiling=3))
    assert story.look([engine(ready=False, age=1.0)], demand(held=50.0)) == 3
    story.looks(60, fleet(3, running=1.0), demand(in_flight=3.0))
    assert story.looks(590, fleet(3)) == 1  # the load needs no more
    assert story.looks(20, fleet(3)) == 0


def test_a_request_before_the_close_does_not_keep_the_fleet():
    story = Story(scheduled(OFFICE), replicas=2)
    story.looks(700, fleet(2), demand(arrivals=5))
    story.policy = scheduled(NIGHT)
    assert story.look(fleet(2), demand(arrivals=6)) == 0


def test_a_refused_request_in_closed_hours_wakes_too():
    story = Story(scheduled(NIGHT))
    story.look(seen=demand(arrivals=5))
    assert story.look(seen=demand(arrivals=6), after=300.0) == 1


def test_a_wake_in_closed_hours_goes_on_when_the_client_leaves():
    story = Story(scheduled(NIGHT, idle_seconds=20.0))
    assert story.look(seen=demand(held=1.0)) == 1
    starting = (engine(ready=False, age=10.0),)
    assert story.looks(100, starting) == 1
    assert story.looks(30, fleet(1)) == 0


def test_with_reject_nothing_wakes_the_fleet_and_nothing_keeps_it():
    story = Story(scheduled(REFUSING))
    assert story.look(seen=demand(held=5.0)) == 0
    assert "whenClosed is Reject" in story.decision.message
    story = Story(scheduled(REFUSING), replicas=2)
    assert story.look(fleet(2, running=3.0), demand(in_flight=6.0)) == 0


def test_a_new_leader_goes_to_the_state_of_now_at_once():
    """The operator was away during the transition: what is known and silent closes, what is not waits."""
    assert Story(scheduled(OFFICE)).look() == 2
    assert Story(scheduled(NIGHT), replicas=3).look(fleet(3)) == 0
    blind = Story(scheduled(NIGHT), replicas=3)
    assert blind.look(fleet(3), BLIND) == 1
    assert blind.looks(590, fleet(1), BLIND) == 1
    assert blind.looks(20, fleet(1), BLIND) == 0


def test_where_a_floor_exceeds_a_ceiling_the_ceiling_wins():
    assert Story(scheduled(hours(floor=5, ceiling=2))).look() == 2
    assert Story(scheduled(NIGHT, min_replicas=1), replicas=1).look(fleet(1)) == 0
    story = Story(scheduled(hours(floor=20)))
    assert story.look() == 8
    assert names(story) == ["ScheduleFloor", "MaxReplicas"]


def test_an_idle_fleet_stays_while_the_hours_ask_for_it():
    story = Story(scheduled(OFFICE), replicas=2)
    assert story.looks(2000, fleet(2)) == 2
    assert story.decision.reason == "ScheduleFloor"
    assert "IdleToZero" not in names(story)


def test_the_other_writer_of_the_number_decides_in_closed_hours_too():
    assert Story(scheduled(NIGHT, external=4)).look() == 4


def test_an_unknown_schedule_lowers_nothing():
    story = Story(policy(schedule=Unknown("no time-zone data")), replicas=2)
    assert story.looks(2000, fleet(2)) == 2
    assert story.decision.reason == "ScheduleUnknown"


def test_the_next_transition_is_looked_at_in_time():
    story = Story(scheduled(NIGHT))
    story.look()
    assert story.decision.look_at == story.now + 3600


def test_the_end_of_the_idle_period_in_closed_hours_is_looked_at_in_time():
    story = Story(scheduled(NIGHT))
    story.look(seen=demand(held=1.0))
    woken = story.now
    story.look(fleet(1), BLIND)
    assert story.decision.look_at == woken + 600


def test_observations_need_no_schedule():
    assert Observation(0).replicas == 0
    assert policy().floor == 0
    assert policy().ceiling == 8
    assert not policy().closed
