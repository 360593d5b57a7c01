"""One fleet at the gateway: its endpoints, its line of waiting requests, and what happened so far.

A request is sent at once when a pod is below its dispatch line, else it asks for a verdict and waits here.
Whatever may make room pumps the line: an answer that ends, a report, an endpoint that comes or changes. When
the fleet passes from cold to busy or back, everyone who waits gets a fresh limit, because waiting for a wake
and waiting for a slot are different things.

With an objective for the first token, who is late yields to who is not, as `WaitingLine` says, and what waits
stays here rather than inside a pod. Whoever has waited half of its limit here is first again, and goes to any
pod below its long line: better the queue of an engine than a refusal.

Counters only grow and gauges are absolute; the demand stream and the metrics read them as they are.
"""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from torpor.api import constants
from torpor.dispatch import ANONYMOUS, URGENT_SHARE, FairLine, least_loaded, route
from torpor.dispatch.prefix import covered

from torpor_gateway.answers import Refusal
from torpor_gateway.endpoint import SUSPECT_SECONDS, Endpoint
from torpor_gateway.expiry import PLACES_A_TURN, Expiry
from torpor_gateway.files import Files
from torpor_gateway.later import Drain
from torpor_gateway.objectives import Kept
from torpor_gateway.policy import FleetSpec
from torpor_gateway.sketch import ITL_BOUNDS, TTFT_BOUNDS, Sketch, Speed
from torpor_gateway.tokens import Ratios
from torpor_gateway.verdict import Regime, Situation, Wait, gave_way, judge, limits
from torpor_gateway.waits import Waits

if TYPE_CHECKING:
    from torpor_gateway.exchange import Exchange

_NEWS_SECONDS = 0.1


class Fleet:
    """A fleet's state in this process. `changed(fleet, urgent)` tells the operator."""

    def __init__(
        self,
        spec: FleetSpec,
        loop: asyncio.AbstractEventLoop,
        fresh_seconds: float,
        changed: Callable[["Fleet", bool], None],
        *,
        managed: bool,
        files: Files | None = None,
    ) -> None:
        self.files = files or Files()
        self.spec = spec
        self.loop = loop
        self.endpoints: dict[str, Endpoint] = {}
        self.ready: list[Endpoint] = []
        self.line: FairLine[Exchange] = FairLine()
        self.ratios = Ratios()
        self.managed = managed  # pods come and go by themselves
        self.gone = False
        self.arrivals = self.retries = self.refused = self.completed = self.failed = 0
        self.arrived_prompt_tokens = 0  # of the arrivals, by their bytes
        self.prompt_tokens = self.output_tokens = self.in_flight = 0  # of completed requests, as the next
        self.prompt_squares = self.output_squares = self.products = 0
        self.kept = Kept()
        self.upstream_retries: Counter[str] = Counter()
        self.routed_prompt_tokens = Counter({"known": 0, "new": 0})  # by the memory of the pod chosen
        self.answers: Counter[tuple[int, str]] = Counter()
        self.cuts = Counter(drain=0, engine=0, gateway=0)  # answers that ended too early, by whose end it was
        self.ttft, self.itl, self.speed = Sketch(TTFT_BOUNDS), Sketch(ITL_BOUNDS), Speed()
        self.waits = Waits(loop.time())
        self.last_request: float | None = None
        self.cold_since: float | None = None
        self._fresh_seconds = fresh_seconds
        self.changed = changed
        self._regime = Regime.COLD
        self._regime_since = float("-inf")
        self._turn = 0
        self._answering = 0  # pods that answer, suspects included
        self._told_at = float("-inf")
        self.drain = Drain()
        self._expiry = Expiry(self)
        self._pump_on: asyncio.Handle | None = None  # where more are to go than one turn of the loop sends

    @property
    def asleep(self) -> bool:
        """Whether no pod answers; what waits is then held, else queued.

        A pod that just failed to answer is left alone for a moment, but does not put its fleet to sleep.
        """
        return not self._answering

    def idle_seconds(self, now: float) -> float:
        """Return the seconds since the last request here arrived or ended; 0 while there is one."""
        if len(self.line) or self.in_flight or self.last_request is None:
            return 0.0
        return now - self.last_request

    def touch(self, *, urgent: bool = False) -> None:
        """Say that the operator should hear of this fleet."""
        self.changed(self, urgent)

    def situation(self) -> Situation:
        """Return the fleet's state for a verdict."""
        now, unix_time = self.loop.time(), time.time()
        credit = self.spec.policy.startup_seconds
        starting = sum(
            endpoint.starting(now, unix_time, self._fresh_seconds, credit)
            for endpoint in self.endpoints.values()
        )
        cold_for = now - self.cold_since if self.cold_since is not None else None
        waiting = len(self.line)
        gone_in = self.drain.seconds(waiting)
        return Situation(self._answering, starting, waiting, self.line.bytes, cold_for, gone_in)

    # --- requests ---

    def arrive(self, exchange: "Exchange") -> None:
        """Take in a new request: it is sent, waits, or is refused, before this returns."""
        if exchange.head.retry_count:
            self.retries += 1
        else:
            self.arrivals += 1
            self.arrived_prompt_tokens += self.ratios.prompt(exchange.work_size)
        self.last_request = self.loop.time()
        exchange.ticket = self.line.draw()
        self.submit(exchange)

    def submit(self, exchange: "Exchange") -> None:
        """Send a request, or let it wait, or refuse it."""
        if not len(self.line):
            endpoint = self.pick(exchange)
            if endpoint is not None:
                exchange.dispatch(endpoint)
                self.touch()
                return
        self._stand_in_line(exchange)

    def no_file(self, exchange: "Exchange") -> None:
        """A request cannot reach its pod for want of a file: it waits for one, and may go to that pod."""
        self.upstream_retries["out_of_files"] += 1
        exchange.let_go()
        if not exchange.over:
            exchange.waiting_since = self.loop.time()
            self._stand_in_line(exchange)

    def _stand_in_line(self, exchange: "Exchange") -> None:
        """Let a request wait, or refuse it."""
        size = len(exchange.body)
        self._note_cold()
        situation = self.situation()
        verdict = judge(
            self.spec,
            situation,
            stream=exchange.stream,
            size=size,
            unix_time=time.time(),
            jitter=random.random(),  # noqa: S311
        )
        if isinstance(verdict, Refusal):
            verdict = self._given_up(exchange, situation) or verdict
        if isinstance(verdict, Refusal):
            self.touch(urgent=self.asleep and self._may_tell())
            exchange.refuse(verdict)
            return
        first = not len(self.line)
        if first:
            self._regime, self._regime_since = situation.regime, self.loop.time()
        else:
            self.new_regime()  # before it joins: it has been told the new limits already
        exchange.slept = self.waits.slept(self.loop.time())
        self.line.join(exchange.ticket, exchange, size, exchange.arrived, exchange.lane)
        self.touch(urgent=first)
        self._expiry.begin()
        self._wait(exchange, verdict)
        if self.ready:
            self.pump()

    def _given_up(self, exchange: "Exchange", situation: Situation) -> Wait | None:
        """Return how a request waits that would be refused because the line is full, if somebody of it gives
        up a place for its key or its priority. Whoever does is refused in its stead.
        """
        if exchange.lane is ANONYMOUS:
            return None
        size, policy, unix_time = len(exchange.body), self.spec.policy, time.time()
        alone = replace(situation, waiting=0, waiting_bytes=0)
        verdict = judge(self.spec, alone, stream=exchange.stream, size=size, unix_time=unix_time, jitter=0.0)
        if isinstance(verdict, Refusal):
            return None  # it would not wait in an empty line either
        shed = self.line.make_room(exchange.lane, size, policy.max_held_requests, policy.max_held_bytes)
        for other in shed:
            self.waits.end(other, self.loop.time())
            other.refuse(gave_way(self.spec, situation, jitter=random.random()))  # noqa: S311
        return verdict if shed else None

    def _may_tell(self) -> bool:
        """Say whether a refused request may be news at once: a flood of them is news ten times a second."""
        now = self.loop.time()
        if now - self._told_at < _NEWS_SECONDS:
            return False
        self._told_at = now
        return True

    def _wait(self, exchange: "Exchange", wait: Wait) -> None:
        exchange.wait(self.loop.time() + wait.seconds, comments=wait.comments, at_once=wait.at_once)

    def pick(self, exchange: "Exchange", urgent: float = float("-inf")) -> Endpoint | None:
        """Return the pod for a request: below its line, not tried before, the least loaded.

        Who arrived at the time `urgent` or before goes by the long line.
        """
        open_pods = self._below_line(long=exchange.arrived <= urgent)
        if exchange.tried:
            open_pods = [pod for pod in open_pods if pod.identity not in exchange.tried]
        self._turn += 1
        if self.spec.policy.routing == constants.ROUTING_LEAST_LOADED:
            return least_loaded(open_pods, self._turn)
        size, tokens = exchange.work_size, self.ratios.prompt
        return route(self.ready, open_pods, exchange.identity, size, turn=self._turn, tokens=tokens)

    @property
    def by_prefix(self) -> bool:
        """Whether it matters how prompts begin: not where there is one pod to choose from."""
        return len(self.endpoints) != 1 and self.spec.policy.routing == constants.ROUTING_PREFIX_AWARE

    def learn(self, endpoint: Endpoint, exchange: "Exchange") -> int:
        """A request goes to a pod: return the tokens that it has to compute, and remember how they begin."""
        size, known, identity = exchange.work_size, 0, exchange.identity
        if not size:
            return 0
        routed, prompt = self.routed_prompt_tokens, self.ratios.prompt
        if identity:
            known = min(size, covered(identity, endpoint.memory.depth(identity), size))
            endpoint.memory.learn(identity)
            routed["known"] += prompt(known)
        tokens = prompt(size - known) or 1
        routed["new"] += tokens
        endpoint.backlog.sent(tokens)
        return tokens

    def _may_go(self, urgent: float, exchange: "Exchange") -> bool:
        return self.pick(exchange, urgent) is not None

    def _below_line(self, *, long: bool) -> list[Endpoint]:
        target = self.spec.policy.queue_depth_target if self.managed else 0
        if long or self.spec.policy.ttft_objective is None:
            return [pod for pod in self.ready if pod.load_state.accepts(target)]
        return [pod for pod in self.ready if pod.load_state.accepts_shortly(target)]

    def _urgent(self) -> float:
        """Return the latest arrival that has waited here for half of its limit (the shorter one, if two)."""
        if not len(self.line) or self._regime is Regime.COLD:
            return float("-inf")
        half = URGENT_SHARE * limits(self.spec.policy, self._regime, stream=False).seconds
        now = self.loop.time()
        return now - half if now - self._regime_since >= half else float("-inf")

    def untried(self, exchange: "Exchange") -> bool:
        """Say whether a pod is ready that the request has not been to, however loaded."""
        return any(pod.identity not in exchange.tried for pod in self.ready)

    def pump(self) -> None:
        """Send what waits to pods that have room, in order; in this turn of the loop and the next ones."""
        if self._pump_on is None:
            self._pump()

    def _pump(self) -> None:
        self._pump_on = None
        places = PLACES_A_TURN
        while len(self.line) and not self.files.denied():
            if not places:
                self._pump_on = self.loop.call_soon(self._pump)
                return
            places -= 1
            urgent = self._urgent()
            room = bool(self._below_line(long=False))
            if not room and (self.line.oldest() > urgent or not self._below_line(long=True)):
                return  # else all of a long line would be looked at for nothing
            exchange = self.line.take(
                partial(self._may_go, urgent),
                self.loop.time(),
                self.spec.policy.ttft_objective,
                urgent,
                only_urgent=not room,
            )
            if exchange is None:
                return
            endpoint = self.pick(exchange, urgent)
            assert endpoint is not None
            self.waits.end(exchange, self.loop.time())
            self.drain.left()
            exchange.dispatch(endpoint)
            self.touch()

    @property
    def waiting_prompt_tokens(self) -> int:
        """Tokens of the prompts that wait here, by their bytes."""
        return self.ratios.prompt(self.line.bytes)

    def completed_with(self, prompt: int, output: int) -> None:
        """A request was answered whole: so many tokens came in and went out.

        The sums of squares say how much lengths differ, and unlike a variance they add up over gateways.
        """
        self.completed += 1
        self.prompt_tokens += prompt
        self.output_tokens += output
        self.prompt_squares += prompt * prompt
        self.output_squares += output * output
        self.products += prompt * output

    def leave(self, exchange: "Exchange") -> None:
        """A waiting request goes away: its client left, or its limit passed."""
        if self.line.leave(exchange.ticket):
            self.waits.end(exchange, self.loop.time())
            self.touch()

    def released(self) -> None:
        """A pod finished a request of ours."""
        self.in_flight -= 1
        self.last_request = self.loop.time()
        self.touch()
        if len(self.line):
            self.pump()

    # --- endpoints ---

    def refresh(self) -> None:
        """Look again which endpoints are routable, and act on it."""
        now = self.loop.time()
        self.ready = self._routable()
        self._answering = sum(
            not pod.terminating and pod.answers(now, self._fresh_seconds) for pod in self.endpoints.values()
        )
        self.waits.turn(now, asleep=self.asleep)
        if self._answering or self.spec.stays_asleep(time.time()):
            self.cold_since = None
        self.touch()
        if not len(self.line):
            return
        self.pump()
        self.new_regime()

    def recheck(self) -> None:
        """Refresh if time alone has changed who is routable: a report became old, a suspicion ended."""
        if self._routable() != self.ready:
            self.refresh()

    def _routable(self) -> list[Endpoint]:
        now = self.loop.time()
        pods = [pod for pod in self.endpoints.values() if pod.routable(now, self._fresh_seconds)]
        wedged = sorted((pod.still_since or now, pod.name) for pod in pods if pod.wedged(now))
        ejected = {name for _, name in wedged[: len(pods) // 2]}
        for pod in self.endpoints.values():
            pod.ejected = pod.name in ejected
        return [pod for pod in pods if not pod.ejected] if ejected else pods

    def suspect(self, endpoint: Endpoint) -> None:
        """An endpoint did not answer: leave it alone for a moment."""
        endpoint.suspect_until = self.loop.time() + SUSPECT_SECONDS
        self.loop.call_later(SUSPECT_SECONDS, self.refresh)
        self.refresh()

    def retire(self) -> None:
        """The fleet is gone: refuse what waits."""
        self.gone = True
        for exchange in self.line:
            self.leave(exchange)
            exchange.refuse(Refusal(404, "model_not_found", f"{self.spec.key} was deleted", param="model"))
        for endpoint in self.endpoints.values():
            endpoint.pool.close()

    # --- limits ---

    def _note_cold(self) -> None:
        """A request finds no pod: from now on a wake is under way, unless no request wakes the fleet."""
        if self.asleep and self.cold_since is None and not self.spec.stays_asleep(time.time()):
            self.cold_since = self.loop.time()

    def new_regime(self) -> None:
        """Look whether those who wait do so for another reason than before, and give them its limits."""
        regime = self.situation().regime
        before, self._regime = self._regime, regime
        if regime is before:
            return
        self._note_cold()
        fresh = (regime is Regime.BUSY) is not (before is Regime.BUSY)
        if fresh:
            self._regime_since = self.loop.time()
        for exchange in self.line:
            wait = limits(self.spec.policy, regime, stream=exchange.stream)
            deadline = self.loop.time() + wait.seconds if fresh else exchange.deadline
            exchange.wait(deadline, comments=wait.comments, at_once=wait.at_once)
