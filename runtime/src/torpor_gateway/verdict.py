"""What a request is told that cannot be sent to a pod right now: wait, or a refusal that is true.

The table of states, as one pure function. The fleet is *busy* (pods are ready, all have enough), *growing*
(busy, and one more is starting within its credit) or *cold* (no pod is ready). Waiting has a limit that
belongs to the state: who waits for a wake waits longer than who waits for a slot, and a change of the state
starts a fresh limit.

The jitter is an argument, and so is the time: the same world gives the same answer.
"""

from dataclasses import dataclass
from enum import Enum

from torpor.api import constants

from torpor_gateway.answers import Refusal
from torpor_gateway.later import JITTER, jittered
from torpor_gateway.policy import Condition, FleetSpec, Policy

# Where no cold start was measured yet, for Retry-After only: nothing is refused because of it.
UNMEASURED_COLD_START_SECONDS = 60.0

# Who is refused in closed hours comes back at the opening and not hours after it.
OPENING_JITTER_SECONDS = 60.0
UNKNOWN_OPENING_SECONDS = 3600.0  # for Retry-After where the schedule has no opening


class Regime(Enum):
    """Why a request cannot be sent now."""

    COLD = "cold"
    GROWING = "growing"
    BUSY = "busy"


@dataclass(frozen=True, slots=True)
class Situation:
    """A fleet at one moment. `cold_for`: seconds since a request found it without a pod; None: none did.
    `gone_in`: seconds in which those who wait will have gone to pods, as fast as they go now; None: unknown.
    """

    ready: int
    starting: int
    waiting: int
    waiting_bytes: int
    cold_for: float | None = None
    gone_in: float | None = None

    @property
    def regime(self) -> Regime:
        """The state that the limits go by."""
        if self.ready == 0:
            return Regime.COLD
        return Regime.GROWING if self.starting else Regime.BUSY


@dataclass(frozen=True, slots=True)
class Wait:
    """Wait here, for at most `seconds`; `comments` keep a stream alive, `at_once` or after an interval."""

    seconds: float
    comments: bool
    at_once: bool


def judge(
    spec: FleetSpec, now: Situation, *, stream: bool, size: int, unix_time: float, jitter: float
) -> Wait | Refusal:
    """Decide for a request of `size` bytes. `jitter` is in 0..1."""
    regime = now.regime
    if regime is Regime.COLD:
        refusal = _cannot_wake(spec, unix_time, jitter)
        if refusal:
            return refusal
        if spec.policy.response == constants.RESPONSE_REJECT:
            return _later(spec, now, f"{spec.key} is asleep and now waking", jitter)
    policy = spec.policy
    if now.waiting >= policy.max_held_requests or now.waiting_bytes + size > policy.max_held_bytes:
        what = f"{now.waiting} requests ({now.waiting_bytes} bytes) are waiting for {spec.key} already"
        return _later(spec, now, what, jitter)
    wait = limits(policy, regime, stream=stream)
    if regime is Regime.COLD and spec.status.cold_start_seconds is not None:
        expected = expected_wake(spec, now)
        if expected > wait.seconds:
            limit = f"{wait.seconds:.0f} s"
            what = f"{spec.key} needs about {expected:.0f} s to wake, a request may wait {limit}"
            return _later(spec, now, what, jitter)
    return wait


def limits(policy: Policy, regime: Regime, *, stream: bool) -> Wait:
    """Return how long a request that has a place may wait in `regime`, and how."""
    if regime is Regime.BUSY:
        return Wait(policy.max_queue_seconds, comments=False, at_once=False)
    comments = stream and policy.response == constants.RESPONSE_KEEP_ALIVE
    seconds = policy.hold_seconds if stream else min(policy.unary_hold_seconds, policy.hold_seconds)
    return Wait(seconds, comments=comments, at_once=regime is Regime.COLD)


def too_late(spec: FleetSpec, now: Situation, *, waited: float, unix_time: float, jitter: float) -> Refusal:
    """Answer a request whose limit has passed, with the reason of the condition where there is one."""
    if now.regime is Regime.COLD:
        refusal = _cannot_wake(spec, unix_time, jitter)
        if refusal:
            return refusal
        failure = spec.status.failure()
        if failure:  # another attempt is under way; why the last one failed is what is known
            told = _failure_text(spec, failure)
            return _refuse(503, failure.reason, told, expected_wake(spec, now), jitter)
        return _later(spec, now, f"{spec.key} did not wake within {waited:.0f} s", jitter)
    return _later(spec, now, f"every replica of {spec.key} stayed busy for {waited:.0f} s", jitter)


def gave_way(spec: FleetSpec, now: Situation, *, jitter: float) -> Refusal:
    """Answer a request that waited, and whose place in a full line went to another."""
    what = (
        f"{now.waiting} requests are waiting for {spec.key}, and this one gave up its place to one of higher "
        "priority or of a key that keeps fewer there"
    )
    return _later(spec, now, what, jitter)


def expected_wake(spec: FleetSpec, now: Situation) -> float:
    """Return the seconds until a waking fleet is expected to answer: its cold start less what has passed.

    A wake that takes longer than measured is expected to take a tenth more, so that nobody is told to hammer.
    """
    total = spec.status.cold_start_seconds
    if total is None:
        total = UNMEASURED_COLD_START_SECONDS
    return max(1.0, total / 10, total - (now.cold_for or 0.0))


def _cannot_wake(spec: FleetSpec, unix_time: float, jitter: float) -> Refusal | None:
    if spec.externally_at_zero:
        message = f"{spec.key} is scaled to zero by spec.scaling.replicas; set or remove the field to wake it"
        return _refuse(
            503, constants.SCALED_TO_ZERO_EXTERNALLY, message, UNMEASURED_COLD_START_SECONDS, jitter
        )
    if spec.kept_at_zero:
        message = (
            f"{spec.key} has no replicas and spec.scaling.mode is {spec.mode}; set it to Auto to wake it"
        )
        return _refuse(503, spec.mode, message, UNMEASURED_COLD_START_SECONDS, jitter)
    closed = spec.status.closed(unix_time)
    if closed:
        opens = spec.status.opens
        wait = UNKNOWN_OPENING_SECONDS if opens is None else max(1.0, opens - unix_time)
        late = min(wait * JITTER, OPENING_JITTER_SECONDS) * jitter
        return Refusal(503, closed.reason, f"{spec.key} is {closed.message}", retry_after=wait + late)
    failure = spec.status.failure()
    if failure:
        next_attempt = spec.status.next_attempt
        if failure.reason == constants.SPEC_INVALID or next_attempt is None or next_attempt > unix_time:
            wait = UNMEASURED_COLD_START_SECONDS if next_attempt is None else next_attempt - unix_time
            return _refuse(503, failure.reason, _failure_text(spec, failure), wait, jitter)
    return None


def _failure_text(spec: FleetSpec, failure: Condition) -> str:
    return f"{spec.key} cannot wake: {failure.message or failure.reason}"


def _later(spec: FleetSpec, now: Situation, what: str, jitter: float) -> Refusal:
    if now.regime is Regime.BUSY:
        return _refuse(429, "QueueFull", what, _expected_room(spec, now), jitter)
    wake = expected_wake(spec, now)
    if now.regime is Regime.GROWING and now.gone_in is not None:
        wake = min(wake, now.gone_in)  # those who are there already may be enough
    return _refuse(503, constants.WAKING, what, wake, jitter)


def _expected_room(spec: FleetSpec, now: Situation) -> float:
    """Return the seconds until those who wait now will have gone: to a pod, or because their limit passed."""
    limit = max(1.0, spec.policy.max_queue_seconds)
    return min(limit, 10.0, max(1.0, limit / 4)) if now.gone_in is None else min(limit, now.gone_in)


def _refuse(status: int, code: str, message: str, wait: float, jitter: float) -> Refusal:
    return Refusal(status, code, message, retry_after=jittered(max(1.0, wait), jitter))


def out_of_time(spec: FleetSpec, seconds: float) -> Refusal:
    """The end of a request whose engines took longer than the `seconds` that it may."""
    message = (
        f"the answer took longer than {seconds:g} s, the time-out of this request at {spec.key}; ask for "
        "less, or for more time with x-request-timeout"
    )
    # The same request would take as long again.
    return Refusal(504, "RequestTimeout", message, headers=b"x-should-retry: false\r\n")
