"""What a fleet wants and how it is doing, as the gateway understands it: plain frozen values.

They come from an InferenceService (`from_object`) or from a file (`static`). An object that the gateway
cannot read in part is read with the defaults in that part: the operator reports what is wrong with it, and
the gateway goes on routing to what runs.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from torpor.api import constants, names
from torpor.api.names import FleetKey

from torpor_gateway.bounds import UNBOUNDED, Bounds, read_bounds


@dataclass(frozen=True, slots=True)
class Policy:
    """The fields of `spec` that concern the gateway, with the API's defaults."""

    response: str = constants.RESPONSE_KEEP_ALIVE
    hold_seconds: float = 900
    unary_hold_seconds: float = 300
    max_held_requests: int = 1000
    max_held_bytes: int = 256 << 20
    max_queue_seconds: float = 60
    queue_depth_target: int = constants.DEFAULT_QUEUE_TARGET
    startup_seconds: float = 1800
    ttft_objective: float | None = None  # seconds to the first token; None: none was given
    itl_objective: float | None = None  # seconds between two tokens
    bounds: Bounds = UNBOUNDED
    routing: str = constants.ROUTING_PREFIX_AWARE


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition of the object's status."""

    status: str
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class FleetStatus:
    """The fields of `status` that concern the gateway. Seconds; `next_attempt` and `opens` are Unix times."""

    conditions: Mapping[str, Condition] = field(default_factory=dict)
    desired_replicas: int | None = None
    cold_start_seconds: float | None = None
    next_attempt: float | None = None
    opens: float | None = None

    def failure(self) -> Condition | None:
        """Return why the fleet cannot wake, if the operator says that it cannot."""
        ready = self.conditions.get(constants.READY)
        if (
            ready
            and ready.status == "False"
            and ready.reason in (constants.WAKE_FAILED, constants.SPEC_INVALID)
        ):
            return ready
        return None

    def closed(self, unix_time: float) -> Condition | None:
        """Return the condition that says that the schedule keeps the fleet closed and requests are refused.

        Past the opening it is old news, for instance because no operator is there to tell.
        """
        ready = self.conditions.get(constants.READY)
        if ready and ready.reason == constants.CLOSED and (self.opens is None or unix_time < self.opens):
            return ready
        return None


@dataclass(frozen=True, slots=True)
class FleetSpec:
    """One fleet as it should be. `models` are the names its engines serve, the bare one first."""

    key: FleetKey
    uid: str
    models: tuple[str, ...]
    policy: Policy = Policy()
    status: FleetStatus = FleetStatus()
    created: str = ""
    external_replicas: int | None = None
    mode: str = constants.AUTO
    min_replicas: int = 0

    @property
    def externally_at_zero(self) -> bool:
        """Whether someone else than Torpor has set the fleet to no replicas."""
        return self.external_replicas == 0

    @property
    def kept_at_zero(self) -> bool:
        """Whether the mode keeps the fleet as it is, and it has no replica and will get none.

        The mode is that of the spec, so that it holds from the moment it is written; whether a replica is
        wanted is the operator's word, and minReplicas' for a fleet that it has not looked at yet.
        """
        if self.mode == constants.AUTO or self.external_replicas is not None:
            return False
        wanted = self.status.desired_replicas
        return (self.min_replicas if wanted is None else wanted) == 0

    def stays_asleep(self, unix_time: float) -> bool:
        """Whether no request wakes the fleet."""
        return self.externally_at_zero or self.kept_at_zero or self.status.closed(unix_time) is not None


def _number(value: Any, default: float, low: float = 0) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not value >= low:
        return default
    return value


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _decimal(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if 0 <= number < float("inf") else None


def _unix(value: Any) -> float | None:
    try:
        return datetime.fromisoformat(value).timestamp()
    except (TypeError, ValueError):
        return None


def read_policy(
    traffic: Mapping[str, Any],
    queue_depth_target: Any = None,
    startup_seconds: Any = None,
    ttft_milliseconds: Any = None,
    itl_milliseconds: Any = None,
) -> Policy:
    """Read `spec.traffic`; what is absent or unusable is the default."""
    base = Policy()
    cold = _mapping(traffic.get("coldStart"))
    response = cold.get("response")
    known = (constants.RESPONSE_HOLD, constants.RESPONSE_KEEP_ALIVE, constants.RESPONSE_REJECT)
    return Policy(
        response=response if response in known else base.response,
        hold_seconds=_number(cold.get("holdSeconds"), base.hold_seconds),
        unary_hold_seconds=_number(cold.get("unaryHoldSeconds"), base.unary_hold_seconds),
        max_held_requests=int(_number(cold.get("maxHeldRequests"), base.max_held_requests)),
        max_held_bytes=int(_number(cold.get("maxHeldMebibytes"), base.max_held_bytes >> 20)) << 20,
        max_queue_seconds=_number(traffic.get("maxQueueSeconds"), base.max_queue_seconds),
        queue_depth_target=int(_number(queue_depth_target, base.queue_depth_target)),
        startup_seconds=_number(startup_seconds, base.startup_seconds, 1),
        ttft_objective=_number(ttft_milliseconds, 0) / 1000 or None,
        itl_objective=_number(itl_milliseconds, 0) / 1000 or None,
        bounds=read_bounds(traffic),
        routing=(
            constants.ROUTING_LEAST_LOADED
            if traffic.get("routing") == constants.ROUTING_LEAST_LOADED
            else base.routing
        ),
    )


def from_object(item: Mapping[str, Any]) -> FleetSpec:
    """Read an InferenceService as the API server sends it."""
    meta, spec, status = (_mapping(item.get(part)) for part in ("metadata", "spec", "status"))
    key = FleetKey(str(meta.get("namespace", "")), str(meta.get("name", "")))
    scaling = _mapping(spec.get("scaling"))
    model = names.model_name(key.name, _mapping(spec.get("model")).get("name"))
    cold = _mapping(status.get("coldStart"))
    conditions = {
        str(entry.get("type")): Condition(
            str(entry.get("status", "")), str(entry.get("reason", "")), str(entry.get("message", ""))
        )
        for entry in status.get("conditions") or ()
        if isinstance(entry, Mapping)
    }
    queue_depth = _mapping(_mapping(scaling.get("signals")).get("queueDepth"))
    replicas, desired = scaling.get("replicas"), status.get("desiredReplicas")
    mode = scaling.get("mode")
    return FleetSpec(
        key=key,
        uid=str(meta.get("uid", "")),
        models=names.served_names(key.namespace, model),
        created=str(meta.get("creationTimestamp", "")),
        policy=read_policy(
            _mapping(spec.get("traffic")),
            queue_depth.get("target"),
            _mapping(spec.get("engine")).get("startupSeconds"),
            _mapping(scaling.get("objectives")).get("timeToFirstTokenMilliseconds"),
            _mapping(scaling.get("objectives")).get("interTokenLatencyMilliseconds"),
        ),
        status=FleetStatus(
            conditions=conditions,
            desired_replicas=desired if isinstance(desired, int) else None,
            cold_start_seconds=_decimal(cold.get("p95Seconds")) or _decimal(cold.get("lastSeconds")),
            next_attempt=_unix(cold.get("nextAttemptTime")),
            opens=_unix(_mapping(status.get("schedule")).get("opensTime")),
        ),
        external_replicas=replicas if isinstance(replicas, int) else None,
        mode=mode if mode in (constants.RECOMMEND, constants.PAUSED) else constants.AUTO,
        min_replicas=int(_number(scaling.get("minReplicas"), 0)),
    )
