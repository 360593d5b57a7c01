"""Conditions as tables: a world on the left, what is said about it on the right."""

from dataclasses import replace

import pytest
from torpor.api import constants as c
from torpor.api.names import FleetKey
from torpor.api.routes import Conflict
from torpor.control.cold_start import ColdStarts
from torpor.control.findings import Facts, findings
from torpor.control.observe import observe, policy, stopgap_policy
from torpor.control.rollout import Rollout
from torpor.decide import Memory, Standing, decide
from torpor.decide.schedule import Limits, State

from tests.unit.control.worlds import KEY, container, demand, fleet, pod, report, world


def said(world, change=None, external=None, **more):
    rules = policy(world, world.service, ColdStarts()) if world.service else stopgap_policy(world)
    decision, _ = decide(observe(world, rollout=False), rules, Memory(), world.clock)
    facts = Facts(world, decision, change or Rollout(), external, rules=rules, **more)
    return {finding.type: finding for finding in findings(facts)}


CRASHED = container({"terminated": {"exitCode": 70, "message": "engine exited with 1"}})
CONFLICT = Conflict("team/llm", FleetKey("team", "older"))
BARE_CONFLICT = Conflict("llm", FleetKey("other", "older"))


@pytest.mark.parametrize(
    ("seen", "more", "status", "reason"),
    [
        (world(), {}, "True", c.ASLEEP),
        (world(seen=demand(held=1)), {}, "True", c.WAKING),
        (world(replicas=1, pods=[pod()]), {}, "True", c.WAKING),
        (world(replicas=1, pods=[pod(ready=True)]), {}, "True", c.SERVING),
        (world(replicas=1, pods=[pod()], seen=demand(pods={"llm-0": report()})), {}, "True", c.SERVING),
        (world(replicas=1, pods=[pod(ready=True)], seen=demand(pods={"llm-0": report("Draining")})),
         {}, "True", c.WAKING),
        (world(replicas=1, pods=[pod(status=CRASHED)]), {}, "False", c.WAKE_FAILED),
        (world(replicas=2, pods=[pod(ready=True), pod("llm-1", status=CRASHED)]), {}, "True", c.SERVING),
        (world(replicas=1, pods=[pod(unschedulable=5)]), {}, "True", c.WAKING),
        (world(replicas=1, pods=[pod(unschedulable=25)]), {}, "False", c.WAKE_FAILED),
        (replace(world(replicas=1, pods=[pod(unschedulable=99)]), roomless_for=5), {}, "True", c.WAKING),
        (world(service=None, problems=["spec: bad"]), {}, "False", c.SPEC_INVALID),
        (world(replicas=1, pods=[pod(ready=True)], problems=["spec: bad"]), {}, "True", c.SERVING),
        (world(fleet(scaling={"replicas": 0})), {"external": 0}, "False", c.SCALED_TO_ZERO_EXTERNALLY),
        (world(conflicts=[CONFLICT]), {}, "False", c.ROUTE_CONFLICT),
        (world(conflicts=[BARE_CONFLICT]), {}, "True", c.ASLEEP),
        (world(), {"taken": ("Service llm",)}, "False", c.NAME_TAKEN),
        (world(), {"refused": ("Deployment llm-engines is refused: quota",)}, "False", c.CONFIG_ERROR),
    ],
)  # fmt: skip
def test_ready_means_that_a_request_sent_now_is_answered(seen, more, status, reason):
    found = said(seen, **more)[c.READY]
    assert (found.status, found.reason) == (status, reason)


@pytest.mark.parametrize(
    ("seen", "change", "type_", "status", "reason"),
    [
        (world(), None, c.AWAKE, "False", c.NO_REPLICAS),
        (world(replicas=1, pods=[pod()]), None, c.AWAKE, "False", c.STARTING),
        (world(pods=[pod(terminating=True)]), None, c.AWAKE, "False", c.STOPPING),
        (world(replicas=1, pods=[pod(ready=True)]), None, c.AWAKE, "True", c.REPLICAS_READY),
        (world(), None, c.PROGRESSING, "False", c.STABLE),
        (world(replicas=1, pods=[pod()]), None, c.PROGRESSING, "True", c.SCALING_OUT),
        (world(pods=[pod(terminating=True)]), None, c.PROGRESSING, "True", c.SCALING_IN),
        (world(replicas=1, pods=[pod(ready=True)]), Rollout(True), c.PROGRESSING, "True", c.SURGE_ROLLOUT),
        (world(replicas=1, pods=[pod(ready=True)]), Rollout(True, True),
         c.PROGRESSING, "True", c.IN_PLACE_ROLLOUT),
        (world(replicas=1, pods=[pod(ready=True)]), Rollout(True, failure=pod(status=CRASHED).failure),
         c.PROGRESSING, "False", c.ROLLOUT_FAILED),
        (world(), None, c.PODS_SCHEDULED, "True", c.NO_PODS),
        (world(replicas=1, pods=[pod(unschedulable=1)]), None, c.PODS_SCHEDULED, "False", c.UNSCHEDULABLE),
        (world(replicas=1, pods=[pod()]), None, c.PODS_SCHEDULED, "True", c.SCHEDULED),
        (world(), None, c.SIGNALS_AVAILABLE, "True", c.AVAILABLE),
        (world(seen=demand("no gateway reports", 0)), None, c.SIGNALS_AVAILABLE, "False", c.UNKNOWN),
        (world(seen=demand("gateway b is silent")), None, c.SIGNALS_AVAILABLE, "False", c.PARTLY_UNKNOWN),
        (world(replicas=1, pods=[pod()]), None, c.SIGNALS_AVAILABLE, "True", c.AVAILABLE),
        (world(replicas=1, pods=[pod(ready=True)]), None, c.SIGNALS_AVAILABLE, "False", c.PARTLY_UNKNOWN),
        (world(problems=["x"]), None, c.SPEC_VALID, "False", c.SPEC_INVALID),
        (world(), None, c.SPEC_VALID, "True", c.VALID),
        (world(conflicts=[BARE_CONFLICT]), None, c.ROUTE_ACCEPTED, "False", c.ROUTE_CONFLICT),
        (world(bare=False), None, c.ROUTE_ACCEPTED, "True", c.QUALIFIED_NAME_ONLY),
        (world(), None, c.ROUTE_ACCEPTED, "True", c.ACCEPTED),
        (world(), None, c.EXTERNALLY_SCALED, "False", c.DECIDED_BY_TORPOR),
    ],
)  # fmt: skip
def test_every_other_condition_says_one_thing(seen, change, type_, status, reason):
    found = said(seen, change)[type_]
    assert (found.status, found.reason) == (status, reason)


def kept(name, **scaling):
    return fleet(scaling={"mode": name} | scaling)


HOURS = Standing(State(("night",), Limits(ceiling=0)), None, None, None, refuse_when_closed=True)


@pytest.mark.parametrize("name", [c.RECOMMEND, c.PAUSED])
def test_without_replicas_a_mode_that_keeps_them_so_is_not_ready(name):
    found = said(world(kept(name)))
    assert (found[c.READY].status, found[c.READY].reason) == ("False", name)
    assert f"spec.scaling.mode is {name}: requests are refused; set it to Auto" in found[c.READY].message
    assert (found[c.SCALING_ACTIVE].status, found[c.SCALING_ACTIVE].reason) == ("False", name)
    assert found[c.PROGRESSING].message == f"0 replicas kept by spec.scaling.mode {name}"
    closed = said(world(kept(name), hours=HOURS))
    assert closed[c.READY].reason == name, "it stays asleep after the opening, too"
    assert (closed[c.SCHEDULE_APPLIED].status, closed[c.SCHEDULE_APPLIED].reason) == ("False", name)


@pytest.mark.parametrize("name", [c.RECOMMEND, c.PAUSED])
def test_a_mode_keeps_what_serves_and_what_starts(name):
    serving = said(world(kept(name), replicas=1, pods=[pod(ready=True)]))
    assert (serving[c.READY].status, serving[c.READY].reason) == ("True", c.SERVING)
    starting = said(world(kept(name), replicas=1, pods=[pod()]))
    assert (starting[c.READY].status, starting[c.READY].reason) == ("True", c.WAKING)
    new = said(world(kept(name, minReplicas=1), children={}))
    assert new[c.READY].reason == c.WAKING


@pytest.mark.parametrize("name", [c.AUTO, c.RECOMMEND, c.PAUSED])
def test_an_external_owner_is_told_in_every_mode(name):
    found = said(world(kept(name, replicas=0)), external=0)
    assert found[c.READY].reason == c.SCALED_TO_ZERO_EXTERNALLY
    assert (found[c.SCALING_ACTIVE].status, found[c.SCALING_ACTIVE].reason) == ("False", c.REPLICAS_SET)


def test_a_paused_fleet_reads_no_signal():
    told = said(world(kept(c.PAUSED)))[c.SIGNALS_AVAILABLE]
    assert (told.status, told.reason) == ("Unknown", c.PAUSED)
    assert said(world())[c.SCALING_ACTIVE].status == "True"


def test_a_fleet_that_was_paused_before_its_spec_broke_stays_paused():
    broken = replace(world(), fleet=kept(c.PAUSED, maxReplicas=-1), service=None)
    assert stopgap_policy(broken).mode == c.PAUSED
    assert stopgap_policy(world(service=None)).mode == c.AUTO


def test_a_refused_pod_is_a_failed_wake():
    seen = world(replicas=1)
    deployment = seen.deployment
    deployment["status"] = {
        "conditions": [{"type": "ReplicaFailure", "status": "True", "message": "exceeded quota: gpus"}]
    }
    found = said(seen)
    assert found[c.READY].reason == c.WAKE_FAILED
    assert "exceeded quota: gpus" in found[c.READY].message
    assert found[c.PODS_SCHEDULED].reason == c.PODS_REFUSED


def test_a_failed_wake_names_the_reason_the_cause_and_the_next_step():
    told = said(world(replicas=1, pods=[pod(status=CRASHED)]))[c.READY].message
    assert told.startswith(c.ENGINE_CRASHED)
    assert "engine exited with 1" in told
    assert "spec.engine.args" in told
    assert KEY.name == "llm"
