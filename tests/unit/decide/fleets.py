"""A fleet of made-up engines that answer as the closed form says, for tests that need weeks in seconds."""

import dataclasses
import math

from torpor.decide import Demand, Engine, Memory, Observation, Policy, Tally, decide
from torpor.decide.hardware import TABLE
from torpor.decide.samples import Counters
from torpor.decide.work import Mix, Objectives, operating, work_ms

MONDAY = 1_767_571_200.0  # UTC seconds
HARDWARE = TABLE["llama-3-70b-fp8", "h100", 4]
MIX = Mix(prompt=1000.0, output=200.0)
POLICY = Policy(
    min_replicas=0,
    max_replicas=20,
    queue_target=4,
    kv_target=0.8,
    idle_seconds=None,
    window_seconds=120,
    credit_seconds=240,
    objectives=Objectives(2000, 50),
    hardware=HARDWARE,
    cold_start=120.0,
    revision="a",
)


def office(seconds):
    """Requests per second at a local time: nothing at night, a hill from eight to eight on every day."""
    hour = seconds / 3600 % 24
    return 40.0 * math.sin(math.pi * (hour - 8) / 12) if 8 < hour < 20 else 0.0


class Office:
    """Looks at a fleet whose requests come at `rate(seconds)`, evenly, and whose replicas are ready a cold
    start after they are asked for. slow: how much slower its engines are than the policy's hardware says.
    """

    def __init__(  # noqa: PLR0917
        self, policy=POLICY, memory=None, rate=office, start=0.0, slow=1.0, missed=0.01
    ):
        self.missed = missed  # share of the requests that miss an objective; None: nobody judges
        self.policy, self.memory, self.rate, self.slow = policy, memory or Memory(), rate, slow
        self.now, self.clock = start, 1000.0  # of the fleet since Monday, and monotonic
        self.born: list[float] = []
        self.boots: list[int] = []
        self.counters = {}
        self.arrivals = self.held = 0.0
        self.names = 0
        self.decision = None

    @property
    def replicas(self):
        return len(self.born)

    def live(self, seconds, every=10.0):
        for _ in range(int(seconds // every)):
            self.look(every)
        return self.replicas

    def look(self, after=10.0, **changes):
        self.now, self.clock = self.now + after, self.clock + after
        came = self.rate(self.now) * after
        self.arrivals += came
        observation = self.observation(came, after)
        if changes:
            observation = self.changed(observation, changes)
        self.decision, self.memory = decide(observation, self.policy, self.memory, self.clock)
        self._apply(self.decision.replicas)
        return self.replicas

    @staticmethod
    def changed(observation, changes):
        return dataclasses.replace(observation, **changes)

    def ready(self):
        return [name for name, born in zip(self.boots, self.born, strict=True) if self.now - born >= 120.0]

    def observation(self, came, after):
        ready = self.ready()
        if ready:
            served, self.held = came + self.held, 0.0
        else:
            served, self.held = 0.0, self.held + came
        engines = []
        for name, born in zip(self.boots, self.born, strict=True):
            up = name in ready
            share = served / max(len(ready), 1)
            engines.append(self._engine(str(name), born, share if up else None, after))
        whole = self.arrivals - self.held
        demand = Demand(
            held=self.held,
            queued=0.0,
            in_flight=float(bool(served)),
            arrivals=math.ceil(self.arrivals),
            complete=True,
            gap="",
            tally=Tally(
                self.arrivals,
                self.arrivals * MIX.prompt,
                whole,
                whole * MIX.output,
                whole * MIX.prompt**2,
                whole * MIX.output**2,
                whole * MIX.prompt * MIX.output,
                judged=0.0 if self.missed is None else whole,
                missed=whole * (self.missed or 0.0),
            ),
        )
        return Observation(self.replicas, tuple(engines), demand, wall=MONDAY + self.now)

    def _engine(self, name, born, share, after):
        if share is None:
            return Engine(name, ready=False, age=self.now - born)
        rho = min(0.95, share / after * work_ms(HARDWARE, MIX) / 1000)
        at = operating(HARDWARE, MIX, rho)
        step = at.step_ms * self.slow
        running = share / after * MIX.output * step / 1000
        old = self.counters.get(name, (0.0, 0.0, 0.0))
        tokens = share * MIX.output
        new = (old[0] + tokens, old[1] + share * MIX.prompt, old[2] + tokens * step / 1000)
        self.counters[name] = new
        kv = running * (MIX.prompt + MIX.output / 2)
        report = Counters(
            name, "boot", self.clock, running, 0.0, kv, new[0], new[1], 0.0, gaps=new[0], gap_seconds=new[2]
        )
        return Engine(
            name,
            ready=True,
            age=self.now - born,
            running=running,
            waiting=0.0,
            kv=min(1.0, kv / HARDWARE.kv_tokens),
            max_num_seqs=HARDWARE.max_num_seqs,
            counters=report,
        )

    def _apply(self, number):
        while len(self.born) < number:
            self.names += 1
            self.boots.append(self.names)
            self.born.append(self.now)
        del self.born[number:], self.boots[number:]
