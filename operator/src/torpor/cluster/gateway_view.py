"""What one gateway process told, and what all of them together mean.

A `GatewayView` is fed with the lines of one demand stream. Gauges are taken as they are; counters go into the
`Ledger`, which adds up their growth over all processes, reconnects and restarts. A fleet that is not
mentioned has not changed: silence about a fleet is good as long as the stream itself lives, and worthless
after that.

`merge` adds up what different processes hold (each request waits in one of them) and picks, per engine pod,
the freshest report (all of them see the same pod). A process that exists and does not report makes the sums
lower bounds.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from torpor.api.names import FleetKey
from torpor.cluster.ledger import Ledger
from torpor.decide.observation import Tally

Line: TypeAlias = Mapping[str, Any]

SILENT_SECONDS = 12.0  # two heartbeats and a bit: an older stream is no evidence
GONE_SECONDS = 10.0  # a process that is not listed any more leaves the view after so much silence


@dataclass(slots=True)
class FleetReport:
    """The latest line of one gateway about one fleet. `at`: when it came, monotonic seconds. `lengths`: it
    tells those of requests.
    """

    line: Line
    at: float
    connection: int
    lengths: bool = False


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

    def take(self, line: Line, now: float, ledger: Ledger) -> FleetKey | None:
        """Take in one line and write what it counts into `ledger`. Returns the fleet it is about, if any."""
        boot = str(line.get("bootId") or "")
        if boot != self.boot:
            self.boot, self.fleets, self.heartbeats = boot, {}, 0
        self.heard = now
        self.name = str(line.get("gateway") or self.name)
        kind = line.get("type")
        if kind == "fleet":
            return self._fleet(line, now, ledger)
        if kind in ("hello", "heartbeat"):
            self.state = str(line.get("state") or self.state)
            ledger.greeted(boot, line.get("ageSeconds"), now)
        if kind == "heartbeat":
            self.synced = line.get("synced") is True
            self.heartbeats += 1
            if self.heartbeats == 2:
                self.fleets = {k: r for k, r in self.fleets.items() if r.connection == self.connection}
                ledger.settled(boot, set(self.fleets), now)
        return None

    def _fleet(self, line: Line, now: float, ledger: Ledger) -> FleetKey | None:
        namespace, name = line.get("namespace"), line.get("name")
        if not (isinstance(namespace, str) and isinstance(name, str)):
            return None
        key = FleetKey(namespace, name)
        lengths = ledger.count(self.boot, key, line, now) and "waitingPromptTokens" in line
        self.fleets[key] = FleetReport(line, now, self.connection, lengths)
        return key


@dataclass(frozen=True, slots=True)
class PodReport:
    """The freshest launcher report on one pod, and its age in seconds.

    A line stands while its stream lives, so its age may be less than the time since it came. at: when the
    numbers in it were told by the launcher, whether they stand or not (monotonic seconds).
    """

    age: float
    stats: Line
    at: float = 0.0


@dataclass(frozen=True, slots=True)
class FleetDemand:
    """What all gateways together hold for one fleet. Sums are over those that report.

    reporting: gateways that do. gap: why the sums are lower bounds, "" if they are complete. oldest: seconds
    that the oldest held request has waited. waiting_prompt_tokens: of those held and queued. arrivals, tally:
    growing sums (`Ledger`). What a gateway that reports does not tell of lengths is None for all. age:
    seconds since the one that was heard the longest ago spoke, of those that report.
    """

    reporting: int
    gap: str
    held: int = 0
    queued: int = 0
    in_flight: int = 0
    oldest: float = 0.0
    arrivals: int = 0
    pods: Mapping[str, PodReport] = field(default_factory=dict)
    waiting_prompt_tokens: int | None = None
    tally: Tally | None = None
    age: float | None = None


def merge(
    gateways: Iterable[GatewayView], key: FleetKey, uid: str, ledger: Ledger, now: float
) -> FleetDemand:
    """Join what the gateways say about the fleet `key` with this `uid`. Reports about a namesake are left
    out.
    """
    gaps: list[str] = []
    reporting = held = queued = in_flight = prompt_tokens = 0
    oldest, lengths = 0.0, True
    age: float | None = None
    pods: dict[str, PodReport] = {}
    for gateway in gateways:
        if gap := gateway.gap(now):
            gaps.append(gap)
        if not gateway.live(now):
            continue
        reporting += 1
        if gateway.heard is not None:
            age = max(now - gateway.heard, age or 0.0)
        report = gateway.fleets.get(key)
        if report is None or report.line.get("uid") not in (uid, "", None):
            continue
        waiting = report.line.get("held")
        if isinstance(waiting, Mapping):
            held += count(waiting.get("count"))
            oldest = max(oldest, seconds(waiting.get("oldestSeconds")))
        queued += count(report.line.get("queued"))
        in_flight += count(report.line.get("inFlight"))
        prompt_tokens += count(report.line.get("waitingPromptTokens"))
        lengths = lengths and report.lengths
        for pod, fresh in _pods(report, gateway, now):
            if pod not in pods or fresh.age < pods[pod].age:
                pods[pod] = fresh
    if not reporting:
        gaps.append("no gateway reports")
    total = ledger.total(key, uid)
    return FleetDemand(
        reporting=reporting,
        gap="; ".join(dict.fromkeys(gaps)),
        held=held,
        queued=queued,
        in_flight=in_flight,
        oldest=oldest,
        arrivals=int(total.requests),
        pods=pods,
        waiting_prompt_tokens=prompt_tokens if reporting and lengths else None,
        tally=(total.tally or Tally()) if reporting and lengths else None,
        age=age,
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
            age = seconds(entry.get("ageSeconds"), missing=1e9)
            yield str(pod), PodReport(age + silence, entry["stats"], report.at - age)


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
