"""One look at one fleet, from what is known to what is written.

The steps are always the same and in this order: gather the world, decide, plan, execute, write the status,
tell what changed, say when to look again. Nothing in here asks which event caused the look. A fleet that is
gone is forgotten; a fleet whose namesake's children still linger waits until the garbage collector is done,
because names are shared and lives are not.
"""

import asyncio
import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from torpor import metrics
from torpor.api import constants, names
from torpor.api.names import FleetKey
from torpor.api.types import InferenceService
from torpor.build import BuildSettings, children, fleet_config, revision_of
from torpor.cluster.demand import DemandStreams
from torpor.cluster.errors import ApiError
from torpor.cluster.events import WARNING, Recorder
from torpor.cluster.resources import CONFIG_MAPS, FLEETS, Object
from torpor.control import news, requests
from torpor.control.drift import stamped
from torpor.control.executor import Executor, Outcome
from torpor.control.findings import Facts, findings
from torpor.control.hardware import heard, in_effect
from torpor.control.keeping import Keeping
from torpor.control.measure import measure
from torpor.control.memo import Memo
from torpor.control.naming import Naming
from torpor.control.observe import observe, policy, stopgap_policy
from torpor.control.plan import Plan, plan, plan_scale
from torpor.control.pods import read_pod
from torpor.control.rollout import Rollout, rollout
from torpor.control.saved import price_of, reckoned, record
from torpor.control.spec import followed
from torpor.control.status import REFRESH_SECONDS, same, status_manifest, status_of, worth_writing
from torpor.control.store import Store
from torpor.control.world import World, now_utc, strangers
from torpor.decide import Decision, Memory, Policy, decide
from torpor.decide.hardware import Hardware
from torpor.decide.prices import Prices

AWAKE_LOOK_SECONDS = 10.0  # windows and idle periods count only where somebody looks
LINGERING_LOOK_SECONDS = 1.0
SAVES_AT_ONCE = 16
CLOCK_DOUBT_SECONDS = 60.0  # a wall clock that was set does not tell; a transition may be late by so much

log = logging.getLogger(__name__)


class RefusedError(Exception):
    """The API server refuses a write; the condition says why, and the look is repeated with back-off, at the
    latest at `again`: what it does not refuse goes on.
    """

    def __init__(self, message: str, again: float | None) -> None:
        super().__init__(message)
        self.again = again


@dataclass(frozen=True, slots=True)
class Parts:
    """What a look works with."""

    store: Store
    naming: Naming
    demand: DemandStreams
    executor: Executor
    recorder: Recorder
    build: BuildSettings
    prices: Prices = field(default_factory=Prices)


class Reconciler:
    """Looks at fleets. One instance lives as long as its process leads."""

    def __init__(
        self,
        parts: Parts,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], datetime] = now_utc,
        schedule_offset: timedelta = timedelta(0),
    ) -> None:
        self._parts, self._clock, self._wall = parts, clock, wall
        self._schedule_offset = schedule_offset
        self._memos: dict[FleetKey, Memo] = {}
        self.news_at: dict[FleetKey, float] = {}  # when a demand came that no look has answered yet

    async def look(self, key: FleetKey) -> float | None:
        """Look at one fleet; return when to look again (monotonic seconds), None: at the next news.

        Raises ApiError or RefusedError where the look must be repeated.
        """
        fleet = self._parts.store.get(FLEETS, key.namespace, key.name)
        if fleet is None or fleet["metadata"].get("deletionTimestamp"):
            self.forget(key)
            return None
        memo = self._memos.get(key)
        if memo is None or memo.uid != fleet["metadata"].get("uid"):
            if memo is not None:
                metrics.forget(*key)  # its successor may have none of its series
            config = self._parts.store.get(CONFIG_MAPS, key.namespace, names.config(key.name))
            memo = self._memos[key] = Memo.of(
                fleet, self._schedule_offset, config=config, clock=self._clock()
            )
        memo.followed = followed(fleet, memo.followed)
        world = self._gather(key, fleet, memo)
        foreign = strangers(world.children, world.uid)
        if any(foreign.values()):
            log.info(
                "%s waits for the children of a former fleet of this name to go: %s", key, ", ".join(foreign)
            )
            return world.clock + LINGERING_LOOK_SECONDS
        return await self._act(world, memo, tuple(foreign))

    def forget(self, key: FleetKey) -> None:
        """Drop everything about a fleet that is gone."""
        if self._memos.pop(key, None) is not None:
            log.info("%s is gone", key)
        self._parts.demand.forget(key)
        metrics.forget(key.namespace, key.name)

    def _gather(self, key: FleetKey, fleet: Object, memo: Memo) -> World:
        parts, clock, now = self._parts, self._clock(), self._wall()
        pods = tuple(read_pod(item) for item in parts.store.pods(key))
        if any(pod.holds_room for pod in pods):
            memo.room_at = clock
        return World(
            key=key,
            fleet=fleet,
            service=memo.followed.service,
            problems=memo.followed.problems,
            children=parts.store.children(key),
            pods=pods,
            demand=parts.demand.fleet(key, str(fleet["metadata"].get("uid", ""))),
            now=now,
            clock=clock,
            bare=parts.naming.bare(key),
            conflicts=parts.naming.conflicts(key),
            roomless_for=math.inf if memo.room_at is None else clock - memo.room_at,
            hours=memo.hours.at(memo.followed.service, now, memo.cold.p95),
            docket=requests.open_docket(fleet, memo.requests, now),
        )

    async def _act(self, world: World, memo: Memo, taken: tuple[str, ...]) -> float | None:
        decision, memory, rules, change, todo = self._decide(world, memo)
        outcome = Outcome(scaled=False) if taken else await self._parts.executor.run(world, todo)
        if outcome.scaled:
            memo.memory = memory  # only now: a wake whose write failed must still look new to the next look
        memo.requests = requests.after(world, decision, outcome)
        memo.left_behind.update(outcome.left_behind)
        memo.cold = memo.cold.seen(world)
        await self._kept(world, memo, outcome)
        if decision is not None and outcome.scaled:
            await self._scaled(world, memo, decision)
        external = memo.followed.service.spec.scaling.replicas if memo.followed.service else None
        facts = Facts(world, decision, change, external, (*taken, *outcome.taken), outcome.refused, rules)
        flush = await self._report(facts, memo)
        if outcome.refused:
            raise RefusedError("; ".join(outcome.refused), self._next_look(facts, memo, flush))
        return self._next_look(facts, memo, flush)

    def _decide(
        self, world: World, memo: Memo
    ) -> tuple[Decision | None, Memory, Policy | None, Rollout, Plan]:
        service = world.service
        if service is None:
            if world.deployment is None:
                return None, memo.memory, None, Rollout(), Plan()
            observation, rules = observe(world, rollout=False), stopgap_policy(world)
            decision, memory = decide(observation, rules, memo.memory, world.clock)
            return decision, memory, rules, Rollout(), plan_scale(world, decision.replicas)
        revision = revision_of(service)
        change = rollout(world, service, revision)
        observation = observe(world, rollout=change.running and not change.stalled)
        keeping = memo.keeping
        hardware = _hardware(world, memo, service, revision)
        rules = policy(
            world,
            service,
            memo.cold,
            revision=revision,
            hardware=hardware,
            last_seqs=keeping.engines.max_num_seqs,
        )
        decision, memory = decide(observation, rules, memo.memory, world.clock)
        keeping.tuning = memo.tuner.tune(
            keeping.tuning,
            service,
            revision,
            keeping.engines,
            known=memory.known,
            objectives=rules.objectives,
            clock=world.clock,
        )
        keeping.looked(memory, world.clock, world.now)
        manifests = children(
            service,
            self._parts.build,
            decision.replicas,
            world.deployment,
            in_place=change.in_place,
            restarted=world.restarted,
            data=_data(world, keeping),
        )
        return decision, memory, rules, change, plan(world, manifests, memo.left_behind)

    async def _kept(self, world: World, memo: Memo, outcome: Outcome) -> None:
        """Note what came of the ConfigMap's write; a failure is told once, until it is written again."""
        if outcome.unkept is None:
            memo.keeping.written(world.clock)
            return
        first = not memo.keeping.failures
        pause = memo.keeping.failed(world.clock)
        log.warning("%s: %s; next try in %.0f s", world.key, outcome.unkept, pause)
        if first:
            told = f"what is learned is not kept: {outcome.unkept}"
            await self._parts.recorder.record(world.fleet["metadata"], WARNING, constants.NOT_KEPT, told)

    async def save(self) -> None:
        """Write the memories that changed since they were written: this process is about to lead no more."""
        door = asyncio.Semaphore(SAVES_AT_ONCE)

        async def write(key: FleetKey, memo: Memo, service: InferenceService) -> None:
            async with door:
                manifest = stamped(fleet_config(service, memo.keeping.data()))
                if why := await self._parts.executor.keep(key, memo.uid, manifest):
                    log.warning("%s: its memory is not kept: %s", key, why)

        clock, now = self._clock(), self._wall()
        due = [
            write(key, memo, memo.followed.service)
            for key, memo in self._memos.items()
            if memo.followed.service is not None
            and clock >= memo.keeping.again_at
            and memo.keeping.save(memo.memory, clock, now)
        ]
        await asyncio.gather(*due)

    async def _scaled(self, world: World, memo: Memo, decision: Decision) -> None:
        """Note and tell that the number was written."""
        if (story := news.scaled(decision)) is None:
            return
        key = world.key
        log.info("%s: %s", key, story.message)
        metrics.DECISIONS.labels(key.namespace, key.name, decision.reason).inc()
        if decision.current == 0:
            memo.cold = memo.cold.begun(world.clock)
            metrics.WAKES.labels(key.namespace, key.name).inc()
            if (since := self.news_at.get(key)) is not None:
                metrics.WAKE_SECONDS.observe(self._clock() - since)
        await self._parts.recorder.record(
            world.fleet["metadata"], story.severity, story.reason, story.message
        )

    async def _report(self, facts: Facts, memo: Memo) -> bool:
        """Write the status if it is news. True: there is something small to say later."""
        world = facts.world
        found = findings(facts)
        before: Mapping[str, object] = world.fleet.get("status") or {}
        account = reckoned(memo.account, facts, self._wall().timestamp())
        price = price_of(world.service, memo.keeping.engines, self._parts.prices)
        after = status_of(
            facts,
            found,
            memo.cold,
            cluster_domain=self._parts.build.cluster_domain,
            gateway_tls=self._parts.build.gateway_tls,
            engine=memo.tuner.status(memo.keeping.tuning, world.ready_stats) if world.service else None,
            saved=record(account, price),
            requests=memo.requests,
        )
        metrics.SAVED.set(*world.key, memo.account)
        memo.series = measure(facts, after, memo.cold, memo.series)
        if (tally := world.demand.tally) is not None:
            metrics.counted(*world.key, memo.counted, tally)
            memo.counted = tally
        if not worth_writing(before, after, memo.status_written, world.clock):
            return not same(before, after)
        try:
            answer = await self._parts.executor.write_status(status_manifest(world.fleet, after))
        except ApiError as error:
            if error.status in (404, 409):
                return True  # deleted or recreated meanwhile: the watch brings the news
            raise
        memo.status_written = world.clock
        memo.account = account
        metrics.SAVED.set(*world.key, account)
        if int(answer["metadata"].get("generation") or 0) == world.generation:
            # Otherwise the answer carries a spec that nobody has looked at; the watch will bring it as news.
            self._parts.store.put(FLEETS, answer)
        advice = news.recommended(before, facts.decision)
        stories = (
            *news.transitions(before, found),
            *news.hours(before, after, found),
            *news.requests(before, after),
        )
        for story in stories if advice is None else (*stories, advice):
            await self._parts.recorder.record(
                world.fleet["metadata"], story.severity, story.reason, story.message
            )
        return False

    def _next_look(self, facts: Facts, memo: Memo, flush: bool) -> float | None:
        world, decision = facts.world, facts.decision
        awake = bool(world.pods or facts.desired)
        times = []
        if (keep := memo.keeping.next(memo.memory, asleep=not awake)) is not None:
            times.append(keep)
        # What has our name and is not ours is not watched; what is recommended goes with the passing of time.
        if awake or facts.taken or (decision and decision.recommended):
            times.append(world.clock + AWAKE_LOOK_SECONDS)
        if decision and decision.look_at is not None:
            times.append(decision.look_at)
        if facts.rollout.look_in is not None:
            times.append(world.clock + facts.rollout.look_in)
        if world.hours is not None:
            times.append(world.clock + CLOCK_DOUBT_SECONDS)
        if (due := requests.look_in(world, memo.requests)) is not None:
            times.append(world.clock + min(due, CLOCK_DOUBT_SECONDS))
        if flush:
            times.append(world.clock + REFRESH_SECONDS)
        return min(times, default=None)


def _hardware(world: World, memo: Memo, service: InferenceService, revision: str) -> Hardware | None:
    """What replicas of the revision run on and with, after taking in what their launchers say."""
    keeping = memo.keeping
    keeping.engines = heard(keeping.engines, revision, world.demand.pods.values())
    base = memo.tuner.hardware(service, keeping.engines)
    return None if base is None else in_effect(base, keeping.engines, keeping.tuning.max_num_batched_tokens)


def _data(world: World, keeping: Keeping) -> Mapping[str, str] | None:
    """The texts of the fleet's ConfigMap; None where it is as it should be, or may not be written yet again.

    What is as it should be is left out here, because hashing the memory's text costs half a decision.
    """
    data = keeping.data()
    wanted = data != ((world.config or {}).get("data") or {})
    return data if wanted and world.clock >= keeping.again_at else None
