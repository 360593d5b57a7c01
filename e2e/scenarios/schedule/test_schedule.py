"""Office hours within two minutes: the clock of the operator's schedules is shifted, all else is real."""

import time
from datetime import UTC, datetime, timedelta

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


class Clock:
    """The clock by which the operator of a release reads schedules: some moment of that Monday."""

    def __init__(self, own) -> None:
        self._own, self._offset = own, 0
        self._seconds = 0.0  # that the last change took, until an operator led again

    def start(self, hour: int, minute: int) -> None:
        """Install the release at that moment."""
        begun = time.monotonic()
        env = [{"name": SETTING, "value": self._offset_to(MONDAY.replace(hour=hour, minute=minute))}]
        self._own.install(operator={"extraEnv": env})
        self._own.leader()
        self._seconds = time.monotonic() - begun

    def shortly_before(self, hour: int, seconds: float, settle=lambda: None) -> None:
        """Start the operator again, so that it leads about `seconds` before the hour: what the last start
        took is added. Then `settle` waits for what has to be true before the hour. All of that early enough,
        or once more with twice the time.
        """
        moment = MONDAY.replace(hour=hour)
        while True:
            begun = time.monotonic()
            offset = self._offset_to(moment - timedelta(seconds=seconds + self._seconds))
            self._own.kubectl("set", "env", f"deployment/{install.OPERATOR}", f"{SETTING}={offset}")
            self._own.kubectl("rollout", "status", f"deployment/{install.OPERATOR}", "--timeout=240s")
            until("the old operator is gone", lambda: len(self._own.pods(install.OPERATOR)) == 1)
            self._own.leader()
            if self.until(hour) > seconds / 2:  # else the hour may have come, and what it has undone
                settle()
            self._seconds = time.monotonic() - begun
            if self.until(hour) > seconds / 3:
                return
            self._seconds *= 2

    def until(self, hour: int) -> float:
        """Seconds to that hour by the operator's clock."""
        return (MONDAY.replace(hour=hour) - datetime.now(UTC)).total_seconds() - self._offset

    def _offset_to(self, moment: datetime) -> str:
        self._offset = int((moment - datetime.now(UTC)).total_seconds())
        return str(self._offset)


@pytest.fixture
def clock(own):
    return Clock(own)


def standing(fleet):
    return fleet.status().get("schedule") or {}


def test_a_day_opens_ready_and_closes_without_cutting_a_stream(own, make, clock):
    clock.start(7, 30)
    fleet = make(
        "day",
        args=["--startup-seconds=2", "--step-ms=100,0,0,0"],
        scaling={"schedule": OFFICE | {"whenClosed": "Reject"}},  # nothing but the drain keeps the stream
        drainSeconds=60,
    )
    until("the fleet knows its hours", lambda: standing(fleet).get("opensTime"))
    assert standing(fleet)["active"]["name"] == "outside"
    assert fleet.replicas() == 0

    clock.shortly_before(8, 20)  # within the lead of a fleet whose cold start was never measured
    fleet.wait_replicas(1)
    fleet.wait("ScheduleApplied", reason="Open")
    wait = max(0, clock.until(8)) + 180
    until("the window itself", lambda: standing(fleet)["active"]["name"] == "office", seconds=wait)
    assert len(fleet.ready_pods()) == 1
    assert chat_now(own.gateway, fleet.model).kind == "answered"

    def serves():
        fleet.wait("ScheduleApplied", reason="Open")
        fleet.wait_replicas(1)

    clock.shortly_before(20, 15, serves)
    long = max(0, clock.until(20)) + 15  # a quarter of a minute past the close, at ten tokens a second
    stream = {"max_tokens": int(10 * long), "stream": True, "seconds": long + 180}
    running = Burst(own.gateway, fleet.model, 1, stream)
    until("the close", lambda: fleet.replicas() == 0, seconds=long + 180)
    assert not running.ended
    running.end(long + 180).must_be_whole(at_least=1)
    fleet.wait_asleep()


def test_closed_hours_wake_or_tell_the_opening(own, make, clock):
    clock.start(22, 0)
    waking = make("waking", scaling={"maxReplicas": 3, "idleSeconds": 5, "schedule": OFFICE})
    strict = make("strict", scaling={"schedule": OFFICE | {"whenClosed": "Reject"}})
    assert strict.wait("Ready", reason="Closed")
    refused = chat_now(own.gateway, strict.model)
    assert refused.kind == "refused", refused
    assert (refused.status, refused.error["code"]) == (503, "Closed")
    assert "08:00 UTC" in refused.error["message"]
    until_opening = datetime.fromisoformat(standing(strict)["opensTime"]) - datetime.now(UTC)
    assert 0 <= int(refused.retry_after) - until_opening.total_seconds() < 90
    assert strict.replicas() == 0

    held = Burst(own.gateway, waking.model, 20, {"max_tokens": 5})
    held.end().must_be_whole(at_least=20)
    assert waking.replicas() == 1
    waking.wait_asleep()
