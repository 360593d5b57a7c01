"""A wake that cannot succeed: the object names the reason within 30 s of the moment at which Kubernetes knows
of the failure, and the held request gets it by its deadline.

Until then the time is the node's: five containers that start beside a loading model take what they take.
"""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from e2e.support.chat import Outcome, chat_now
from e2e.support.fleets import fails

HOLD = 60  # seconds in which five pods come to be on a busy node, fail, and are named
SECONDS_TO_NAME_THE_REASON = 30
# What is broken, and the reason that has to be named.
BROKEN = {
    "no-image": (
        "ImagePullFailed",
        {"engine": {"image": "localhost:9/torpor/absent:1"}},
    ),
    "crashes": (
        "EngineCrashed",
        {"args": ["--fault=exit-at-start=3,message=the accelerator is on fire"]},
    ),
    "bad-flag": (
        "InvalidEngineArgs",
        {"args": ["--no-such-flag"]},
    ),
    "no-model": ("ModelNotFound", {"model": {"uri": "image:///models/absent"}}),
    "no-node": (
        "Unschedulable",
        {"engine": {"resources": {"limits": {"example.com/absent": 1}}}},
    ),
}


def head_start(world):
    """Wake all of them at once; returns per name (reasons with their time, outcome)."""
    with world.namespace("failing_wake") as ns, ThreadPoolExecutor(len(BROKEN)) as pool:
        return dict(zip(BROKEN, pool.map(lambda name: fail(world, ns, name), BROKEN), strict=True))


def fail(world, ns: str, name: str) -> tuple[float | None, dict, Outcome]:
    """Send one request to a sleeping broken fleet and watch its conditions until the request ends.

    Returns the seconds from the pod's failure to the condition that names it, the conditions, the outcome.
    """
    reason, spec = BROKEN[name]
    cold = {"coldStart": {"holdSeconds": HOLD, "unaryHoldSeconds": HOLD}}
    fleet = world.make(ns, name, gpus=0, traffic=cold, scaling={"idleSeconds": 300}, **spec)
    evident_at = named_at = None
    last: dict[str, str] = {}
    with ThreadPoolExecutor(1) as pool:
        request = pool.submit(chat_now, world.gateway, fleet.model, stream=False, seconds=HOLD + 30)
        while not request.done():
            told = {
                c["type"]: f"{c['status']} {c['reason']}: {c['message']}"
                for c in fleet.status()["conditions"]
            }
            if evident_at is None and any(fails(pod) for pod in fleet.pods()):
                evident_at = time.monotonic()
            if any(reason in text for text in told.values()):
                named_at = named_at or time.monotonic()
                last = told
            time.sleep(0.5)
        named_after = None if named_at is None else named_at - (evident_at or named_at)
        return named_after, last or told, request.result()


@pytest.mark.parametrize("name", BROKEN)
def test_the_reason_is_named_and_the_request_is_answered_with_it(early, name):
    reason = BROKEN[name][0]
    named_after, conditions, outcome = early[name]
    assert named_after is not None, f"{reason} was never named: {conditions}"
    assert named_after <= SECONDS_TO_NAME_THE_REASON, (named_after, conditions)
    assert conditions["Ready"].startswith("False"), conditions
    assert outcome.kind == "refused", outcome
    assert outcome.status == 503
    assert reason in str(outcome.error["message"]), outcome.error
    assert outcome.done_at - outcome.begun_at <= HOLD + 5
