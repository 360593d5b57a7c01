"""Which way a change of revision goes."""

import pytest
from torpor.control.rollout import rollout

from tests.unit.control.worlds import container, fleet, live_children, pod, world

NEW = "cccccccccc"
OLD = "aaaaaaaaaa"
AUTO = fleet()
SURGE = fleet(rollout={"strategy": "Surge"})
IN_PLACE = fleet(rollout={"strategy": "InPlace"})


def old(**more):
    return pod("old", ready=True, revision=OLD, **more)


def judged(raw, pods, replicas=1, **more):
    seen = world(raw, replicas=replicas, pods=pods, **more)
    return rollout(seen, seen.service, NEW)


@pytest.mark.parametrize(
    ("raw", "pods", "replicas", "running", "in_place"),
    [
        (AUTO, [], 0, False, False),
        (AUTO, [pod(revision=NEW, ready=True)], 1, False, False),
        (AUTO, [old()], 1, True, False),
        (AUTO, [old(), pod(revision=NEW)], 1, True, False),
        (AUTO, [old(), pod(revision=NEW, unschedulable=59)], 1, True, False),
        (AUTO, [old(), pod(revision=NEW, unschedulable=61)], 1, True, True),
        (SURGE, [old(), pod(revision=NEW, unschedulable=3600)], 1, True, False),
        (IN_PLACE, [old()], 1, True, True),
        (IN_PLACE, [pod(revision=NEW, ready=True)], 1, False, True),
        (AUTO, [old(terminating=True), pod(revision=NEW, ready=True)], 1, False, False),
    ],
)
def test_surge_first_and_in_place_where_there_is_no_room(raw, pods, replicas, running, in_place):
    change = judged(raw, pods, replicas)
    assert (change.running, change.in_place) == (running, in_place)


def test_the_turn_to_in_place_is_looked_at_in_time():
    assert judged(AUTO, [old(), pod(revision=NEW, unschedulable=20)]).look_in == pytest.approx(40)


def test_a_turn_once_made_lasts_until_the_rollout_ends():
    lived = live_children(AUTO, 2, in_place=True)
    assert judged(AUTO, [old(), pod(revision=NEW, ready=True)], 2, children=lived).in_place
    assert not judged(AUTO, [pod(revision=NEW, ready=True)], 2, children=lived).in_place


def test_a_revision_that_crashes_stalls_the_rollout():
    crashed = container({"terminated": {"exitCode": 66}})
    change = judged(AUTO, [old(), pod(revision=NEW, status=crashed)])
    assert change.stalled
    assert change.failure.reason == "ModelNotFound"


def test_a_revision_that_is_not_ready_in_time_stalls_the_rollout():
    lived = live_children(AUTO, 1)
    deployment = next(item for (resource, _), item in lived.items() if resource.kind == "Deployment")
    deployment["status"] = {"conditions": [{"type": "Progressing", "reason": "ProgressDeadlineExceeded"}]}
    assert judged(AUTO, [old(), pod(revision=NEW)], children=lived).stalled
