"""The schedule from spec to status: asked at every look, worked out once per transition, told once."""

from datetime import UTC, datetime, timedelta

import pytest
from torpor.api import constants as c
from torpor.api import validation, zones
from torpor.control import hours as hours_module
from torpor.control import news
from torpor.control.cold_start import ColdStarts
from torpor.control.findings import Facts, findings
from torpor.control.hours import LONGEST_LEAD, UNMEASURED_LEAD, Hours, lead_of
from torpor.control.memo import Memo
from torpor.control.observe import observe, policy
from torpor.control.rollout import Rollout
from torpor.control.status import status_of, worth_writing
from torpor.decide import Memory, Unknown, decide

from tests.unit.control.worlds import demand, fleet, pod, service, world

WINDOW = {"name": "office", "days": ["Mon", "Tue", "Wed", "Thu", "Fri"], "start": "08:00", "end": "20:00"}
NIGHT = datetime(2026, 11, 20, 21, 0, tzinfo=UTC)  # Friday, 22:00 in Berlin
DAY = datetime(2026, 11, 20, 11, 0, tzinfo=UTC)


def raw(scaling=None, window=None, **schedule):
    one = WINDOW | {"minReplicas": 1, "readyBy": "Start"} | (window or {})
    spec = {"timeZone": "Europe/Berlin", "windows": [one], "outside": {"maxReplicas": 0}} | schedule
    return fleet(scaling={"schedule": spec} | (scaling or {}))


def seen_at(now, spec, p95=None, **more):
    return world(spec, now=now, hours=Hours().at(service(spec), now, p95), **more)


def judge(seen, before=None, external=None):
    """(conditions by type, status, decision) of one look."""
    rules = policy(seen, seen.service, ColdStarts())
    decision, _ = decide(observe(seen, rollout=False), rules, Memory(), seen.clock)
    facts = Facts(seen, decision, Rollout(), external)
    found = findings(facts)
    status = status_of(facts, found, ColdStarts(), cluster_domain="cluster.local")
    return {finding.type: finding for finding in found}, status, decision


# --- the answer and how long it is kept -----------------------------------------------------------------


class Counted:
    """Counts how often an answer is worked out."""

    def __init__(self, monkeypatch):
        self.times, self._real = 0, hours_module.standing
        monkeypatch.setattr(hours_module, "standing", self)

    def __call__(self, *args):
        self.times += 1
        return self._real(*args)


def test_an_answer_is_worked_out_once_per_transition(monkeypatch):
    counted = Counted(monkeypatch)
    followed, asked = service(raw()), Hours()
    for minute in range(600):
        asked.at(followed, DAY + timedelta(minutes=minute), 60.0)
    assert counted.times == 2  # the window until 20:00, and the night


def test_a_clock_that_goes_backwards_and_another_spec_ask_again(monkeypatch):
    counted = Counted(monkeypatch)
    followed, asked = service(raw()), Hours()
    assert not asked.at(followed, DAY, 60.0).state.closed
    assert asked.at(followed, DAY - timedelta(hours=12), 60.0).state.closed
    assert asked.at(service(raw(window={"start": "11:00"})), DAY - timedelta(hours=2), 60.0).state.closed
    assert counted.times == 3


def test_clocks_at_the_ends_of_time_are_answered():
    for year in (1970, 2038, 2120):
        assert Hours().at(service(raw()), datetime(year, 6, 1, 3, 0, tzinfo=UTC), None).until is not None


def test_a_pre_warm_that_began_is_not_taken_back_by_the_start_that_it_measured():
    followed, asked = service(raw()), Hours()
    begun = datetime(2026, 11, 20, 6, 51, tzinfo=UTC)
    assert asked.at(followed, begun, None).state.warming == ("office",)
    assert asked.at(followed, begun + timedelta(minutes=1), 30.0).state.warming == ("office",)
    assert not Hours().at(followed, begun, 30.0).state.warming


def test_a_new_leader_takes_no_pre_warm_back_either():
    begun = datetime(2026, 11, 20, 6, 51, tzinfo=UTC)
    status = judge(seen_at(begun, raw()))[1]
    assert status["schedule"]["active"]["readyByTime"] == "2026-11-20T07:00:00Z"
    memo, followed = Memo.of(raw() | {"status": status}), service(raw())
    later = begun + timedelta(minutes=2)
    assert memo.hours.at(followed, later, 30.0).state.warming == ("office",)
    assert memo.hours.at(followed, later + timedelta(minutes=1), 30.0).state.warming == ("office",)
    past = Memo.of(raw() | {"status": status}).hours.at(followed, begun + timedelta(hours=20), 30.0)
    assert past.state.closed
    assert past.until == datetime(2026, 11, 23, 6, 59, 30, tzinfo=UTC)


def test_a_longer_cold_start_brings_the_pre_warm_forward():
    followed, asked = service(raw()), Hours()
    night = datetime(2026, 11, 20, 3, 0, tzinfo=UTC)
    assert asked.at(followed, night, 30.0).until == datetime(2026, 11, 20, 6, 59, 30, tzinfo=UTC)
    assert asked.at(followed, night, 300.0).until == datetime(2026, 11, 20, 6, 55, tzinfo=UTC)


@pytest.mark.parametrize(
    ("p95", "budget", "lead"),
    [
        (None, 1800, UNMEASURED_LEAD),
        (42.4, 1800, 42),
        (9000.0, 1800, 1800),
        (None, 60, 60),
        (1e9, 86_400, LONGEST_LEAD),
    ],
)
def test_the_lead_is_the_measured_cold_start_within_bounds(p95, budget, lead):
    spec = fleet(engine={"type": "Simulated", "startupSeconds": budget})
    assert lead_of(service(spec), p95) == timedelta(seconds=lead)


def test_a_shifted_clock_shifts_schedules_and_tells_true_times():
    shifted = Hours(timedelta(hours=10)).at(service(raw()), DAY, 60.0)
    assert shifted.state.closed
    assert shifted.opens == datetime(2026, 11, 23, 7, 0, tzinfo=UTC) - timedelta(hours=10)
    assert shifted.until == shifted.opens - timedelta(seconds=60)
    assert shifted.opens_text == "Mon 2026-11-23 08:00 Europe/Berlin"


# --- zones and their data ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "",
        "..",
        "../../etc/passwd",
        "/etc/localtime",
        "Europe",
        "Factory",
        "localtime",
        "posixrules",
        "UTC\0",
        "__init__.py",
        "A" * 5000,
        "Europe/Berlim",
    ],
)
def test_what_is_no_zone_is_refused_in_words(name):
    problems = validation.check(raw(timeZone=name)).problems
    assert [problem.path for problem in problems] == ["spec.scaling.schedule.timeZone"]
    assert zones.load(name) is None


def test_missing_data_is_the_installations_fault(monkeypatch):
    monkeypatch.setattr(zones, "known", frozenset)
    spec = raw(timeZone="Mars/Olympus")
    assert validation.check(spec).valid  # nobody can tell
    seen = seen_at(DAY, spec, replicas=2, pods=[pod(ready=True)])
    assert isinstance(seen.hours, Unknown)
    found, status, decision = judge(seen)
    assert found[c.SCHEDULE_APPLIED].reason == c.TIME_ZONE_DATA_MISSING
    assert "this installation" in found[c.SCHEDULE_APPLIED].message
    assert found[c.SPEC_VALID].status == "True"
    assert "schedule" not in status
    assert decision.replicas == 2


# --- what is said -----------------------------------------------------------------------------------------


def test_without_a_schedule_there_is_nothing_to_apply():
    found, status, _ = judge(world())
    assert (found[c.SCHEDULE_APPLIED].status, found[c.SCHEDULE_APPLIED].reason) == ("True", c.NO_SCHEDULE)
    assert "schedule" not in status


def test_open_hours_are_told_with_their_bounds_and_end():
    found, status, decision = judge(seen_at(DAY, raw()))
    assert found[c.SCHEDULE_APPLIED].reason == c.OPEN
    assert (
        found[c.SCHEDULE_APPLIED].message
        == "office: 1 to 4 replicas until Fri 2026-11-20 20:00 Europe/Berlin"
    )
    assert status["schedule"] == {
        "active": {"name": "office", "minReplicas": 1},
        "next": {"time": "2026-11-20T19:00:00Z", "name": "outside", "maxReplicas": 0},
    }
    assert decision.replicas == 1


def test_closed_with_wake_is_asleep_and_says_how_far_a_request_wakes():
    found, status, _ = judge(seen_at(NIGHT, raw(), p95=60.0))
    assert (found[c.READY].status, found[c.READY].reason) == ("True", c.ASLEEP)
    assert (
        "until Mon 2026-11-23 08:00 Europe/Berlin; the next request wakes up to 1 replica"
        in found[c.READY].message
    )
    assert found[c.SCHEDULE_APPLIED].reason == c.CLOSED
    assert status["schedule"]["opensTime"] == "2026-11-23T07:00:00Z"
    assert status["schedule"]["next"]["time"] == "2026-11-23T06:59:00Z"
    assert status["schedule"]["next"]["name"] == "outside, ready by the start of office"


def test_closed_with_reject_is_ready_with_the_reason_closed():
    found, _, decision = judge(seen_at(NIGHT, raw(whenClosed="Reject"), seen=demand(held=3)))
    assert decision.replicas == 0
    assert (found[c.READY].status, found[c.READY].reason) == ("True", c.CLOSED)
    assert "requests are refused" in found[c.READY].message
    serving = seen_at(NIGHT, raw(whenClosed="Reject"), replicas=1, pods=[pod(ready=True)])
    assert judge(serving)[0][c.READY].reason == c.SERVING  # what still answers may


def test_a_floor_above_a_ceiling_has_a_condition_and_the_ceiling_wins():
    spec = raw(scaling={"maxReplicas": 2}, window={"minReplicas": 5})
    found, _, decision = judge(seen_at(DAY, spec))
    assert (found[c.SCHEDULE_APPLIED].status, found[c.SCHEDULE_APPLIED].reason) == (
        "False",
        c.FLOOR_ABOVE_CEILING,
    )
    assert "at least 5 replicas and at most 2" in found[c.SCHEDULE_APPLIED].message
    assert decision.replicas == 2


def test_another_writer_of_the_number_is_said_to_be_in_the_way():
    spec = raw(scaling={"replicas": 3})
    found, _, decision = judge(seen_at(NIGHT, spec), external=3)
    assert decision.replicas == 3
    assert found[c.SCHEDULE_APPLIED].reason == c.REPLICAS_SET
    closed = judge(seen_at(NIGHT, raw(scaling={"replicas": 0}, whenClosed="Reject")), external=0)[0]
    assert closed[c.READY].reason == c.SCALED_TO_ZERO_EXTERNALLY


def test_the_status_of_a_night_is_written_once():
    before = judge(seen_at(NIGHT, raw(), p95=60.0))[1]
    later = seen_at(NIGHT + timedelta(hours=3), raw() | {"status": before}, p95=60.0)
    assert judge(later)[1] == before
    opened = seen_at(DAY + timedelta(days=3), raw() | {"status": before}, p95=60.0)
    assert worth_writing(before, judge(opened)[1], 0.0, 0.1)


def test_a_transition_is_one_event():
    night = judge(seen_at(NIGHT, raw(), p95=60.0))
    day = judge(seen_at(DAY + timedelta(days=3), raw(), p95=60.0))
    (story,) = news.hours(night[1], day[1], day[0].values())
    assert story.reason == c.SCHEDULE_CHANGED
    assert story.message.startswith("outside ends; office: 1 to 4 replicas until Mon 2026-11-23 20:00")
    assert news.hours(day[1], day[1], day[0].values()) == []
    assert news.hours({}, day[1], day[0].values()) == []
