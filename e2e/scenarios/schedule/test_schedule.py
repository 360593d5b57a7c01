"""Office hours within minutes: the clock by which the operator reads schedules is shifted, all else real."""

from datetime import UTC, datetime

import pytest

from e2e.support import install
from e2e.support.chat import chat_now
from e2e.support.load import Burst
from e2e.support.waiting import until

MONDAY = datetime(2026, 11, 23, tzinfo=UTC)
OFFICE = {
    "timeZone": "UTC",
    "windows": [
        {
            "name": "office",
            "days": ["Mon"],
            "start": "08:00",
            "end": "20:00",
            "minReplicas": 1,
            "readyBy": "Start",
        }
    ],
    "outside": {"maxReplicas": 0},
}
SETTING = "TORPOR_CLOCK_OFFSET_SECONDS"


@pytest.fixture
def shift(world):
    """Makes it a moment of that Monday for the operator, and takes it back at the end."""

    def set_env(text: str) -> None:
        where = ("-n", install.NAMESPACE)
        world.cluster.kubectl("set", "env", f"deployment/{install.OPERATOR}", text, *where)
        world.cluster.kubectl("rollout", "status", f"deployment/{install.OPERATOR}", "--timeout=90s", *where)
        until("the old operators are gone", lambda: len(install.pods(world.cluster, install.OPERATOR)) == 2)
        install.leader(world.cluster)

    def shifted(hour: int, minute: int, second: int = 0) -> None:
        wanted = MONDAY.replace(hour=hour, minute=minute, second=second).timestamp()
        set_env(f"{SETTING}={int(wanted - datetime.now(UTC).timestamp())}")

    yield shifted
    set_env(f"{SETTING}-")


def standing(fleet):
    return fleet.status().get("schedule") or {}


@pytest.mark.timeout(480)
def test_a_day_opens_ready_and_closes_without_cutting_a_stream(world, make, shift):
    shift(7, 30)
    fleet = make(
        "day",
        args=["--startup-seconds=2", "--step-ms=100,0,0,0"],
        scaling={"schedule": OFFICE | {"whenClosed": "Reject"}},  # nothing but the drain keeps the stream
        drainSeconds=60,
    )
    until("the fleet knows its hours", lambda: standing(fleet).get("opensTime"))
    assert standing(fleet)["active"]["name"] == "outside"
    assert fleet.replicas() == 0

    shift(7, 59)  # within the lead of a fleet whose cold start was never measured
    fleet.wait_replicas(1)
    fleet.wait("ScheduleApplied", reason="Open", seconds=90)
    until("the window itself", lambda: standing(fleet)["active"]["name"] == "office", seconds=90)
    assert len(fleet.ready_pods()) == 1
    assert chat_now(world.gateway, fleet.model).kind == "answered"

    shift(19, 59, 15)
    tokens = {"max_tokens": 450, "stream": True, "seconds": 110}  # three quarters of a minute
    running = Burst(world.gateway, fleet.model, 1, tokens)
    until("the close", lambda: fleet.replicas() == 0, seconds=90)
    assert not running.ended
    running.end().must_be_whole(at_least=1)
    fleet.wait_asleep(seconds=90)


@pytest.mark.timeout(300)
def test_closed_hours_wake_or_tell_the_opening(world, make, shift):
    shift(22, 0)
    waking = make("waking", scaling={"maxReplicas": 3, "idleSeconds": 5, "schedule": OFFICE})
    strict = make("strict", scaling={"schedule": OFFICE | {"whenClosed": "Reject"}})
    assert strict.wait("Ready", reason="Closed")
    refused = chat_now(world.gateway, strict.model)
    assert refused.kind == "refused", refused
    assert (refused.status, refused.error["code"]) == (503, "Closed")
    assert "08:00 UTC" in refused.error["message"]
    until_opening = datetime.fromisoformat(standing(strict)["opensTime"]) - datetime.now(UTC)
    assert 0 <= int(refused.retry_after) - until_opening.total_seconds() < 90
    assert strict.replicas() == 0

    held = Burst(world.gateway, waking.model, 20, {"max_tokens": 5})
    held.end().must_be_whole(at_least=20)
    assert waking.replicas() == 1
    waking.wait_asleep()
