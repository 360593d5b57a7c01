"""Why the autoscaler did what it did: signals against targets, each clamp, the forecast, cold starts.

The rows follow the order in which a decision is made, so that the cause of a number stands above its effect.
Every figure is one that the decision itself was made of; none is worked out again here.
"""

from charts.monitoring.dashboards.parts import (
    BARS,
    BY_FLEET,
    FLEET_NAME,
    FLEETS,
    GREEN,
    NO_REPLICA,
    STATES,
    Board,
    Panel,
    Query,
    Row,
    grown,
    here,
    latest,
    of,
    rate,
    total,
)

BY_SIGNAL = f"{BY_FLEET}, signal"
VALUE, TARGET = "torpor_fleet_signal", "torpor_fleet_signal_target"
FORECAST, WORK = "torpor_fleet_forecast_work_replicas", "torpor_fleet_work_replicas"


NUMBER = Row(
    "How many, and what for?",
    (
        Panel(
            "Replicas",
            "Replicas that hold (decided, kept or set), those that answer, and what Torpor alone would ask "
            "for.",
            "short",
            (
                Query(latest(of("torpor_fleet_desired_replicas")), f"{FLEET_NAME} desired"),
                Query(latest(of("torpor_fleet_ready_replicas")), f"{FLEET_NAME} ready"),
                Query(latest(of("torpor_fleet_recommended_replicas")), f"{FLEET_NAME} recommended"),
            ),
            width=12,
        ),
        Panel(
            "Reason of the last decision",
            "The clamp that had the last word, or the signal that asked where none had.",
            "short",
            (
                Query(
                    latest(of("torpor_fleet_decision"), f"{BY_FLEET}, reason"), f"{FLEET_NAME} {{{{reason}}}}"
                ),
            ),
            kind=STATES,
            words={"1": ("holds", GREEN)},
        ),
        Panel(
            "Changes by reason",
            "How often the number of replicas was changed in the time shown, by reason.",
            "short",
            (
                Query(
                    total(grown(of("torpor_fleet_decisions_total")), f"{BY_FLEET}, reason"),
                    f"{FLEET_NAME} {{{{reason}}}}",
                    whole=True,
                ),
            ),
            kind=BARS,
        ),
        Panel(
            "Mode",
            "Auto is followed, Recommend is only told, Paused leaves everything as it is.",
            "short",
            (Query(latest(of("torpor_fleet_mode"), f"{BY_FLEET}, mode"), f"{FLEET_NAME} {{{{mode}}}}"),),
            kind=STATES,
            words={"1": ("holds", GREEN)},
            width=16,
        ),
    ),
)

SIGNALS = Row(
    "What did the signals say?",
    (
        Panel(
            "Signals against their targets",
            "Value divided by target. Above 1 the signal asks for more replicas; a gap means that it is "
            "unknown, and what is unknown never lowers the number.",
            "percentunit",
            (
                Query(
                    f"{latest(of(VALUE), BY_SIGNAL)} / ({latest(of(TARGET), BY_SIGNAL)} > 0)",
                    f"{FLEET_NAME} {{{{signal}}}}",
                ),
            ),
            width=12,
        ),
        Panel(
            "Replicas that each signal alone asks for",
            "The largest of them is where the clamps begin.",
            "short",
            (Query(latest(of("torpor_fleet_signal_replicas"), BY_SIGNAL), f"{FLEET_NAME} {{{{signal}}}}"),),
            width=12,
        ),
    ),
)

CLAMPS = Row(
    "Which rules changed the number?",
    (
        Panel(
            "Clamps",
            "By how many replicas each rule changed the number at the last decision, above zero for more. A "
            "rule that is not here had nothing to say.",
            "short",
            (
                Query(
                    latest(of("torpor_fleet_clamp_replicas"), f"{BY_FLEET}, clamp"),
                    f"{FLEET_NAME} {{{{clamp}}}}",
                ),
            ),
            width=12,
            bottom=None,
        ),
        Panel(
            "Schedule",
            "The fewest and the most replicas that the schedule allows now.",
            "short",
            (
                Query(latest(of("torpor_fleet_schedule_min_replicas")), f"{FLEET_NAME} at least"),
                Query(latest(of("torpor_fleet_schedule_max_replicas")), f"{FLEET_NAME} at most"),
            ),
            width=6,
            none="no schedule",
        ),
        Panel(
            "Next window",
            "Time until the schedule allows something else.",
            "s",
            (
                Query(
                    f"{latest(of('torpor_fleet_schedule_next_transition_timestamp_seconds'))} - time()",
                    FLEET_NAME,
                    whole=True,
                ),
            ),
            kind=BARS,
            width=6,
            none="no schedule",
        ),
    ),
)

FORESEEN = Row(
    "What was foreseen, and what came?",
    (
        Panel(
            "Forecast against actual",
            "Arriving work, in replicas that it would keep busy, and the most that was foreseen for any "
            "minute within the next cold start. A good forecast rises one cold start before the work does. "
            "There is none without an earlier day, nor while forecasts do worse than the last minute going "
            "on.",
            "short",
            (
                Query(latest(of(WORK)), f"{FLEET_NAME} arriving"),
                Query(latest(of(FORECAST)), f"{FLEET_NAME} foreseen"),
            ),
            width=12,
            decimals=2,
        ),
        Panel(
            "Replicas ordered ahead of demand",
            "What the forecast added to the number at each decision: the rules Forecast and Prewarm.",
            "short",
            (
                Query(
                    latest(
                        of("torpor_fleet_clamp_replicas", clamp="~Forecast|Prewarm"), f"{BY_FLEET}, clamp"
                    ),
                    f"{FLEET_NAME} {{{{clamp}}}}",
                ),
            ),
            width=12,
            bottom=None,
            none="nothing ordered ahead",
        ),
    ),
)

STARTS = Row(
    "How long does a wake take, and where does the time go?",
    (
        Panel(
            "Cold starts",
            "From the write that raised a sleeping fleet to the first replica that answers: the last one, "
            "and that within which 95 of 100 of the last ended.",
            "s",
            (
                Query(latest(of("torpor_fleet_cold_start_seconds")), f"{FLEET_NAME} last"),
                Query(latest(of("torpor_fleet_cold_start_p95_seconds")), f"{FLEET_NAME} p95"),
            ),
        ),
        Panel(
            "Phases of the last cold start",
            "What the launcher did in the last cold start. What is missing to the whole is scheduling and "
            "the pull of the image.",
            "s",
            (
                Query(
                    latest(of("torpor_fleet_cold_start_phase_seconds"), f"{BY_FLEET}, phase"),
                    f"{FLEET_NAME} {{{{phase}}}}",
                    whole=True,
                ),
            ),
            kind=BARS,
        ),
        Panel(
            "Wakes",
            "Times that each fleet was woken, in an hour.",
            "short",
            (Query(f"{total(rate(of('torpor_fleet_wakes_total')))} * 3600", FLEET_NAME),),
        ),
        Panel(
            "Phases of each start",
            "The same phases of every replica's start, also those beyond the first.",
            "s",
            (
                Query(
                    latest(of("torpor_engine_phase_seconds"), "cluster, namespace, name, pod, phase"),
                    "{{pod}} {{phase}}",
                ),
            ),
            none=NO_REPLICA,
        ),
        Panel(
            "Operator's share of a wake",
            "From the news of a held request to the write that raises the fleet.",
            "s",
            (
                Query(
                    "histogram_quantile(0.95, sum by (le) "
                    f"({rate(here('torpor_operator_wake_seconds_bucket'))}))",
                    "p95",
                ),
                Query(
                    "histogram_quantile(0.5, sum by (le) "
                    f"({rate(here('torpor_operator_wake_seconds_bucket'))}))",
                    "p50",
                ),
            ),
        ),
        Panel(
            "Prefill budget",
            "Tokens of one step that engines are started with. Empty where the fleet sets none.",
            "short",
            (Query(latest(of("torpor_fleet_prefill_budget_tokens")), FLEET_NAME),),
            none="not set",
        ),
    ),
)

OPERATOR = Row(
    "Is the operator itself in time?",
    (
        Panel(
            "Looks",
            "Time of one look at a fleet, writes included.",
            "s",
            (
                Query(
                    "histogram_quantile(0.99, sum by (le) "
                    f"({rate(here('torpor_operator_look_seconds_bucket'))}))",
                    "p99",
                ),
                Query(
                    "histogram_quantile(0.5, sum by (le) "
                    f"({rate(here('torpor_operator_look_seconds_bucket'))}))",
                    "p50",
                ),
            ),
        ),
        Panel(
            "Looks that failed",
            "Failed looks per second, by cause. They are repeated.",
            "ops",
            (Query(f"sum by (cause) ({rate(here('torpor_operator_look_failures_total'))})", "{{cause}}"),),
            none="none failed",
        ),
        Panel(
            "Fleets that wait for a look",
            "Length of the queue of fleets to look at.",
            "short",
            (Query(here("torpor_operator_queue_depth"), "{{instance}}"),),
        ),
        Panel(
            "Writes to the API server",
            "Writes per second, by kind of object. An idle cluster has none.",
            "ops",
            (Query(f"sum by (kind) ({rate(here('torpor_operator_writes_total'))})", "{{kind}}"),),
        ),
        Panel(
            "Age of what is known",
            "Since each kind of object was last known in full. It grows where a watch brings no news.",
            "s",
            (Query(f"max by (kind) ({here('torpor_operator_watch_age_seconds')})", "{{kind}}"),),
        ),
        Panel(
            "News that no watch had",
            "Objects, per second, about which a list brought news that the watch had missed. It should be "
            "zero.",
            "ops",
            (Query(f"sum by (kind) ({rate(here('torpor_operator_watch_missed_total'))})", "{{kind}}"),),
            none="none missed",
        ),
    ),
)

BOARD = Board(
    "torpor-decisions",
    "Torpor / Decisions",
    "Why the autoscaler did what it did: signals against targets, clamps, forecast, cold starts.",
    FLEETS,
    (NUMBER, SIGNALS, CLAMPS, FORESEEN, STARTS, OPERATOR),
)
