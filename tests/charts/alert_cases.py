"""For each alert what makes it fire and what does not, as series for promtool.

A case is a few minutes of a cluster: series with a value a minute (promtool's notation: `1x5` is six times 1,
`0+60x5` is 0, 60 … 300, `_` is no sample), a moment, and the labels of the alerts that fire then; none means
that it is quiet. Series come from two pods where there are two, since an expression that forgets to aggregate
works with one. `interval` is that of the samples and of the evaluations: a day by the minute takes long.
"""

from dataclasses import dataclass, field

FLEET = {"namespace": "team", "name": "llm"}
OPERATOR = {"namespace": "torpor-system", "job": "torpor-operator-metrics"}
GATEWAY = {"namespace": "torpor-system", "job": "torpor-gateway-metrics"}


@dataclass(frozen=True)
class Case:
    """What is so, when it is looked at, and which alerts fire; `value` as their text shows it."""

    story: str
    series: dict[str, str]
    at: str
    fires: tuple[dict[str, str], ...] = ()
    value: str = ""
    interval: str = "1m"


def _series(metric: str, /, **labels: str) -> str:
    text = ", ".join(f'{key}="{value}"' for key, value in sorted(labels.items()))
    return f"{metric}{{{text}}}"


def _leader(metric: str, /, **labels: str) -> str:
    """A fleet's series of the operator that leads."""
    return _series(metric, **FLEET, pod="operator-a", instance="10.0.0.1:9090", **labels)


def _gateways(metric: str, values: str, /, **labels: str) -> dict[str, str]:
    """A fleet's series of two gateway pods."""
    return {_series(metric, **FLEET, pod=pod, instance=pod, **labels): values for pod in ("g-a", "g-b")}


def _pod(metric: str, part: dict[str, str], pod: str = "a", **labels: str) -> str:
    return _series(metric, **part, pod=pod, instance=pod, **labels)


def _reason(type_: str, reason: str) -> str:
    return _leader("torpor_fleet_condition_reason", type=type_, reason=reason)


def _condition(type_: str) -> str:
    return _leader("torpor_fleet_condition", type=type_)


def _certificate(begins: int, ends: int, pod: str = "a") -> dict[str, str]:
    """The times of a gateway's certificate, seconds from the start of the case, which is at 1970."""
    return {
        _pod("torpor_gateway_certificate_start_timestamp_seconds", GATEWAY, pod): f"{begins}x20",
        _pod("torpor_gateway_certificate_expiry_timestamp_seconds", GATEWAY, pod): f"{ends}x20",
    }


ENDS = _pod("torpor_gateway_certificate_expiry_timestamp_seconds", GATEWAY)
BEGINS = _pod("torpor_gateway_certificate_start_timestamp_seconds", GATEWAY)
DESIRED = _leader("torpor_fleet_desired_replicas")
READY = _leader("torpor_fleet_ready_replicas")
COLD = _leader("torpor_fleet_cold_start_seconds")
STREAM = _leader("torpor_fleet_hold_limit_seconds", kind="stream")
UNARY = _leader("torpor_fleet_hold_limit_seconds", kind="unary")
FLOOR = _leader("torpor_fleet_schedule_min_replicas")
NEXT = _leader("torpor_fleet_schedule_next_transition_timestamp_seconds")
HELD = "torpor_gateway_oldest_held_seconds"
CUT = "torpor_gateway_cut_answers_total"
REQUESTS = "torpor_gateway_requests_total"
JUDGED = "torpor_gateway_objectives_total"
LEADER = "torpor_operator_leader"


def _missed(missed: str, kept: str) -> dict[str, str]:
    return _gateways(JUDGED, missed, result="missed") | _gateways(JUDGED, kept, result="kept")


WAKING = {
    "TorporHeldRequestsAgeing": (
        Case(
            "held five times as long as the last cold start took",
            {COLD: "60x20", STREAM: "900x20", **_gateways(HELD, "0+60x20")},
            "5m",
            (FLEET,),
            "5m 0s",
        ),
        Case(
            "no cold start was ever measured, and half of the limit is over",
            {STREAM: "900x20", **_gateways(HELD, "0+60x20")},
            "10m",
            (FLEET,),
            "10m 0s",
        ),
        Case(
            "a wake may be a little late",
            {COLD: "60x20", STREAM: "900x20", **_gateways(HELD, "0+60x20")},
            "3m",
        ),
        Case(
            "held as long as a cold start takes, again and again",
            {COLD: "60x20", STREAM: "900x20", **_gateways(HELD, "0 60 110 0 60 110 0 60 110 0 60")},
            "8m",
        ),
        Case(
            "no cold start was measured, and the limit is far",
            {STREAM: "900x20", **_gateways(HELD, "0+60x20")},
            "6m",
        ),
        Case(
            "twice a cold start of three seconds is no reason to wake anybody",
            {COLD: "3x20", STREAM: "900x20", **_gateways(HELD, "20x20")},
            "10m",
        ),
    ),
    "TorporWakeFailed": (
        Case("the wake failed", {_reason("Ready", "WakeFailed"): "1x10"}, "5m", (FLEET,)),
        Case("it has only just failed", {_reason("Ready", "WakeFailed"): "1x10"}, "1m"),
        Case("the fleet wakes", {_reason("Ready", "Waking"): "1x10"}, "5m"),
        Case(
            "it failed, and the next attempt went well",
            {_reason("Ready", "WakeFailed"): "1 stale", _reason("Ready", "Serving"): "_ 1x10"},
            "5m",
        ),
    ),
    "TorporColdStartOverBudget": (
        Case(
            "streams are held longer than the cold start took, others are not",
            {COLD: "400x5", STREAM: "900x5", UNARY: "300x5"},
            "1m",
            (FLEET | {"kind": "unary"},),
            "6m 40s",
        ),
        Case("the cold start is within both limits", {COLD: "200x5", STREAM: "900x5", UNARY: "300x5"}, "1m"),
        Case("nobody is held, so there is no limit", {COLD: "4000x5"}, "1m"),
    ),
    "TorporUnschedulable": (
        Case(
            "no node has a GPU for the pod",
            {_reason("PodsScheduled", "Unschedulable"): "1x20"},
            "15m",
            (FLEET | {"reason": "Unschedulable"},),
        ),
        Case(
            "a quota forbids the pod",
            {_reason("PodsScheduled", "PodsRefused"): "1x20"},
            "15m",
            (FLEET | {"reason": "PodsRefused"},),
        ),
        Case(
            "a node came after some minutes",
            {
                _reason("PodsScheduled", "Unschedulable"): "1x5 stale",
                _reason("PodsScheduled", "Scheduled"): "_x5 1x20",
            },
            "15m",
        ),
        Case("a node may still come", {_reason("PodsScheduled", "Unschedulable"): "1x20"}, "8m"),
    ),
}

NUMBERS = {
    "TorporDesiredUnmet": (
        Case("two of three never get ready", {DESIRED: "3x60", READY: "1x60"}, "45m", (FLEET,), "2"),
        Case("a cold start of more than 20 minutes", {DESIRED: "1x60", READY: "0x60"}, "25m"),
        Case("everything is ready", {DESIRED: "3x60", READY: "3x60"}, "45m"),
        Case(
            "there is no node, of which another alert tells",
            {DESIRED: "3x60", READY: "1x60", _condition("PodsScheduled"): "0x60"},
            "45m",
        ),
        Case(
            "the wake failed, of which another alert tells",
            {DESIRED: "1x60", READY: "0x60", _reason("Ready", "WakeFailed"): "1x60"},
            "45m",
        ),
    ),
    "TorporSignalsUnavailable": (
        Case("a signal is unknown", {_condition("SignalsAvailable"): "0x20"}, "15m", (FLEET,)),
        Case("it is unknown while a gateway restarts", {_condition("SignalsAvailable"): "0x20"}, "8m"),
        Case("none is read, because the fleet is paused", {_condition("SignalsAvailable"): "-1x20"}, "15m"),
    ),
    "TorporMetricContractBroken": (
        Case(
            "both pods lack a metric",
            {
                _series(
                    "torpor_engine_missing_metric", **FLEET, pod=pod, metric="vllm:num_requests_waiting"
                ): ("1x20")
                for pod in ("e-a", "e-b")
            },
            "15m",
            (FLEET | {"metric": "vllm:num_requests_waiting"},),
        ),
        Case(
            "an engine that has just started does not have it yet",
            {_series("torpor_engine_missing_metric", **FLEET, pod="e-a", metric="vllm:x"): "1x20"},
            "8m",
        ),
    ),
    "TorporScheduleMissed": (
        Case(
            "the office is open and one of two is there",
            {FLOOR: "2x30", READY: "1x30", _condition("ScheduleApplied"): "1x30"},
            "20m",
            (FLEET,),
            "2",
        ),
        Case(
            "the office has just opened",
            {FLOOR: "_x10 2x30", READY: "0x30", _condition("ScheduleApplied"): "1x30"},
            "20m",
        ),
        Case(
            "as many as asked for are there",
            {FLOOR: "2x30", READY: "2x30", _condition("ScheduleApplied"): "1x30"},
            "20m",
        ),
        Case(
            "the mode Paused overrides the schedule",
            {FLOOR: "2x30", READY: "1x30", _condition("ScheduleApplied"): "0x30"},
            "20m",
        ),
    ),
    "TorporScheduleOverdue": (
        Case("nobody looked when the hours changed", {NEXT: "300x30"}, "15m", (FLEET,), "10m 0s"),
        Case("it is late, but the operator may only have restarted", {NEXT: "300x30"}, "10m"),
        Case("the next transition took its place", {NEXT: "300x5 90000x30"}, "15m"),
    ),
    "TorporFleetBroken": (
        Case(
            "the spec breaks a rule",
            {_reason("Ready", "SpecInvalid"): "1x20"},
            "15m",
            (FLEET | {"reason": "SpecInvalid"},),
        ),
        Case("somebody is mending it", {_reason("Ready", "SpecInvalid"): "1x20"}, "8m"),
        Case("the owner paused it", {_reason("Ready", "Paused"): "1x20"}, "15m"),
    ),
}

ANSWERS = {
    "TorporDrainCut": (
        Case(
            "a replica left and took two answers with it",
            {_series(CUT, **FLEET, pod="g-a", cause="drain"): "0x5 2x20"},
            "10m",
            (FLEET,),
            "2",
        ),
        Case(
            "answers were cut because an engine died",
            {**_gateways(CUT, "0x30", cause="drain"), **_gateways(CUT, "0+1x30", cause="engine")},
            "10m",
        ),
        Case("it was half an hour ago", {_series(CUT, **FLEET, pod="g-a", cause="drain"): "0x5 2x60"}, "40m"),
    ),
    "TorporAnswersCut": (
        Case(
            "an engine died under three streams",
            {_series(CUT, **FLEET, pod="g-a", cause="engine"): "0x5 3x20"},
            "10m",
            (FLEET,),
            "3",
        ),
        Case(
            "a drain, or the gateway's own end, is another matter",
            {**_gateways(CUT, "0+1x30", cause="drain"), **_gateways(CUT, "0+1x30", cause="gateway")},
            "10m",
        ),
    ),
    "TorporObjectiveBurnFast": (
        Case(
            "three of four requests have been late for an hour",
            _missed("0+60x80", "0+20x80"),
            "70m",
            (FLEET,),
            "75%",
        ),
        Case("one of ten is late", _missed("0+10x80", "0+90x80"), "70m"),
        Case("all of very few were late", _missed("0+0.1x80", "0x80"), "70m"),
        Case("a fleet has just begun, late", _missed("0+60x80", "0+20x80"), "2m"),
        Case("it was bad and is good again", _missed("0+60x60 3600x45", "0x60 0+60x45"), "105m"),
    ),
    "TorporObjectiveBurnSlow": (
        Case(
            "a fifth has been late for a day",
            _missed("0+20x150", "0+80x150"),
            "24h",
            (FLEET,),
            "20%",
            interval="10m",
        ),
        Case("a fifth is late, for ten minutes", _missed("0+20x150", "0+80x150"), "20m", interval="10m"),
        Case(
            "four in a hundred are within the budget", _missed("0+4x150", "0+96x150"), "24h", interval="10m"
        ),
    ),
}

GATEWAYS = {
    "TorporGatewayShedding": (
        Case(
            "every tenth request is refused while the fleet wakes",
            {
                **_gateways(REQUESTS, "0+54x20", code="200", reason=""),
                **_gateways(REQUESTS, "0+6x20", code="503", reason="Waking"),
            },
            "15m",
            (FLEET,),
            "10%",
        ),
        Case(
            "the fleet is closed, and half of what comes is told so",
            {
                **_gateways(REQUESTS, "0+50x20", code="200", reason=""),
                **_gateways(REQUESTS, "0+50x20", code="503", reason="Closed"),
            },
            "15m",
        ),
        Case(
            "one of fifty is refused",
            {
                **_gateways(REQUESTS, "0+98x20", code="200", reason=""),
                **_gateways(REQUESTS, "0+2x20", code="429", reason="QueueFull"),
            },
            "15m",
        ),
        Case(
            "a burst found no room, three minutes ago",
            {
                **_gateways(REQUESTS, "0+54x20", code="200", reason=""),
                **_gateways(REQUESTS, "0+6x20", code="503", reason="Waking"),
            },
            "4m",
        ),
        Case("nothing is refused", _gateways(REQUESTS, "0+98x20", code="200", reason=""), "15m"),
    ),
    "TorporGatewayFull": (
        Case(
            "one pod has no room for bodies",
            {
                _pod("torpor_gateway_errors_total", GATEWAY, code="503", reason="out_of_memory"): "0+6x20",
                _pod("torpor_gateway_errors_total", GATEWAY, "b", code="503", reason="out_of_memory"): "0x20",
            },
            "15m",
            (GATEWAY | {"reason": "out_of_memory"},),
        ),
        Case(
            "it has just begun",
            {_pod("torpor_gateway_errors_total", GATEWAY, code="503", reason="out_of_memory"): "0+6x20"},
            "4m",
        ),
        Case(
            "clients ask for what does not exist",
            {_pod("torpor_gateway_errors_total", GATEWAY, code="404", reason="not_found"): "0+6x20"},
            "15m",
        ),
    ),
    "TorporGatewayNotSynced": (
        Case(
            "one of two does not see the cluster",
            {
                _pod("torpor_gateway_synced", GATEWAY): "0x20",
                _pod("torpor_gateway_synced", GATEWAY, "b"): "1x20",
            },
            "15m",
            (GATEWAY | {"pod": "a"},),
        ),
        Case("it takes a while to begin", {_pod("torpor_gateway_synced", GATEWAY): "0x20"}, "8m"),
    ),
    "TorporNoGateway": (
        Case("nothing is scraped", {_pod("torpor_operator_leader", OPERATOR): "1x20"}, "10m", ({},)),
        Case("Prometheus has just begun", {_pod("torpor_operator_leader", OPERATOR): "1x20"}, "4m"),
        Case("one is there, if out of sync", {_pod("torpor_gateway_synced", GATEWAY): "0x20"}, "10m"),
    ),
    "TorporDemandUnread": (
        Case(
            "one of two is not listened to",
            {
                _pod("torpor_gateway_demand_readers", GATEWAY): "0x20",
                _pod("torpor_gateway_draining", GATEWAY): "0x20",
                _pod("torpor_gateway_demand_readers", GATEWAY, "b"): "2x20",
                _pod("torpor_gateway_draining", GATEWAY, "b"): "0x20",
            },
            "10m",
            (GATEWAY | {"pod": "a"},),
        ),
        Case(
            "the operator restarts",
            {
                _pod("torpor_gateway_demand_readers", GATEWAY): "0x20",
                _pod("torpor_gateway_draining", GATEWAY): "0x20",
            },
            "4m",
        ),
        Case(
            "it drains, and the operator has heard everything",
            {
                _pod("torpor_gateway_demand_readers", GATEWAY): "0x20",
                _pod("torpor_gateway_draining", GATEWAY): "1x20",
            },
            "10m",
        ),
    ),
    "TorporDemandTokenRefused": (
        Case(
            "each attempt is refused",
            {_pod("torpor_gateway_demand_refusals_total", GATEWAY): "0+3x20"},
            "12m",
            (GATEWAY,),
        ),
        Case(
            "it was, until the new token was read",
            {_pod("torpor_gateway_demand_refusals_total", GATEWAY): "0 2 4 4x20"},
            "4m",
        ),
    ),
    "TorporAPIKeysStale": (
        Case(
            "one pod cannot read the new keys",
            {
                _pod("torpor_gateway_api_keys_stale", GATEWAY): "1x20",
                _pod("torpor_gateway_api_keys_stale", GATEWAY, "b"): "0x20",
            },
            "15m",
            (GATEWAY | {"pod": "a"},),
        ),
        Case("somebody mends them", {_pod("torpor_gateway_api_keys_stale", GATEWAY): "1x20"}, "8m"),
    ),
    "TorporCertificateExpired": (
        Case(
            "one pod still shows what has ended",
            {**_certificate(-86_400, 180), **_certificate(-86_400, 90 * 86_400, "b")},
            "6m",
            (GATEWAY | {"pod": "a"},),
        ),
        Case("it has a minute left", _certificate(-86_400, 600), "9m"),
        Case("it is renewed in the last moment", {ENDS: "180x2 7776000x20", BEGINS: "0x22"}, "6m"),
    ),
    "TorporCertificateExpiring": (
        Case(
            "13 of 90 days are left",
            _certificate(-77 * 86_400, 13 * 86_400),
            "15m",
            (GATEWAY | {"pod": "a"},),
            "12d 23h 45m 0s",
        ),
        Case(
            "three of 24 hours are left",
            _certificate(-21 * 3600, 3 * 3600),
            "15m",
            (GATEWAY | {"pod": "a"},),
            "2h 45m 0s",
        ),
        Case("eight of 24 hours are left", _certificate(-16 * 3600, 8 * 3600), "15m"),
        Case("two months of a year are left", _certificate(-305 * 86_400, 60 * 86_400), "15m"),
        Case("it has ended, which is another alert", _certificate(-86_400, 60), "15m"),
        Case("it is renewed", {ENDS: "3600x6 7776000x20", BEGINS: "-77760x26"}, "15m"),
    ),
    "TorporCertificateStale": (
        Case(
            "one pod cannot read the renewed pair",
            {
                _pod("torpor_gateway_certificate_stale", GATEWAY): "1x20",
                _pod("torpor_gateway_certificate_stale", GATEWAY, "b"): "0x20",
            },
            "15m",
            (GATEWAY | {"pod": "a"},),
        ),
        Case("it is mended", {_pod("torpor_gateway_certificate_stale", GATEWAY): "1x8 0x12"}, "15m"),
    ),
}

OPERATORS = {
    "TorporNoLeader": (
        Case(
            "two stand by",
            {_pod(LEADER, OPERATOR): "0x20", _pod(LEADER, OPERATOR, "b"): "0x20"},
            "5m",
            (OPERATOR,),
        ),
        Case("none is scraped", {_pod("torpor_gateway_synced", GATEWAY): "1x20"}, "5m", ({},)),
        Case("one leads", {_pod(LEADER, OPERATOR): "0x20", _pod(LEADER, OPERATOR, "b"): "1x20"}, "5m"),
        Case(
            "the lease changes hands",
            {_pod(LEADER, OPERATOR): "1x4 0x20", _pod(LEADER, OPERATOR, "b"): "0x5 1x20"},
            "5m",
        ),
    ),
    "TorporWatchStale": (
        Case(
            "pods were last listed a quarter of an hour ago",
            {_pod("torpor_operator_watch_age_seconds", OPERATOR, kind="Pod"): "0+60x20"},
            "15m",
            (OPERATOR | {"pod": "a", "kind": "Pod"},),
            "15m 0s",
        ),
        Case(
            "they are listed every two minutes",
            {
                _pod(
                    "torpor_operator_watch_age_seconds", OPERATOR, kind="Pod"
                ): "0 60 0 60 0 60 0 60 0 60 0 60"
            },
            "11m",
        ),
        Case(
            "the API server has been away for ten minutes",
            {_pod("torpor_operator_watch_age_seconds", OPERATOR, kind="Pod"): "0+60x20"},
            "10m",
        ),
    ),
    "TorporLooksFail": (
        Case(
            "the API server forbids something",
            {_pod("torpor_operator_look_failures_total", OPERATOR, cause="403"): "0+1x30"},
            "25m",
            (OPERATOR | {"cause": "403"},),
        ),
        Case(
            "conflicts are how two writers meet",
            {_pod("torpor_operator_look_failures_total", OPERATOR, cause="conflict"): "0+1x30"},
            "25m",
        ),
        Case(
            "the API server was away for a moment",
            {_pod("torpor_operator_look_failures_total", OPERATOR, cause="unreachable"): "0+1x5 5x30"},
            "8m",
        ),
    ),
}

CASES: dict[str, tuple[Case, ...]] = {**WAKING, **NUMBERS, **ANSWERS, **GATEWAYS, **OPERATORS}


@dataclass(frozen=True)
class Recorded:
    """What a recording rule gives: the series, a moment, and the value with its labels."""

    series: dict[str, str]
    at: str
    value: float
    labels: dict[str, str] = field(default_factory=lambda: FLEET)


LATE = _missed("0+60x80", "0+20x80")
RECORDED: dict[str, Recorded] = {
    "torpor:objective_misses:allowed": Recorded({}, "1m", 0.05, {}),
    **{
        f"torpor:fleet_objective_misses:ratio_rate{window}": Recorded(LATE, "70m", 0.75)
        for window in ("5m", "30m", "1h", "2h", "6h", "1d", "3d")
    },
    "torpor:fleet_shed_requests:ratio_rate5m": Recorded(
        {
            **_gateways(REQUESTS, "0+45x20", code="200", reason=""),
            **_gateways(REQUESTS, "0+10x20", code="429", reason="QueueFull"),
            **_gateways(REQUESTS, "0+25x20", code="503", reason="Closed"),
        },
        "15m",
        0.125,
    ),
}
