"""Fleets that open and close by the clock, as an operator in a cluster does it: with its clock shifted to a
moment before the transition, so that a day takes seconds.
"""

from datetime import UTC, datetime

import pytest
from torpor.api import constants as c

from tests.integration.kube import until
from tests.integration.operator.test_fleets import READY, stats

MONDAY = datetime(2026, 11, 23, tzinfo=UTC)
OFFICE = {
    "timeZone": "UTC",
    "windows": [{"name": "office", "days": ["Mon"], "start": "08:00", "end": "20:00", "minReplicas": 1}],
    "outside": {"maxReplicas": 0},
}
STRICT = OFFICE | {"whenClosed": "Reject"}


def at(clock, *, seconds_before):
    """The setting that makes it `clock` of that Monday in `seconds_before` seconds."""
    hours, minutes = map(int, clock.split(":"))
    wanted = MONDAY.replace(hour=hours, minute=minutes).timestamp() - seconds_before
    return {"TORPOR_CLOCK_OFFSET_SECONDS": str(int(wanted - datetime.now(UTC).timestamp()))}


def changed(cluster, begins):
    """Whether the last transition that an Event told begins so; one Event is updated by each."""
    told = [event["message"] for event in cluster.events() if event["reason"] == c.SCHEDULE_CHANGED]
    return len(told) == 1 and told[0].startswith(begins)


@pytest.mark.timeout(600)
def test_a_day_opens_and_closes_once_whoever_leads(led):
    # The clock of a process runs from its start: how long before a transition that must be, the machine says.
    first = led("operator-0", **at("07:00", seconds_before=0))
    first.operator.stop()
    cluster = led("operator-a", **at("08:00", seconds_before=15 + 4 * first.took))
    cluster.create(schedule=OFFICE)
    cluster.create("strict", schedule=STRICT)
    asleep = cluster.settled()["status"]["schedule"]
    assert asleep["active"] == {"name": "outside", "maxReplicas": 0}
    assert asleep["next"]["name"] == "office"
    assert asleep["opensTime"] == asleep["next"]["time"]
    cluster.wait_condition(c.READY, "True", c.CLOSED, "strict")
    assert cluster.replicas() == cluster.replicas("strict") == 0
    cluster.wait_replicas(1, seconds=60 + 4 * first.took)
    cluster.wait_replicas(1, "strict")
    cluster.wait_condition(c.SCHEDULE_APPLIED, "True", c.OPEN)
    until(lambda: changed(cluster, "outside ends; office: 1 to 4 replicas"), "the opening is told")
    assert datetime.fromisoformat(asleep["opensTime"]) <= datetime.now(UTC)
    cluster.operator.stop()

    # Another leader, minutes before the end: nothing changes for it, and then the hours end.
    cluster = led("operator-b", **at("20:00", seconds_before=5 + 3 * cluster.took))
    cluster.wait_replicas(0, seconds=60 + 3 * cluster.took)
    cluster.wait_replicas(0, "strict")
    cluster.wait_condition(c.SCHEDULE_APPLIED, "True", c.CLOSED)
    until(lambda: changed(cluster, "office ends; outside: closed"), "the close is told")
    decided = cluster.fleet()["status"]["decision"]
    assert decided["desiredReplicas"] == 0

    # Closed: one kind of fleet wakes for a request, the other does not.
    cluster.gateway.hold(cluster.fleet(), 30)
    cluster.gateway.hold(cluster.fleet("strict"), 30)
    cluster.wait_replicas(1)
    cluster.wait_condition(c.READY, "True", c.CLOSED, "strict")
    assert cluster.replicas("strict") == 0
    assert changed(cluster, "office ends; outside: closed")


def test_a_leader_that_was_away_goes_to_the_state_of_now(led):
    cluster = led("operator-a", **at("12:00", seconds_before=0))
    cluster.create(schedule=OFFICE)
    cluster.wait_replicas(1)
    cluster.pod("pod-0", READY)
    cluster.wait_condition(c.READY, "True", c.SERVING)
    cluster.gateway.say(cluster.fleet(), inFlight=0, pods=stats())
    cluster.operator.stop()
    later = led("operator-b", **at("23:00", seconds_before=0))
    later.wait_replicas(0)
    closed = "closed by the schedule (outside)"  # the status comes after the number
    until(lambda: closed in later.fleet()["status"]["decision"]["message"], "the status says why")


def test_a_zone_that_does_not_exist_keeps_the_last_good_schedule(cluster):
    days = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"]
    whole_day = {"name": "all", "days": days, "start": "00:00", "end": "24:00", "minReplicas": 2}
    cluster.create(schedule={"timeZone": "Asia/Kolkata", "windows": [whole_day]})
    cluster.wait_replicas(2)
    schedule = {"timeZone": "Asia/Calcuta"}
    cluster.patch(cluster.fleet_path(), {"spec": {"scaling": {"schedule": schedule}}})
    cluster.wait_condition(c.SPEC_VALID, "False", c.SPEC_INVALID)
    told = next(i for i in cluster.fleet()["status"]["conditions"] if i["type"] == c.SPEC_VALID)["message"]
    assert 'spec.scaling.schedule.timeZone: "Asia/Calcuta" must be an IANA time zone' in told
    assert cluster.replicas() == 2
