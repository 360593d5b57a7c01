"""The specification: what a user writes in an InferenceService. Model and engine have their own modules.

The docstring under a field is its description in the CRD, so `kubectl explain isvc.spec` reads these files.
Units are in the names, numbers are integers, everything has a bound: the API server refuses rules whose
cost it cannot bound. A field is here only if something reads it. Fields without a default (`replicas`,
`idleSeconds`, `objectives`, `schedule`, the target of `queueDepth`) mean something by being absent.
"""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from torpor.api import constants
from torpor.api.base import ApiModel, Rule
from torpor.api.engine import Engine
from torpor.api.model import Model
from torpor.api.schedule import Schedule

__all__ = [
    "ColdStart",
    "Engine",
    "InferenceServiceSpec",
    "KvCacheUtilization",
    "MaxOutputTokens",
    "Model",
    "Objectives",
    "QueueDepth",
    "Rollout",
    "Scaling",
    "Schedule",
    "Signals",
    "TimeoutSeconds",
    "Traffic",
]


class QueueDepth(ApiModel):
    """Requests that wait, at the engines and at the gateway."""

    target: Annotated[int, Field(ge=1, le=10_000)] | None = None
    """
    Waiting requests per replica that are fine; above it by more than a tenth replicas are added, at once.
    The gateway sends a replica at most so many requests more than it runs at once, and keeps the rest.
    Absent: 4, and where objectives are given and the capacity of a replica is known, a queue that the
    replicas for the arriving work will have worked off in time adds none.
    """

    @property
    def effective(self) -> int:
        """The target that holds."""
        return constants.DEFAULT_QUEUE_TARGET if self.target is None else self.target


class KvCacheUtilization(ApiModel):
    """How full the engines' KV caches are."""

    target_percent: Annotated[int, Field(ge=1, le=100)] = 80
    """Mean utilization in percent that is fine; above it by more than a tenth replicas are added."""


class Signals(ApiModel):
    """What the number of replicas follows. Each signal gives a number, the largest wins."""

    queue_depth: QueueDepth = QueueDepth()
    """Requests that wait, at the engines and at the gateway."""
    kv_cache_utilization: KvCacheUtilization = KvCacheUtilization()
    """How full the engines' KV caches are."""


class Objectives(ApiModel):
    """How long clients may wait for tokens. Replicas are added before an objective is missed, not after."""

    time_to_first_token_milliseconds: Annotated[int, Field(ge=10, le=600_000)] | None = None
    """
    From a request's arrival to its first token, in milliseconds. Absent: how long a prompt takes bounds
    nothing.
    """
    inter_token_latency_milliseconds: Annotated[int, Field(ge=1, le=60_000)] | None = None
    """
    Mean time between two tokens of an answer, in milliseconds. Absent: how fast an answer flows bounds
    nothing.
    """

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="has(self.timeToFirstTokenMilliseconds) || has(self.interTokenLatencyMilliseconds)",
            message=(
                "must have timeToFirstTokenMilliseconds or interTokenLatencyMilliseconds; add one of the two "
                "or remove the objectives"
            ),
            holds=lambda it: (
                it.time_to_first_token_milliseconds is not None
                or it.inter_token_latency_milliseconds is not None
            ),
        ),
    )


class Scaling(ApiModel):
    """How many replicas, and when none."""

    mode: Literal["Auto", "Recommend", "Paused"] = "Auto"
    """
    Auto: the decided number is followed. Recommend: it is worked out, shown in status.decision and exported,
    and the replicas stay as they are. Paused: nothing is worked out and the replicas stay. In the latter two
    a new fleet starts with minReplicas, and one without replicas refuses requests at once. A number in
    replicas is obeyed in every mode.
    """
    min_replicas: Annotated[int, Field(ge=0, le=1000)] = 0
    """The fewest replicas. 0 lets the fleet sleep."""
    max_replicas: Annotated[int, Field(ge=1, le=1000)] = 1
    """The most replicas."""
    replicas: Annotated[int, Field(ge=0, le=1000)] | None = None
    """
    The scale subresource's field. Absent: Torpor decides. Present (kubectl scale, an HPA, KEDA): this
    number holds regardless of minReplicas and maxReplicas, and the condition ExternallyScaled says so.
    Remove it to hand back.
    """
    signals: Signals = Signals()
    """What the number of replicas follows. Each signal gives a number, the largest wins."""
    objectives: Objectives | None = None
    """
    How long clients may wait for tokens: the fleet has the replicas that keep arriving work within them.
    Absent: no latency is promised, and only the signals and a full fleet bound what a replica carries.
    """
    idle_seconds: Annotated[int, Field(ge=1, le=604_800)] | None = None
    """
    For how long no request may have been waiting or running before the fleet goes to zero, where
    minReplicas is 0. Absent: chosen from the measured cold start and the recorded pauses between requests;
    600 until a cold start was measured.
    """
    schedule: Schedule | None = None
    """Hours and dates with other bounds. Absent: minReplicas and maxReplicas hold at any time."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="!has(self.minReplicas) || !has(self.maxReplicas) || self.minReplicas <= self.maxReplicas",
            message="must not exceed maxReplicas; lower minReplicas or raise maxReplicas",
            holds=lambda it: it.min_replicas <= it.max_replicas,
            field="minReplicas",
        ),
    )


class ColdStart(ApiModel):
    """What happens to requests that arrive while no replica is ready. Limits are per gateway process."""

    response: Literal["Hold", "KeepAlive", "Reject"] = "KeepAlive"
    """
    Hold: wait silently. KeepAlive: streaming requests get SSE comments while they wait, so that proxies do
    not cut them; others wait silently. Reject: 503 with Retry-After at once; the fleet wakes all the same.
    """
    hold_seconds: Annotated[int, Field(ge=1, le=86_400)] = 900
    """The longest a streaming request is held."""
    unary_hold_seconds: Annotated[int, Field(ge=1, le=86_400)] = 300
    """The longest any other request is held; never longer than holdSeconds."""
    max_held_requests: Annotated[int, Field(ge=1, le=100_000)] = 1000
    """The most requests held at once, per gateway process."""
    max_held_mebibytes: Annotated[int, Field(ge=1, le=65_536)] = 256
    """The most memory that the bodies of held requests may take, per gateway process, in MiB."""


def _default_and_maximum() -> tuple[Rule, ...]:
    return (
        Rule(
            cel="has(self.default) || has(self.maximum)",
            message="must have default or maximum; add one of the two or remove the field",
            holds=lambda it: it.default is not None or it.maximum is not None,
        ),
        Rule(
            cel="!has(self.default) || !has(self.maximum) || self.default <= self.maximum",
            message="must not exceed maximum; lower default or raise maximum",
            holds=lambda it: it.default is None or it.maximum is None or it.default <= it.maximum,
            field="default",
        ),
    )


class MaxOutputTokens(ApiModel):
    """How many tokens an answer may have, for each of its choices."""

    default: Annotated[int, Field(ge=1, le=10_000_000)] | None = None
    """
    For requests that do not say how many. Absent: maximum, or where that is absent too whatever the engine
    allows.
    """
    maximum: Annotated[int, Field(ge=1, le=10_000_000)] | None = None
    """The most that a request may ask for; above it the answer is 400. Absent: no ceiling."""

    rules: ClassVar[tuple[Rule, ...]] = _default_and_maximum()


class TimeoutSeconds(ApiModel):
    """How long an engine may work on a request, from when it is first sent to one."""

    default: Annotated[int, Field(ge=1, le=86_400)] | None = None
    """For requests without the header x-request-timeout. Absent: maximum, or no time-out."""
    maximum: Annotated[int, Field(ge=1, le=86_400)] | None = None
    """The most that the header x-request-timeout may ask for; above it the answer is 400."""

    rules: ClassVar[tuple[Rule, ...]] = _default_and_maximum()


class Traffic(ApiModel):
    """How the gateway treats the fleet's requests."""

    cold_start: ColdStart = ColdStart()
    """What happens to requests that arrive while no replica is ready."""
    routing: Literal["PrefixAware", "LeastLoaded"] = "PrefixAware"
    """
    PrefixAware: a request goes to the replica that has computed the beginning of its prompt, unless that one
    has twice the mean of requests. LeastLoaded: always to the one with the fewest requests.
    """
    max_queue_seconds: Annotated[int, Field(ge=0, le=86_400)] = 60
    """
    The longest a request waits at the gateway while all replicas are busy and none is starting; then 429 with
    Retry-After. While one starts, the limits of coldStart apply.
    """
    max_output_tokens: MaxOutputTokens | None = None
    """
    How many tokens an answer may have. A default is added to requests that do not say; nothing else in them
    is changed. Absent: whatever the engine allows.
    """
    timeout_seconds: TimeoutSeconds | None = None
    """
    How long an engine may work on a request; then it is stopped, and the answer is 504 or, in a stream that
    has begun, an error event. What a request waits at the gateway does not count. Absent: no time-out.
    """


class Rollout(ApiModel):
    """How a changed pod template reaches the replicas."""

    strategy: Literal["Auto", "Surge", "InPlace"] = "Auto"
    """
    Surge: start a new replica before an old one stops. InPlace: stop one first, for clusters without a
    spare GPU; requests are held meanwhile. Auto: Surge, and InPlace when the new replica finds no room for
    60 seconds.
    """


class InferenceServiceSpec(ApiModel):
    """The wished-for fleet."""

    model: Model
    """The model: where it comes from and what clients call it."""
    engine: Engine = Engine()
    """The model server that runs in each replica."""
    scaling: Scaling = Scaling()
    """How many replicas, and when none."""
    traffic: Traffic = Traffic()
    """How the gateway treats the fleet's requests."""
    rollout: Rollout = Rollout()
    """How a changed pod template reaches the replicas."""
    drain_seconds: Annotated[int, Field(ge=0, le=86_400)] = 600
    """The longest a stopping replica may take to finish what it runs; then what is left is cut."""
