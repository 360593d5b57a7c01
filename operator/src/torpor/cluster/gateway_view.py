"""What one gateway process told, and what all of them together mean.

A `GatewayView` is fed with the lines of one demand stream. Gauges are taken as they are; counters only as
differences between two lines of the same boot, so neither a reconnect nor a restart counts a request twice. A
fleet that is not mentioned has not changed: silence about a fleet is good as long as the stream itself lives,
and worthless after that.

`merge` adds up what different processes hold (each request waits in one of them) and picks, per engine pod,
the freshest report (all of them see the same pod). A process that exists and does not report makes the sums
lower bounds.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from torpor.api.names import FleetKey

Line: TypeAlias = Mapping[str, Any]

SILENT_SECONDS = 12.0  # two heartbeats and a bit: an older stream is no evidence
GONE_SECONDS = 10.0  # a process that is not listed any more leaves the view after so much silence


@dataclass(slots=True)
class FleetReport:
    """The latest line of one gateway about one fleet. `at`: when it came, monotonic seconds."""

    line: Line
    at: float
    connection: int


@dataclass(slots=True)
class GatewayView:
    """One gateway process as its stream shows it. Times are monotonic seconds."""

    address: str
    listed: bool = True
    boot: str = ""
    name: str = ""
    state: str = ""
    synced: bool = False
    heard: float | None = None
    connection: int = 0
    heartbeats: int = 0  # on this connection
    fleets: dict[FleetKey, FleetReport] = field(default_factory=dict)
    counted: dict[FleetKey, int] = field(default_factory=dict)  # arrivals of this boot that are in the total

    @property
    def settled(self) -> bool:
        """Whether everything it knows was sent: that happens between the first heartbeat and the second."""
        return self.heartbeats >= 2

    def live(self, now: float) -> bool:
        """Whether the stream is young enough to be believed."""
        return self.heard is not None and now - self.heard < SILENT_SECONDS

    def gap(self, now: float) -> str:
        """Why this process cannot vouch for silence; "" if it can."""
        who = self.name or self.address
        if not self.live(now):
            return f"gateway {who} is silent"
        if not self.settled:
            return f"gateway {who} has just connected"
        return "" if self.synced else f"gateway {who} has stale watches"

    def connected(self) -> None:
        """A new connection begins; what is known stays until it was sent again."""
        self.connection += 1
        self.heartbeats = 0

    def take(self, line: Line, now: float, activity: dict[FleetKey, int]) -> FleetKey | None:
        """Take in one line; add new arrivals to `activity`. Returns the fleet that it is about, if any."""
        boot = str(line.get("bootId") or "")
        if boot != self.boot:
            self.boot, self.fleets, self.counted, self.heartbeats = boot, {}, {}, 0
        self.heard = now
        self.name = str(line.get("gateway") or self.name)
        kind = line.get("type")
        if kind == "fleet":
            return self._fleet(line, now, activity)
        if kind in ("hello", "heartbeat"):
            self.state = str(line.get("state") or self.state)
        if kind == "heartbeat":
            self.synced = line.get("synced") is True
            self.heartbeats += 1
            if self.heartbeats == 2:
                self.fleets = {k: r for k, r in self.fleets.items() if r.connection == self.connection}
        return None

    def _fleet(self, line: Line, now: float, activity: dict[FleetKey, int]) -> FleetKey | None:
        namespace, name = line.get("namespace"), line.get("name")
        if not (isinstance(namespace, str) and isinstance(name, str)):
            return None
        key = FleetKey(namespace, name)
        seen = count(line.get("arrivals")) + count(line.get("retries"))
        # A fleet that appears after everything known was sent is counted from nothing; one that appears on
        # connecting has a past that this process did not watch.
        base = self.counted.get(key, 0 if self.settled else seen)
        if seen > base:
            activity[key] = activity.get(key, 0) + seen - base
        self.counted[key] = seen
        self.fleets[key] = FleetReport(line, now, self.connection)
        return key


@dataclass(frozen=True, slots=True)
class PodReport:
    """The freshest launcher report on one pod, and its age in seconds."""

    age: float
    stats: Line


@dataclass(frozen=True, slots=True)
class FleetDemand:
    """What all gateways together hold for one fleet. Sums are over those that report.

    reporting: gateways that do. gap: why the sums are lower bounds, "" if they are complete. oldest: seconds
    that the oldest held request has waited.
    """

    reporting: int
    gap: str
    held: int = 0
    queued: int = 0
    in_flight: int = 0
    oldest: float = 0.0
    arrivals: int = 0
    pods: Mapping[str, PodReport] = field(default_factory=dict)


def merge(
    gateways: Iterable[GatewayView], key: FleetKey, uid: str, activity: Mapping[FleetKey, int], now: float
) -> FleetDemand:
    """Join what the gateways say about the fleet `key` with this `uid`. Reports about a namesake are left
    out.
    """
    gaps: list[str] = []
    reporting = held = queued = in_flight = 0
    oldest = 0.0
    pods: dict[str, PodReport] = {}
    for gateway in gateways:
        if gap := gateway.gap(now):
            gaps.append(gap)
        if not gateway.live(now):
            continue
        reporting += 1
        report = gateway.fleets.get(key)
        if report is None or report.line.get("uid") not in (uid, "", None):
            continue
        waiting = report.line.get("held")
        if isinstance(waiting, Mapping):
            held += count(waiting.get("count"))
            oldest = max(oldest, seconds(waiting.get("oldestSeconds")))
        queued += count(report.line.get("queued"))
        in_flight += count(report.line.get("inFlight"))
        for pod, fresh in _pods(report, gateway, now):
            if pod not in pods or fresh.age < pods[pod].age:
                pods[pod] = fresh
    if not reporting:
        gaps.append("no gateway reports")
    return FleetDemand(
        reporting, "; ".join(dict.fromkeys(gaps)), held, queued, in_flight, oldest, activity.get(key, 0), pods
    )


def _pods(report: FleetReport, gateway: GatewayView, now: float) -> Iterable[tuple[str, PodReport]]:
    """The reports on pods in one line. The line stands while the stream lives, so only the stream's silence
    ages it.
    """
    listed = report.line.get("pods")
    if not isinstance(listed, Mapping):
        return
    silence = now - (gateway.heard if gateway.heard is not None else report.at)
    for pod, entry in listed.items():
        if (
            isinstance(entry, Mapping)
            and entry.get("matched") is True
            and isinstance(entry.get("stats"), Mapping)
        ):
            yield str(pod), PodReport(seconds(entry.get("ageSeconds"), missing=1e9) + silence, entry["stats"])


def count(value: object) -> int:
    """Read a count; anything that is no plain non-negative number is 0."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return 0
    return int(value) if 0 <= value <= 1e15 else 0


def seconds(value: object, missing: float = 0.0) -> float:
    """Read a duration; anything that is no plain non-negative number is `missing`."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1e12:
        return missing
    return float(value)
