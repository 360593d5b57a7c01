"""Alerts about one fleet: it cannot wake, wakes too late, is not where it should be, or answers were lost.

Each is about what users feel or will feel soon; that a fleet sleeps, or that a signal jumps, is no news. The
operator runs twice and only its leader looks at fleets, and pods come and go: so everything is aggregated to
the fleet first, and a change of leader neither fires nor resolves anything.
"""

from charts.monitoring.rules.model import Alert, Group

FLEET = "{{ $labels.namespace }}/{{ $labels.name }}"
EXPLAIN = "`torpor explain {{ $labels.name }} -n {{ $labels.namespace }}`"
DESCRIBE = "`kubectl describe isvc {{ $labels.name }} -n {{ $labels.namespace }}`"


def _max(metric: str, *labels: str) -> str:
    return f"max by ({', '.join(('namespace', 'name', *labels))}) ({metric})"


_OLDEST = _max("torpor_gateway_oldest_held_seconds")
_COLD = _max("torpor_fleet_cold_start_seconds")
_READY = _max("torpor_fleet_ready_replicas")
_SCHEDULED = _max('torpor_fleet_condition{type="PodsScheduled"}')
_SIGNALS = _max('torpor_fleet_condition{type="SignalsAvailable"}')
_BY_HOURS = _max('torpor_fleet_condition{type="ScheduleApplied"}')
_STREAMS_HELD = _max('torpor_fleet_hold_limit_seconds{kind="stream"}')
_MISSING = _max("torpor_engine_missing_metric", "metric")
_NEXT = _max("torpor_fleet_schedule_next_transition_timestamp_seconds")
_WAKE_FAILED = 'torpor_fleet_condition_reason{type="Ready", reason="WakeFailed"}'

WAKING = (
    Alert(
        "TorporHeldRequestsAgeing",
        "critical",
        "1m",
        f"""
        (
          {_OLDEST}
            > on (namespace, name) 2 * {_COLD}
        ) > 60
        or
        {_OLDEST}
          > on (namespace, name) 0.5 * {_STREAMS_HELD}
        """,
        f"{FLEET}: requests have been held for {{{{ $value | humanizeDuration }}}}",
        f"""The fleet was asked to wake and is not awake after twice its last cold start (or half of
        holdSeconds, where that is sooner); when holdSeconds is over the requests get 503. See what the pods
        wait for: {DESCRIBE}.""",
    ),
    Alert(
        "TorporWakeFailed",
        "critical",
        "2m",
        f"{_max(_WAKE_FAILED)} == 1",
        f"{FLEET} cannot wake",
        f"""No replica gets ready, and requests are refused with 503. The message of the condition Ready
        begins with the cause and says what to do: {DESCRIBE}.""",
    ),
    Alert(
        "TorporColdStartOverBudget",
        "warning",
        "0m",
        f"""
        {_COLD}
          > on (namespace, name) group_right {_max("torpor_fleet_hold_limit_seconds", "kind")}
        """,
        f"{FLEET}: a cold start took {{{{ $value | humanizeDuration }}}}, longer than {{{{ $labels.kind }}}} "
        "requests are held",
        f"""Whoever woke the fleet got 503 instead of an answer. Look at the phases of the cold start
        ({EXPLAIN}), shorten it with a cache for weights and compiled code, or raise
        spec.traffic.coldStart.""",
    ),
    Alert(
        "TorporUnschedulable",
        "critical",
        "10m",
        _max(
            'torpor_fleet_condition_reason{type="PodsScheduled", reason=~"Unschedulable|PodsRefused"}',
            "reason",
        )
        + " == 1",
        f"{FLEET}: a replica has had no node for 10 minutes ({{{{ $labels.reason }}}})",
        f"""No node has what the pod asks for, or a quota or admission rule forbids it. The message of
        PodsScheduled quotes the scheduler: {DESCRIBE}. Free or add a GPU, or change the request.""",
    ),
)

NUMBERS = (
    Alert(
        "TorporDesiredUnmet",
        "warning",
        "30m",
        f"""
        {_max("torpor_fleet_desired_replicas")}
          - on (namespace, name) {_READY} > 0
        unless on (namespace, name) {_SCHEDULED} == 0
        unless on (namespace, name) {_max(_WAKE_FAILED)} == 1
        """,
        f"{FLEET} has lacked {{{{ $value }}}} ready replicas for 30 minutes",
        """The pods have their nodes and do not get ready, or get ready and die. See which and why:
        `kubectl get pods -n {{ $labels.namespace }} -l
        serving.torpor.dev/inferenceservice={{ $labels.name }}`, then `kubectl logs` of the one that is
        not ready.""",
    ),
    Alert(
        "TorporSignalsUnavailable",
        "warning",
        "10m",
        f"{_SIGNALS} == 0",
        f"{FLEET} is scaled without some of its signals",
        f"""What is unknown never lowers the number of replicas, so the fleet may run more than it needs, and
        cannot go to sleep. The condition SignalsAvailable names the signal and why: {DESCRIBE}.""",
    ),
    Alert(
        "TorporMetricContractBroken",
        "warning",
        "10m",
        f"{_MISSING} == 1",
        f"{FLEET}: the engine does not serve {{{{ $labels.metric }}}}",
        """The engine's version has renamed or dropped a metric that decisions read; what it tells is unknown
        now, never zero. Compare spec.engine.image with the versions that this release of Torpor knows, and go
        back to one of these or upgrade Torpor.""",
    ),
    Alert(
        "TorporScheduleMissed",
        "warning",
        "15m",
        f"""
        (
          {_max("torpor_fleet_schedule_min_replicas")}
            > on (namespace, name) {_READY}
        )
        and on (namespace, name) {_BY_HOURS} == 1
        """,
        f"{FLEET}: the schedule has asked for {{{{ $value }}}} replicas for 15 minutes, and fewer are ready",
        f"""A window is open and the fleet is not what it promises for these hours. See what the missing
        replicas wait for: {DESCRIBE}. Where they only start late, set readyBy: Start in the window.""",
    ),
    Alert(
        "TorporScheduleOverdue",
        "critical",
        "5m",
        f"time() - {_NEXT} > 120",
        f"{FLEET}: a transition of the schedule is overdue by {{{{ $value | humanizeDuration }}}}",
        """The operator did not look at the fleet when its hours changed, so it keeps the replicas of before.
        See whether there is a leader and what its looks end with: `kubectl logs -l
        app.kubernetes.io/name=operator,app.kubernetes.io/part-of=torpor -A --tail=100`.""",
    ),
    Alert(
        "TorporFleetBroken",
        "warning",
        "10m",
        _max(
            'torpor_fleet_condition_reason{type="Ready", '
            'reason=~"SpecInvalid|ConfigError|NameTaken|RouteConflict"}',
            "reason",
        )
        + " == 1",
        f"{FLEET} is not served as written: {{{{ $labels.reason }}}}",
        f"""The object or its surroundings have to be changed; nothing gets better by waiting. The message of
        the condition Ready names the field or the object: {DESCRIBE}.""",
    ),
)

ANSWERS = (
    Alert(
        "TorporDrainCut",
        "warning",
        "0m",
        'sum by (namespace, name) (increase(torpor_gateway_cut_answers_total{cause="drain"}[15m])) > 0',
        f"{FLEET}: {{{{ $value | humanize }}}} answers were cut because their replica left",
        """A replica was taken away before its answers were finished: they took longer than spec.drainSeconds,
        or the pod was killed without a drain. Compare the longest answers with spec.drainSeconds and raise
        it.""",
    ),
    Alert(
        "TorporAnswersCut",
        "warning",
        "0m",
        'sum by (namespace, name) (increase(torpor_gateway_cut_answers_total{cause="engine"}[15m])) > 0',
        f"{FLEET}: {{{{ $value | humanize }}}} answers were cut because their engine died or stopped",
        """Streams ended with an error event in their middle. See why the engine ended: `kubectl get pods -n
        {{ $labels.namespace }} -l serving.torpor.dev/inferenceservice={{ $labels.name }}`, then `kubectl logs
        --previous` and the pod's events (OOMKilled, eviction, a node that went).""",
    ),
)

GROUP = Group("torpor-fleets", (*WAKING, *NUMBERS, *ANSWERS))
