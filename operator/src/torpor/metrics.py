"""The operator's own metrics, in the words of the conditions and the decision.

Per fleet there is one series of each kind and it goes when the fleet goes: a dashboard must not show ghosts.
Reasons are labels because their number is small and fixed; messages are not. Requests and tokens are those
that the decisions are made of: what this process heard of all gateways since it began to listen, so that a
number of replicas can be checked against its cause. Each gateway has its own, from its own beginning.
"""

import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

if TYPE_CHECKING:  # the command line comes by here too, and must not wait for what decides
    from torpor.api.saved import Account
    from torpor.decide.observation import Tally

REGISTRY = CollectorRegistry(auto_describe=True)
FLEET = ("namespace", "name")

LOOK_SECONDS = Histogram(
    "torpor_operator_look_seconds", "Time of one look at a fleet, writes included.", registry=REGISTRY,
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)  # fmt: skip
WAKE_SECONDS = Histogram(
    "torpor_operator_wake_seconds", "From the news of a held request to the scale write.", registry=REGISTRY,
    buckets=(0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.15, 0.25, 0.5, 1, 5),
)  # fmt: skip
LOOK_FAILURES = Counter(
    "torpor_operator_look_failures", "Looks that failed and are repeated.", ["cause"], registry=REGISTRY
)
# The causes that are no status of the API server. A rate needs the zero before the first one.
for _cause in ("conflict", "internal", "refused", "unreachable"):
    LOOK_FAILURES.labels(_cause)
QUEUE_DEPTH = Gauge("torpor_operator_queue_depth", "Fleets that wait for a look.", registry=REGISTRY)
WRITES = Counter("torpor_operator_writes", "Writes to the API server.", ["kind"], registry=REGISTRY)
LEADER = Gauge("torpor_operator_leader", "1 in the process that holds the lease.", registry=REGISTRY)
WATCH_AGE = Gauge(
    "torpor_operator_watch_age_seconds",
    "Since a kind of object was last known in full.",
    ["kind"],
    registry=REGISTRY,
)
WATCH_MISSED = Counter(
    "torpor_operator_watch_missed", "Objects about which a list brought news that no watch had.", ["kind"],
    registry=REGISTRY,
)  # fmt: skip
GATEWAY_STREAMS = Gauge(
    "torpor_operator_gateway_streams", "Demand streams by state.", ["state"], registry=REGISTRY
)

DESIRED = Gauge(
    "torpor_fleet_desired_replicas", "Replicas that hold: decided, kept or set.", FLEET, registry=REGISTRY
)
RECOMMENDED = Gauge(
    "torpor_fleet_recommended_replicas",
    "Replicas that Torpor alone would ask for; absent where it does not work them out.",
    FLEET,
    registry=REGISTRY,
)
READY = Gauge("torpor_fleet_ready_replicas", "Replicas that answer.", FLEET, registry=REGISTRY)
MODE = Gauge("torpor_fleet_mode", "1 for the mode that holds.", [*FLEET, "mode"], registry=REGISTRY)
SIGNAL = Gauge(
    "torpor_fleet_signal",
    "What a signal said, per replica; absent while unknown.",
    [*FLEET, "signal"],
    registry=REGISTRY,
)
SIGNAL_TARGET = Gauge(
    "torpor_fleet_signal_target", "What a signal is compared with.", [*FLEET, "signal"], registry=REGISTRY
)
SIGNAL_REPLICAS = Gauge(
    "torpor_fleet_signal_replicas",
    "Replicas that a signal alone asks for; absent while unknown.",
    [*FLEET, "signal"],
    registry=REGISTRY,
)
CLAMP = Gauge(
    "torpor_fleet_clamp_replicas",
    "By how many replicas a rule changed the number at the last decision; absent where it did not.",
    [*FLEET, "clamp"],
    registry=REGISTRY,
)
DECISION = Gauge(
    "torpor_fleet_decision", "1 for the reason of the last decision.", [*FLEET, "reason"], registry=REGISTRY
)
SCHEDULE_CLOSED = Gauge(
    "torpor_fleet_schedule_closed",
    "1 while the schedule allows no replica, else 0.",
    FLEET,
    registry=REGISTRY,
)
SCHEDULE_FLOOR = Gauge(
    "torpor_fleet_schedule_min_replicas",
    "The fewest replicas that the schedule asks for now.",
    FLEET,
    registry=REGISTRY,
)
SCHEDULE_CEILING = Gauge(
    "torpor_fleet_schedule_max_replicas",
    "The most replicas that the schedule allows now.",
    FLEET,
    registry=REGISTRY,
)
SCHEDULE_NEXT = Gauge(
    "torpor_fleet_schedule_next_transition_timestamp_seconds",
    "When the schedule allows something else, Unix time; absent where it never does.",
    FLEET,
    registry=REGISTRY,
)
DECISIONS = Counter(
    "torpor_fleet_decisions", "Changes of the number of replicas.", [*FLEET, "reason"], registry=REGISTRY
)
WAKES = Counter("torpor_fleet_wakes", "Times the fleet was woken.", FLEET, registry=REGISTRY)
ARRIVALS = Counter(
    "torpor_fleet_arrivals", "Requests that wanted the fleet, repeats of clients left out.", FLEET,
    registry=REGISTRY,
)  # fmt: skip
COMPLETED = Counter("torpor_fleet_completed", "Requests that were answered whole.", FLEET, registry=REGISTRY)
TOKENS = Counter(
    "torpor_fleet_tokens", "Tokens of the prompts that arrived and of the answers that were completed.",
    [*FLEET, "kind"], registry=REGISTRY,
)  # fmt: skip
OBJECTIVES = Counter(
    "torpor_fleet_objectives", "Requests held against the fleet's objectives of latency.", [*FLEET, "result"],
    registry=REGISTRY,
)  # fmt: skip
COLD_START_SECONDS = Gauge(
    "torpor_fleet_cold_start_seconds", "The last cold start.", FLEET, registry=REGISTRY
)
COLD_START_P95_SECONDS = Gauge(
    "torpor_fleet_cold_start_p95_seconds",
    "Seconds within which 95 of 100 of the last cold starts ended.",
    FLEET,
    registry=REGISTRY,
)
COLD_START_PHASE_SECONDS = Gauge(
    "torpor_fleet_cold_start_phase_seconds",
    "The phases of the last cold start, as its launcher told them.",
    [*FLEET, "phase"],
    registry=REGISTRY,
)
WORK = Gauge(
    "torpor_fleet_work_replicas",
    "Replicas that the work which arrives now would keep busy; absent where it is no signal or not known.",
    FLEET,
    registry=REGISTRY,
)
FORECAST = Gauge(
    "torpor_fleet_forecast_work_replicas",
    "The same for the busiest minute that is foreseen within a cold start; absent where nothing is foreseen.",
    FLEET,
    registry=REGISTRY,
)
HOLD_LIMIT_SECONDS = Gauge(
    "torpor_fleet_hold_limit_seconds",
    "How long a request may wait for a wake, by kind: stream or unary.",
    [*FLEET, "kind"],
    registry=REGISTRY,
)
PREFILL_BUDGET = Gauge(
    "torpor_fleet_prefill_budget_tokens",
    "Tokens of one step that engines are started with; absent where the fleet sets none.",
    FLEET,
    registry=REGISTRY,
)
PRICE = Gauge(
    "torpor_fleet_price_per_gpu_hour",
    "What an hour of one of the fleet's GPUs costs; absent where the installation gives no price.",
    FLEET,
    registry=REGISTRY,
)
CONDITION = Gauge(
    "torpor_fleet_condition", "1 where the condition is True, 0 where False, -1 where Unknown.",
    [*FLEET, "type"], registry=REGISTRY,
)  # fmt: skip

CONDITION_REASON = Gauge(
    "torpor_fleet_condition_reason", "1 for the reason of each condition.", [*FLEET, "type", "reason"],
    registry=REGISTRY,
)  # fmt: skip


class GpuSeconds(Collector):
    """The meters of the fleets, read off at the scrape: a fleet asleep is not looked at, and its savings grow
    with every second. They go on from the object, whoever counted before, so they have no creation time.

    A value that was shown is not taken back: Prometheus would take a lower one for a counter that began anew,
    and count all of it once more. That happens where the clock is set back, or a write was slow.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self.clock = clock  # Unix seconds
        self._accounts: dict[tuple[str, str], Account] = {}
        self._shown: dict[tuple[str, ...], int] = {}

    def set(self, namespace: str, name: str, account: "Account | None") -> None:
        """Take over a fleet's account; None: it has none."""
        if account is not None:
            self._accounts[namespace, name] = account

    def forget(self, namespace: str, name: str) -> None:
        """Drop a fleet; a successor of its name begins at zero."""
        if self._accounts.pop((namespace, name), None) is not None:
            self._shown = {key: value for key, value in self._shown.items() if key[:2] != (namespace, name)}

    def collect(self) -> Iterator[CounterMetricFamily]:
        """The families of a scrape."""
        used = CounterMetricFamily(
            "torpor_fleet_gpu_used_seconds",
            "GPU seconds held by pods that had a node, whatever they did.",
            labels=FLEET,
        )
        asleep = CounterMetricFamily(
            "torpor_fleet_gpu_asleep_seconds",
            "GPU seconds of maxReplicas while there was no replica.",
            labels=FLEET,
        )
        saved = CounterMetricFamily(
            "torpor_fleet_gpu_saved_seconds",
            "GPU seconds that were not used, against always-on at maxReplicas or at the peak needed so far.",
            labels=[*FLEET, "against"],
        )
        now = self.clock()
        for fleet, account in self._accounts.items():
            totals = account.at(now)
            for family, labels, counted in (
                (used, fleet, totals.used),
                (asleep, fleet, totals.asleep),
                (saved, (*fleet, "max"), totals.saved_max),
                (saved, (*fleet, "peak"), totals.saved_peak),
            ):
                key = (*labels, family.name)
                self._shown[key] = max(counted, self._shown.get(key, 0))
                family.add_metric(labels, self._shown[key])
        yield from (used, asleep, saved)


SAVED = GpuSeconds()
REGISTRY.register(SAVED)

_OF_FLEETS: tuple[Gauge | Counter, ...] = (
    *(DESIRED, RECOMMENDED, READY, MODE, SIGNAL, SIGNAL_TARGET, SIGNAL_REPLICAS, CLAMP, DECISION),
    *(SCHEDULE_CLOSED, SCHEDULE_FLOOR, SCHEDULE_CEILING, SCHEDULE_NEXT),
    *(COLD_START_P95_SECONDS, COLD_START_PHASE_SECONDS, WORK, FORECAST),
    *(
        DECISIONS,
        WAKES,
        COLD_START_SECONDS,
        HOLD_LIMIT_SECONDS,
        CONDITION,
        CONDITION_REASON,
        ARRIVALS,
        COMPLETED,
        TOKENS,
        PREFILL_BUDGET,
        OBJECTIVES,
        PRICE,
    ),
)
_TRUTH = {"True": 1, "False": 0}


def forget(namespace: str, name: str) -> None:
    """Drop every series of a fleet."""
    for metric in _OF_FLEETS:
        metric.remove_by_labels({"namespace": namespace, "name": name})
    SAVED.forget(namespace, name)


def counted(namespace: str, name: str, before: "Tally", now: "Tally") -> None:
    """Record what the gateways counted between two looks."""
    ARRIVALS.labels(namespace, name).inc(max(0.0, now.arrivals - before.arrivals))
    COMPLETED.labels(namespace, name).inc(max(0.0, now.completed - before.completed))
    prompt, output = now.prompt_tokens - before.prompt_tokens, now.output_tokens - before.output_tokens
    TOKENS.labels(namespace, name, "prompt").inc(max(0.0, prompt))
    TOKENS.labels(namespace, name, "output").inc(max(0.0, output))
    missed = now.missed - before.missed
    OBJECTIVES.labels(namespace, name, "kept").inc(max(0.0, now.judged - before.judged - missed))
    OBJECTIVES.labels(namespace, name, "missed").inc(max(0.0, missed))


def condition(namespace: str, name: str, type_: str, status: str) -> None:
    """Record a condition."""
    CONDITION.labels(namespace, name, type_).set(_TRUTH.get(status, -1))


def exposition() -> bytes:
    """Return all metrics in Prometheus' text format."""
    return generate_latest(REGISTRY)
