"""A fleet on a trace, under a policy: the run that a backtest or a benchmark is made of.

Time passes in the kernel; every `look` seconds, and when the first request finds the fleet cold, the policy
sees what an operator would see and answers with a number of replicas. More means that so many cold starts
begin, each with a length drawn from one sequence, so that two policies with the same seed meet the same
luck. Fewer means that the youngest of those that are still starting go, then the ready ones with the least
work, which finish what they have. Every replica is billed from the moment it is asked for to the moment it is
gone.

What may go wrong besides (failed starts, missing and old metrics) is in `conditions`.

Where the trace tells the prompts' blocks, each replica remembers those it has computed (`prefix_kernel`).

Not simulated: time on the network, the bytes of held requests, `drainSeconds`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from torpor.dispatch import LATE_PLACE, LATE_SHARE, URGENT_SHARE
from torpor.simulate import fleet_kernel as fk
from torpor.simulate import replica_kernel as rk
from torpor.simulate.cache_kernel import BLOCK_TOKENS
from torpor.simulate.conditions import Conditions, Reports
from torpor.simulate.judged import Judged
from torpor.simulate.view import View

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from torpor.simulate.profiles import StepCost
    from torpor.simulate.traces import Trace

MOST_REPLICAS = 1000  # the API's own bound on maxReplicas
COLD_START_CV = 0.2
FIRST_SLOTS = 16


class SimulationError(Exception):
    """A run that cannot go on: the message is one line, for people."""


class FleetPolicy(Protocol):
    """Whoever decides. One object per run: it may remember."""

    name: str

    def look(self, view: View) -> int:
        """Return how many replicas there should be."""


@dataclass(frozen=True, slots=True)
class Setup:
    """What a run needs besides trace and policy.

    cost: milliseconds per step; kv_tokens, max_num_seqs, max_num_batched_tokens: sizes of a replica.
    cold_start: mean seconds; hold_seconds, queue_seconds: the longest a request waits at the gateway, cold or
    growing and busy; max_waiting: requests that wait there at once, over all gateway processes. reject:
    refuse while cold instead of holding. queue_target: requests that a replica gets beyond max_num_seqs.
    look: seconds between two decisions. initial: replicas that are ready when the trace begins.
    ttft_objective: seconds; orders the line at the gateway (`dispatch.WaitingLine`); None: first come, first
    served. judged_by: objectives of the first token and between tokens, seconds, that the gateways hold each
    request against. unary_hold_seconds: the shorter hold limit, half of which makes a request urgent; None:
    no other.
    conditions: what goes wrong.
    """

    cost: StepCost
    kv_tokens: int
    max_num_seqs: int
    max_num_batched_tokens: int
    cold_start: float
    hold_seconds: float = 900.0
    queue_seconds: float = 60.0
    max_waiting: int = 2000
    reject: bool = False
    queue_target: int = 4
    look: float = 10.0
    seed: int = 0
    initial: int = 0
    ttft_objective: float | None = None
    judged_by: tuple[float | None, float | None] = (None, None)
    unary_hold_seconds: float | None = None
    conditions: Conditions = field(default_factory=Conditions)

    def __post_init__(self) -> None:
        if self.max_num_seqs > self.max_num_batched_tokens:
            raise SimulationError(
                f"max_num_seqs={self.max_num_seqs} exceeds max_num_batched_tokens="
                f"{self.max_num_batched_tokens}: vLLM refuses that; lower the first or raise the second"
            )
        if not (math.isfinite(self.look) and self.look > 0):
            raise SimulationError(f"look={self.look}: must be a positive number of seconds")
        if not (math.isfinite(self.cold_start) and self.cold_start >= 0):
            raise SimulationError(f"cold start of {self.cold_start} seconds: must be a number from 0")

    def rules(self) -> fk.Rules:
        """What the gateway keeps to: limits, lines, and what `dispatch.WaitingLine` goes by."""
        line = self.max_num_seqs + self.queue_target
        short, patience = line, math.inf
        if self.ttft_objective is not None:
            short, patience = max(1, self.queue_target), LATE_SHARE * self.ttft_objective
        shorter = self.hold_seconds if self.unary_hold_seconds is None else self.unary_hold_seconds
        return fk.Rules(
            line=line,
            short=short,
            hold=float(self.hold_seconds),
            queue=float(self.queue_seconds),
            most=self.max_waiting,
            reject=int(self.reject),
            patience=patience,
            place=LATE_PLACE,
            urgent_growing=URGENT_SHARE * min(self.hold_seconds, shorter),
            urgent_busy=URGENT_SHARE * self.queue_seconds,
        )

    def machine(self, hashed: int = 0, table: NDArray[np.int64] | None = None) -> rk.Machine:
        """The same in seconds and blocks. `table`: the blocks of the trace's prompts (`Prefixes.table`), of
        `hashed` tokens each.
        """
        k = self.cost
        if self.kv_tokens < hashed:
            hashed = 0
        return rk.Machine(
            k.a / 1000.0,
            k.b / 1000.0,
            k.c / 1000.0,
            k.d / 1000.0,
            self.max_num_batched_tokens,
            self.max_num_seqs,
            self.kv_tokens // BLOCK_TOKENS,
            ring=self.max_num_seqs + self.queue_target + 1,
            hashed=hashed,
            slots=self.kv_tokens // hashed if hashed else 1,
            prefixes=np.zeros(0, np.int64) if table is None else table,
        )


@dataclass(slots=True)
class Run:
    """What happened. `requests` has one entry per request; `lives` one (born, died) per replica, in seconds.

    end: when the last request was over. steps: (time, replicas asked for) at every change.
    """

    requests: NDArray[Any]
    lives: list[tuple[float, float]] = field(default_factory=list)
    births: list[float] = field(default_factory=list)
    steps: list[tuple[float, int]] = field(default_factory=list)
    looks: int = 0
    end: float = 0.0
    preemptions: int = 0
    generated_tokens: int = 0
    prompt_tokens: int = 0  # computed
    cached_tokens: int = 0  # of prompts, known to the replica from earlier ones


class Simulation:
    """One run. Make it, call `run` once."""

    def __init__(self, trace: Trace, setup: Setup, policy: FleetPolicy) -> None:
        self.setup = setup
        self.policy = policy
        hashes = trace.prefixes
        self.machine = setup.machine(hashes.tokens, hashes.table()) if hashes else setup.machine()
        self.requests = rk.new_requests(trace.arrival, trace.prompt, trace.output)
        self.gateway = fk.new_gateway(len(trace.arrival))
        self.rules = setup.rules()
        self.pods, self._places = rk.new_pods(FIRST_SLOTS, self.machine)
        self._loads, self._ends = np.zeros(FIRST_SLOTS, np.int64), np.zeros(FIRST_SLOTS)
        self._survey = np.zeros((FIRST_SLOTS, fk.WIDTH))
        self.asked = 0
        self.cold_starts: list[float] = []
        self.result = Run(self.requests)
        self._draws = np.random.default_rng(setup.seed)
        self._fates = np.random.default_rng([setup.seed, 2])
        self._doomed: dict[int, float] = {}  # slot of a start that fails: when it is replaced
        self._reports = Reports(setup.conditions)
        self._judged = Judged(self.requests, *setup.judged_by)
        self._gone_tokens = 0
        self._gone = [0.0] * len(fk.COUNTED)

    def run(self) -> Run:
        """Let the whole trace pass."""
        now = 0.0
        if self.setup.initial:
            self._start(self.setup.initial, now, instantly=True)
            self.asked = self.setup.initial
            self.result.steps.append((now, self.asked))
        until = now
        next_look = self.setup.look
        gateway = self.gateway
        while True:
            early = fk.watch(
                self.machine,
                self.rules,
                self.requests,
                self.pods,
                self._places,
                self._loads,
                self._ends,
                *gateway,
                until,
                self._survey,
            )
            counts = gateway.counts.tolist()
            now = float(gateway.clock[fk.NOW])
            if counts[fk.WOKEN] or counts[fk.LEFT]:
                self._bury()
            if self._over(counts):
                return self._conclude()
            self._decide(now, counts)
            if not early:
                until, next_look = next_look, next_look + self.setup.look

    def _over(self, counts: list[int]) -> bool:
        if counts[fk.NEXT] < len(self.requests) or counts[fk.WAITING]:
            return False
        return bool(np.all(self.pods["end"] == rk.NEVER))

    def _decide(self, now: float, counts: list[int]) -> None:
        self._replace_failed(now)
        self._judged.count(counts[fk.NEXT])
        truth = self._survey[: counts[fk.ROWS]].tolist()
        rows, age = self._reports.seen(now, truth)
        view = View(
            now,
            self.asked,
            rows,
            counts,
            self._gone_tokens,
            self.cold_starts,
            self.setup.max_num_seqs,
            tuple(self._gone),
            self.setup.kv_tokens,
            truth,
            age,
            self._judged,
        )
        wished = self.policy.look(view)
        self.result.looks += 1
        if isinstance(wished, bool) or not isinstance(wished, int) or not 0 <= wished <= MOST_REPLICAS:
            raise SimulationError(
                f"policy {self.policy.name} asked for {wished!r} replicas at second {now:.0f}: "
                f"must be a whole number from 0 to {MOST_REPLICAS}"
            )
        if wished == self.asked:
            return
        if wished > self.asked:
            self._start(wished - self.asked, now)
        else:
            self._stop(self.asked - wished, now)
        self.asked = wished
        self.result.steps.append((now, wished))
        fk.judge(self.gateway, now)

    def _start(self, count: int, now: float, *, instantly: bool = False) -> None:
        free = [int(r) for r in np.flatnonzero(self.pods["state"] == rk.EMPTY)[:count]]
        while len(free) < count:
            self._grow()
            free = [int(r) for r in np.flatnonzero(self.pods["state"] == rk.EMPTY)[:count]]
        counts = self.gateway.counts
        for r in free:
            rk.reset(self.pods, self._places, r)
            self.pods["born"][r] = now
            counts[fk.TOP] = max(counts[fk.TOP], r + 1)
            if instantly:
                self.pods["state"][r] = rk.READY
                counts[fk.N_READY] += 1
                continue
            length = self._cold_start()
            if self._fails():
                length = rk.NEVER
                self._doomed[r] = now + self.setup.conditions.start_deadline
            self.pods["state"][r] = rk.STARTING
            self.pods["ready_at"][r] = now + length
            counts[fk.N_STARTING] += 1
            self.result.births.append(now)
        if instantly:
            fk.judge(self.gateway, now)

    def _cold_start(self) -> float:
        mean = self.setup.cold_start
        sigma = math.sqrt(math.log(1.0 + COLD_START_CV**2))
        return mean * math.exp(sigma * float(self._draws.standard_normal()) - 0.5 * sigma * sigma)

    def _fails(self) -> bool:
        share = self.setup.conditions.failed_starts
        return share > 0 and float(self._fates.random()) < share

    def _replace_failed(self, now: float) -> None:
        """End the starts whose deadline has passed and begin as many anew."""
        over = [r for r, deadline in self._doomed.items() if deadline <= now]
        for r in over:
            del self._doomed[r]
            self.pods["state"][r] = rk.GONE
            self.pods["died"][r] = now
            self.gateway.counts[fk.N_STARTING] -= 1
        if over:
            self._bury()
            self._start(len(over), now)

    def _stop(self, count: int, now: float) -> None:
        pods, counts = self.pods, self.gateway.counts
        starting = np.flatnonzero(pods["state"] == rk.STARTING)
        ready = np.flatnonzero(pods["state"] == rk.READY)
        order = [
            *sorted(starting.tolist(), key=lambda r: -pods["born"][r]),
            *sorted(
                ready.tolist(), key=lambda r: (pods["running"][r] + pods["waiting"][r], -pods["born"][r])
            ),
        ]
        for r in order[:count]:
            self._doomed.pop(r, None)
            if pods["state"][r] == rk.STARTING:
                counts[fk.N_STARTING] -= 1
            else:
                counts[fk.N_READY] -= 1
            busy = pods["end"][r] != rk.NEVER
            pods["state"][r] = rk.DRAINING if busy else rk.GONE
            pods["died"][r] = now
        self._bury()

    def _bury(self) -> None:
        """Write down the lives of pods that are gone, the measured cold starts, and free the slots."""
        pods = self.pods
        self.gateway.counts[fk.WOKEN] = self.gateway.counts[fk.LEFT] = 0
        for place in np.flatnonzero((pods["state"] == rk.READY) & (pods["ready_at"] < rk.NEVER)):
            self.cold_starts.append(float(pods["ready_at"][place] - pods["born"][place]))
            pods["ready_at"][place] = rk.NEVER
        for place in np.flatnonzero(pods["state"] == rk.GONE):
            self._record(int(place), float(pods["died"][place]))
            self._gone_tokens += int(pods["tokens"][place])
            self._gone = [
                before + float(pods[name][place]) for before, name in zip(self._gone, fk.COUNTED, strict=True)
            ]
            pods["state"][place] = rk.EMPTY

    def _record(self, r: int, died: float) -> None:
        self.result.lives.append((float(self.pods["born"][r]), died))
        self.result.preemptions += int(self.pods["preemptions"][r])
        self.result.generated_tokens += int(self.pods["tokens"][r])
        self.result.prompt_tokens += int(self.pods["prompts"][r])
        self.result.cached_tokens += int(self.pods["cached"][r])

    def _grow(self) -> None:
        pods, places = rk.new_pods(len(self.pods), self.machine)
        self.pods = np.concatenate([self.pods, pods])
        self._places = np.concatenate([self._places, places])
        self._loads, self._ends = np.zeros(len(self.pods), np.int64), np.zeros(len(self.pods))
        self._survey = np.zeros((len(self.pods), self._survey.shape[1]))

    def _conclude(self) -> Run:
        requests = self.requests
        ends = [*requests["arrival"][-1:], np.nanmax(requests["finish"], initial=0.0)]
        self.result.end = float(max(ends))
        for place in np.flatnonzero((self.pods["state"] != rk.EMPTY) & (self.pods["state"] != rk.GONE)):
            self._record(int(place), max(self.result.end, float(self.pods["born"][place])))
        return self.result
