"""What would change the number: the last part of the account that `status.decision` gives.

A trace says how a number came about; who reads it wants to know what to do about it, or what to wait for.
Each clamp that changed the number has a sentence (`REMEDIES`), each signal names the reading above which it
asks for more, then come silence and the schedule. The sentences hold limits and periods and no countdown:
one that ticks would be a new status with every look.
"""

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Final

from torpor.api import constants as c
from torpor.decide import ClampLine, Decision, Policy, Reading, Standing
from torpor.decide.signals import KV_CACHE_UTILIZATION, QUEUE_DEPTH, TOLERANCE

Remedy = Callable[[ClampLine, Decision, Policy], str]

REMEDIES: Final[Mapping[str, Remedy]] = MappingProxyType(
    {
        "QueueDrains": lambda line, *_: f"a queue that lasts longer than planned lets {line.before} follow",
        "Forecast": lambda line, *_: (
            f"when no more than {line.before} are foreseen, {line.before} are enough"
        ),
        "UnknownNeverLowers": lambda line, *_: f"with every signal known {line.before} would follow",
        "PartialView": lambda line, *_: (
            f"with every replica and gateway reporting {line.before} would follow"
        ),
        "Stabilization": lambda line, decision, _: (
            f"{_window(decision)} in which no more than {line.before} are needed let {line.before} follow"
        ),
        "PendingCredit": lambda line, _, policy: (
            f"once the starting replicas are ready, or {policy.credit_seconds:.0f} s old, "
            f"{line.before} would follow"
        ),
        "Wake": lambda *_: "",  # silence, below, says how it ends
        "WouldBeAwake": lambda *_: "",
        "IdleToZero": lambda *_: "",
        "Prewarm": lambda line, *_: f"when no request is foreseen within a cold start, {line.before} follow",
        c.SLEEP_REQUESTED: lambda *_: "",
        c.WAKE_REQUESTED: lambda *_: "",
        "AllFailing": lambda line, *_: f"once a replica answers, {line.before} would follow",
        "ScheduleUnknown": lambda line, *_: (
            f"with time-zone data in the operator's image {line.before} follow"
        ),
        "Rollout": lambda line, *_: f"when the rollout has ended, {line.before} would follow",
        "MinReplicas": lambda line, *_: f"a lower spec.scaling.minReplicas lets it go down to {line.before}",
        "ScheduleFloor": lambda line, *_: (
            f"a lower minReplicas of what the schedule has open lets it go down to {line.before}"
        ),
        "MaxReplicas": lambda line, *_: f"a higher spec.scaling.maxReplicas lets it go up to {line.before}",
        "ScheduleCeiling": lambda line, *_: (
            f"a higher maxReplicas of what the schedule has open lets it go up to {line.before}"
        ),
        c.RECOMMEND: lambda line, *_: f"spec.scaling.mode Auto makes it {line.before}",
        c.PAUSED: lambda *_: "",
        "ExternalOwner": lambda line, decision, policy: (
            f"without spec.scaling.replicas it is {line.before}"
            + ("" if policy.mode == c.AUTO else f", kept by the mode {policy.mode}")
        ),
    }
)


def prospects(decision: Decision, policy: Policy) -> list[str]:
    """Return the sentences without full stops, the most telling first."""
    told = [*_clamps(decision, policy), *_signals(decision), *_arrivals(decision)]
    told += [*_silence(decision, policy), *_hours(policy)]
    return list(dict.fromkeys(sentence for sentence in told if sentence))


def _clamps(decision: Decision, policy: Policy) -> Iterator[str]:
    if policy.mode == c.PAUSED:
        yield "spec.scaling.mode Auto or Recommend works out a number again"
    for line in reversed(decision.clamps):
        remedy = REMEDIES.get(line.name)
        if remedy is not None:
            yield remedy(line, decision, policy)


def _signals(decision: Decision) -> Iterator[str]:
    for reading in decision.signals:
        if reading.raw is None:
            yield f"{reading.name} has no say until it is known"
        elif decision.current > 0:
            yield f"{reading.name} above {_limit(reading)} per replica asks for more"


def _arrivals(decision: Decision) -> Iterator[str]:
    """The border of the arriving work in requests, for people who know their traffic in no other unit."""
    basis, number = decision.basis, decision.recommended or 0
    if basis is None or basis.need is None or number == 0 or number >= basis.ceiling:
        return
    if basis.requests and basis.need.total > 0:
        most = basis.requests * basis.need.rho * number / basis.need.total
        yield f"more than about {most:.2g} requests/s such as now ask for more than {number}"


def _limit(reading: Reading) -> str:
    if reading.name == KV_CACHE_UTILIZATION:
        return f"{min(100.0, reading.target * 100 * (1 + TOLERANCE)):.3g} %"
    return f"{reading.target * (1 + TOLERANCE if reading.name == QUEUE_DEPTH else 1):.3g}"


def _silence(decision: Decision, policy: Policy) -> Iterator[str]:
    basis = decision.basis
    if basis is None:  # paused: nothing happens by itself
        return
    followed = policy.mode == c.AUTO and policy.external is None
    recommended = decision.recommended or 0
    if recommended > max(1, basis.floor):
        does = "take the others away" if followed else "lower what is recommended"
        yield f"{_window(decision)} in which fewer are needed {does}"
    if recommended > 0 and basis.floor == 0 and not policy.closed:
        does = "take the last one away" if followed else "make what is recommended 0"
        yield f"{basis.idle:.0f} s without any request {does}"
    wakes = "a request wakes it" if followed else "a request makes it recommend a wake"
    if recommended == 0 and basis.ceiling > 0:
        yield wakes
    if recommended == 0 and policy.closed and policy.standing and not policy.standing.refuse_when_closed:
        yield f"{wakes} in spite of the closed hours"


def _hours(policy: Policy) -> Iterator[str]:
    standing = policy.schedule
    if not isinstance(standing, Standing) or standing.after is None:
        return
    floor, ceiling = standing.after.limits.floor, standing.after.limits.ceiling
    bounds = [f"at least {floor}"] if floor is not None else []
    bounds += [f"at most {ceiling}"] if ceiling is not None else []
    asks = " and ".join(bounds) or "nothing of its own"
    yield f"from {standing.until_text} on the schedule ({standing.after.told}) asks for {asks}"


def _window(decision: Decision) -> str:
    return f"{decision.basis.window:.0f} s" if decision.basis else "a window"
