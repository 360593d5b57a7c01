"""Replicas for what is foreseen: the forecast of work over the cold start, turned into numbers.

A replica that is ordered now helps after a cold start, so what counts is the largest work rate until then.
For a fleet that is awake the answer is the number that carries that rate, and it only ever raises. For one
that sleeps a forecast is hardly ever exactly zero, and waking for a hair of it would keep every fleet up at
night: there the question is economics', whether a request is likely enough to be worth the idling, and only
then how many replicas it and those after it need.
"""

from dataclasses import dataclass

from torpor.decide import economics
from torpor.decide.forecast import forecast
from torpor.decide.known import Known
from torpor.decide.observation import Observation, Policy
from torpor.decide.quick import quick
from torpor.decide.values import Unknown, measured
from torpor.decide.work import Need, need
from torpor.decide.work_rate import Load, Model, arriving, replicas_for


@quick
@dataclass(frozen=True, slots=True)
class Ahead:
    """What is foreseen. replicas: that it needs, with the replicas asked for now kept where one fewer would
    be short; None: nothing is foreseen. reason: of the forecast. asleep: to which a sleeping fleet wakes, 0:
    it sleeps on. rate: work, in replicas kept busy. needed: replicas for it. chance: of a request within the
    cold start of so many seconds, where that was asked and is known.
    """

    replicas: int | None
    reason: str
    asleep: int = 0
    rate: float = 0.0
    needed: int = 0
    chance: float | None = None
    cold_start: float = 0.0

    @property
    def told(self) -> str:
        """A sentence without a full stop, or why nothing is foreseen. Made when it is read: at most looks it
        is not.
        """
        if self.replicas is None:
            return self.reason
        told = (
            f"work for {self.rate:.2f} busy replicas is foreseen in {self.reason}; {self.needed} needed "
            f"with room for chance"
        )
        if self.asleep and self.chance is not None:
            told += f"; a request within the next {self.cold_start:.0f} s has a chance of {self.chance:.0%}"
        return told


def look_ahead(
    known: Known, load: Load | None, observation: Observation, policy: Policy, idle_for: float | None
) -> Ahead:
    """Return what is foreseen over the measured cold start. idle_for: seconds of silence, None where there is
    none or it was not watched.
    """
    model, wall, cold_start = known.model, observation.wall, policy.cold_start
    if model is None or load is None:
        return Ahead(None, "arriving work is no signal here")
    if wall is None:
        return Ahead(None, "the time of day is not known")
    if cold_start is None:
        return Ahead(None, "no cold start was measured yet")
    requests, prompts = measured(load.requests), measured(load.prompt_tokens, high=1e12)
    present = (
        Unknown("arrivals are not known")
        if isinstance(requests, Unknown) or isinstance(prompts, Unknown)
        else arriving(model, requests, prompts)
    )
    answer = forecast(known.track, wall, present)
    if answer.rate is None:
        return Ahead(None, answer.reason)
    found = _need(answer.rate, model)
    replicas = replicas_for(found, observation.replicas, proven=model.proven)
    asleep, likely = 0, None
    if observation.replicas == 0 or idle_for is not None:
        per_request = model.capacity.work_ms * model.ratio / 1000.0
        expected = (answer.expected or 0.0) / per_request * cold_start
        chance = economics.request_chance(known.pauses.asleep, idle_for or 0.0, cold_start, expected)
        asleep = economics.prewarm(float(found.replicas), chance)
        likely = None if isinstance(chance, Unknown) else chance
    return Ahead(replicas, answer.reason, asleep, answer.rate, found.replicas, likely, cold_start)


def _need(rate: float, model: Model) -> Need:
    return need(
        rate * 1000.0,
        0.0,
        model.capacity.work_ms * model.ratio,
        reached=model.capacity,
        spread=model.mix.spread,
        burst=model.burst,
        staffing=model.staffing,
    )
