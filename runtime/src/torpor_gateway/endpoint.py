"""One address where an engine may answer: who is there, whether work may be sent, and how much it has.

With a launcher the address is routable when the latest line of its stats stream is fresh, says Ready, carries
the fleet's UID and one of its model names: pod addresses are reused, and a new tenant of an old address must
not get another fleet's prompts. Without a launcher (a static file) the address is taken at its word.

`identity` is the incarnation: a container that was restarted at the same address is another one, and a
request that the first refused may try the second.
"""

from typing import Any

from torpor.api import constants
from torpor.dispatch import Backlog, PodLoad, PodMemory, seed_of

from torpor_gateway.tokens import Calibration, Ratios
from torpor_gateway.upstream import Pool

SUSPECT_SECONDS = 1.0  # a pod that did not answer gets no request for this long


class Endpoint:
    """An engine's address in one fleet. Times are the loop's clock, seconds."""

    __slots__ = (
        "backlog",
        "calibration",
        "ejected",
        "heard_at",
        "host",
        "launcher_port",
        "load_state",
        "matched",
        "memory",
        "name",
        "pod",
        "pool",
        "port",
        "seed",
        "stats",
        "stats_at",
        "still_since",
        "stream_up",
        "suspect_until",
        "terminating",
        "total",
        "uses_launcher",
    )

    def __init__(
        self,
        host: str,
        port: int,
        pool: Pool,
        ratios: Ratios,
        *,
        launcher_port: int | None = None,
        max_concurrency: int | None = None,
    ) -> None:
        self.host, self.port = host, port
        self.launcher_port = launcher_port
        self.uses_launcher = launcher_port is not None
        self.name = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self.pod = self.name
        self.pool = pool
        self.load_state = PodLoad(max_num_seqs=max_concurrency)
        self.calibration = Calibration(ratios)
        self.terminating = False
        self.matched = not self.uses_launcher
        self.stats: dict[str, Any] | None = None
        self.stats_at = float("-inf")  # when the last line that counts was read
        self.heard_at = float("-inf")  # when the last line was read
        self.stream_up = False
        self.suspect_until = float("-inf")
        self.seed = seed_of(self.name)
        self.memory = PodMemory()
        self.backlog = Backlog()
        self.total: int | None = None  # tokens that the engine has counted
        self.still_since: float | None = None  # since when it claims to run and counts nothing
        self.ejected = False  # the fleet leaves it out although it could be sent work

    @property
    def load(self) -> int:
        """Requests at the pod, as far as this process knows."""
        return self.load_state.load

    @property
    def in_flight(self) -> int:
        """Requests that this process has sent there."""
        return self.load_state.in_flight

    @property
    def prompt_tokens_ahead(self) -> int:
        """Prompt tokens that the pod has to compute, as far as this process can tell."""
        backlog = self.backlog
        return backlog.own + backlog.others  # eight times a choice: no second property

    def wedged(self, now: float) -> bool:
        """Say whether the engine claims to run and has counted no token for a minute of fresh reports."""
        return self.still_since is not None and now - self.still_since >= constants.WEDGED_SECONDS

    @property
    def identity(self) -> str:
        """This incarnation of whatever answers here."""
        return str(self.stats.get("bootId", "")) + "@" + self.name if self.stats else self.name

    @property
    def state(self) -> str | None:
        """The launcher's word for the pod's state; None where nothing is known."""
        return self.stats.get("state") if self.stats else None

    @property
    def leaving(self) -> bool:
        """Whether the pod is on its way out: Kubernetes ends it, or its launcher drains it."""
        return self.terminating or self.state == constants.STATE_DRAINING

    def answers(self, now: float, fresh_seconds: float) -> bool:
        """Say whether an engine of the fleet answers here now, terminating or not."""
        if not self.uses_launcher:
            return True
        return self.matched and now - self.stats_at < fresh_seconds and self.state == constants.STATE_READY

    def routable(self, now: float, fresh_seconds: float) -> bool:
        """Say whether new work may be sent here."""
        return not self.terminating and now >= self.suspect_until and self.answers(now, fresh_seconds)

    def starting(self, now: float, unix_time: float, fresh_seconds: float, credit_seconds: float) -> bool:
        """Say whether a pod is on its way here and still within its credit."""
        if (
            not self.uses_launcher
            or self.terminating
            or self.state in (constants.STATE_FAILED, constants.STATE_DRAINING)
        ):
            return False
        if self.stats is None or not self.matched:
            return True  # an address without a launcher's word yet: the container has just begun
        if self.state == constants.STATE_READY or now - self.stats_at >= fresh_seconds:
            return False
        started = self.stats.get("startedAt")
        return not isinstance(started, int | float) or unix_time - started < credit_seconds

    def report(self, stats: dict[str, Any], now: float, uid: str, models: tuple[str, ...]) -> bool:
        """Take in a stats line; return whether it says something new about who and in which state."""
        before = (self.matched, self.state, self.identity)
        wedged, silent = self.wedged(now), now - self.heard_at
        served = stats.get("models")
        self.matched = (
            bool(uid)
            and stats.get("fleetUid") == uid
            and isinstance(served, list)
            and any(m in served for m in models)
        )
        self.stats, self.stats_at, self.heard_at = stats, now, now
        if isinstance(stats.get("pod"), str) and stats["pod"]:
            self.pod = stats["pod"]
        if self.matched:
            running, waiting = _count(stats.get("running")), _count(stats.get("waiting"))
            self.load_state.report(running, waiting, _count(stats.get("maxNumSeqs")))
            requests = None if running is None or waiting is None else running + waiting
            prompts, generated = (
                _count(stats.get("promptTokensTotal")),
                _count(stats.get("generationTokensTotal")),
            )
            self.calibration.report(requests, self.load_state.in_flight, prompts, generated)
            taken_up = _count(stats.get("prefixQueriesTotal"))
            self.backlog.report(taken_up, prompts, requests, self.load_state.in_flight)
            if prompts is not None and generated is not None:
                self.memory.advance(prompts + generated, _count(stats.get("kvCapacityTokens")))
            self._watch(running, prompts, generated, now, silent)
        return before != (self.matched, self.state, self.identity) or wedged is not self.wedged(now)

    def _watch(
        self, running: int | None, prompts: int | None, generated: int | None, now: float, silent: float
    ) -> None:
        """Note since when the engine claims to run and its counters stand still.

        What was not heard proves nothing: after a gap in the reports the time begins anew. An engine without
        counters is not judged.
        """
        total = None if prompts is None or generated is None else prompts + generated
        moved, self.total = total != self.total, total
        if total is None or not running:
            self.still_since = None
        elif moved or self.still_since is None or silent > constants.STATS_FRESH_SECONDS:
            self.still_since = now

    def silence(self) -> None:
        """Forget the launcher's word: nobody is listening there any more."""
        self.stats_at = float("-inf")


def _count(value: Any) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1 << 62:
        return None
    return int(value)
