"""All fleets at a glance: who is awake, who is short of replicas, what users notice, what sleeping saved."""

from charts.monitoring.dashboards.parts import (
    BARS,
    FAILED,
    FLEET_NAME,
    FLEETS,
    GREEN,
    GREY,
    NO_REQUESTS,
    RED,
    STAT,
    STATES,
    YELLOW,
    Board,
    Panel,
    Query,
    Row,
    grown,
    here,
    latest,
    of,
    quantile,
    rate,
    share,
    total,
)

READY, DESIRED = latest(of("torpor_fleet_ready_replicas")), latest(of("torpor_fleet_desired_replicas"))
NOT_READY = f"({latest(of('torpor_fleet_condition', type='Ready'))} != bool 1)"
JUDGED = "torpor_fleet_objectives_total"
USED, ASLEEP = "torpor_fleet_gpu_used_seconds_total", "torpor_fleet_gpu_asleep_seconds_total"
SAVED = "torpor_fleet_gpu_saved_seconds_total"
PRICE = "torpor_fleet_price_per_gpu_hour"


OLDEST = total(of("torpor_gateway_oldest_held_seconds")).replace("sum by", "max by")
PATIENCE = f"{OLDEST} / ({latest(of('torpor_fleet_hold_limit_seconds', kind='stream'))} > 0)"


def _hours(series: str) -> str:
    return f"{series} / 3600"


GLANCE = Row(
    "Is anything wrong?",
    (
        Panel(
            "Awake",
            "Fleets with at least one replica that answers.",
            "short",
            (Query(f"count({READY} > 0) or vector(0)", "awake", whole=True),),
            kind=STAT,
            width=3,
        ),
        Panel(
            "Asleep",
            "Fleets that are meant to have no replica now. They cost nothing and wake with the next request.",
            "short",
            (Query(f"count({DESIRED} == 0) or vector(0)", "asleep", whole=True),),
            kind=STAT,
            width=3,
        ),
        Panel(
            "Not ready",
            "Fleets whose condition Ready is not True. A fleet that sleeps is ready. Which ones, and since "
            "when, is below.",
            "short",
            (Query(f"sum({NOT_READY}) or vector(0)", "not ready", whole=True),),
            kind=STAT,
            steps=((1, RED),),
            width=3,
        ),
        Panel(
            "Short of replicas",
            "Fleets with fewer replicas that answer than wanted. For the minutes of a cold start this is as "
            "it should be; after that look at the fleet.",
            "short",
            (Query(f"count({READY} < {DESIRED}) or vector(0)", "short", whole=True),),
            kind=STAT,
            steps=((1, YELLOW),),
            width=3,
        ),
        Panel(
            "Held requests",
            "Requests that wait at the gateways for a fleet that sleeps or wakes.",
            "short",
            (Query(f"sum({of('torpor_gateway_held_requests')})", "held", whole=True),),
            kind=STAT,
            steps=((1, YELLOW),),
            none="0",
            width=3,
        ),
        Panel(
            "Patience used up",
            "The longest wait for a wake, as a share of the time for which that fleet's streams are held. "
            "At 1 requests are refused.",
            "percentunit",
            (Query(f"max({PATIENCE})", "of holdSeconds", whole=True),),
            kind=STAT,
            steps=((0.25, YELLOW), (0.5, RED)),
            none="nobody is held",
            width=3,
        ),
        Panel(
            "Objectives kept",
            "Share of the streams, over the time shown, that kept their fleet's latency objectives. Requests "
            "that waited in vain count as missed. Empty where no fleet has objectives.",
            "percentunit",
            (
                Query(
                    share(f"sum({grown(of(JUDGED, result='kept'))})", f"sum({grown(of(JUDGED))})"),
                    "kept",
                    whole=True,
                ),
            ),
            kind=STAT,
            steps=((0, RED), (0.95, YELLOW), (0.99, GREEN)),
            decimals=2,
            none="no objectives",
            width=3,
        ),
        Panel(
            "GPU hours saved",
            "GPU hours over the time shown that the same fleets, always on at their maxReplicas, would have "
            "used and these did not.",
            "h",
            (Query(_hours(f"sum({grown(of(SAVED, against='max'))})"), "against maxReplicas", whole=True),),
            kind=STAT,
            decimals=1,
            width=3,
        ),
        Panel(
            "Ready, fleet by fleet",
            "Since when a fleet's condition Ready is not True. A click leads to the fleet; the decisions and "
            "`torpor explain` say why.",
            "short",
            (Query(NOT_READY, FLEET_NAME),),
            kind=STATES,
            words={"0": ("ready", GREEN), "1": ("not ready", RED)},
            steps=((1, RED),),
            width=24,
            leads_to="torpor-fleet",
        ),
    ),
)

REPLICAS = Row(
    "Who is awake, and with as many replicas as wanted?",
    (
        Panel(
            "Replicas of each fleet",
            "Replicas that answer, fleet by fleet. Grey is asleep.",
            "short",
            (Query(READY, FLEET_NAME),),
            kind=STATES,
            words={"0": ("asleep", GREY)},
            steps=((1, GREEN),),
            width=24,
            leads_to="torpor-fleet",
        ),
        Panel(
            "Replicas against desired",
            "All chosen fleets together: replicas that hold (decided, kept or set), and those that answer.",
            "short",
            (Query(f"sum({DESIRED})", "desired"), Query(f"sum({READY})", "ready")),
            width=12,
        ),
        Panel(
            "Missing replicas",
            "Desired minus ready, fleet by fleet. Above zero for longer than a cold start means that "
            "something keeps replicas from coming; below zero they are on their way out.",
            "short",
            (Query(f"{DESIRED} - {READY}", FLEET_NAME),),
            width=12,
            bottom=None,
            leads_to="torpor-fleet",
        ),
    ),
)

USERS = Row(
    "What do users notice?",
    (
        Panel(
            "Requests",
            "Requests per second that wanted each fleet, repeats of clients left out.",
            "reqps",
            (Query(total(rate(of("torpor_gateway_arrivals_total"))), FLEET_NAME),),
            none=NO_REQUESTS,
            leads_to="torpor-fleet",
        ),
        Panel(
            "Time to first token, p95",
            "From a request's arrival at the gateway to the first event of its stream, a cold start "
            "included.",
            "s",
            (Query(quantile(0.95, "torpor_gateway_time_to_first_token_seconds"), FLEET_NAME),),
            none=NO_REQUESTS,
            leads_to="torpor-fleet",
        ),
        Panel(
            "Tokens per second of a stream, p5",
            "19 of 20 streams are at least this fast after their first token.",
            "short",
            (Query(quantile(0.05, "torpor_gateway_stream_tokens_per_second"), FLEET_NAME),),
            none=NO_REQUESTS,
            leads_to="torpor-fleet",
        ),
        Panel(
            "Objectives missed",
            "Share of the streams that missed a latency objective, and of the requests that waited in vain.",
            "percentunit",
            (Query(share(total(rate(of(JUDGED, result="missed"))), total(rate(of(JUDGED)))), FLEET_NAME),),
            top=1,
            none="no objectives",
            leads_to="torpor-fleet",
        ),
        Panel(
            "Requests that failed",
            "Share of the requests that ended with a status of 500 or above.",
            "percentunit",
            (
                Query(
                    share(
                        total(rate(of("torpor_gateway_requests_total", code="~5.."))),
                        total(rate(of("torpor_gateway_requests_total"))),
                    ),
                    FLEET_NAME,
                ),
            ),
            top=1,
            steps=FAILED,
            none=NO_REQUESTS,
            leads_to="torpor-fleet",
        ),
        Panel(
            "Held requests of each fleet",
            "Requests that wait for a wake. A line that stays up is a wake that does not come.",
            "short",
            (Query(total(of("torpor_gateway_held_requests")), FLEET_NAME),),
            leads_to="torpor-fleet",
        ),
    ),
)

ACCELERATORS = Row(
    "What do accelerators do, and what does sleeping save?",
    (
        Panel(
            "GPUs in use",
            "GPUs that replicas hold, fleet by fleet.",
            "short",
            (Query(total(rate(of(USED))), FLEET_NAME),),
            stacked=True,
        ),
        Panel(
            "GPUs asleep",
            "GPUs of fleets that sleep: what others may use meanwhile.",
            "short",
            (Query(total(rate(of(ASLEEP))), FLEET_NAME),),
            stacked=True,
        ),
        Panel(
            "GPUs saved",
            "GPUs that always-on fleets would hold at this moment and these do not: against their "
            "maxReplicas, and against the peak that was needed.",
            "short",
            (Query(f"sum by (against) ({rate(of(SAVED))})", "against {{against}}"),),
            bottom=None,
        ),
        Panel(
            "GPU hours used",
            "GPU hours that each fleet used over the time shown.",
            "h",
            (Query(_hours(total(grown(of(USED)))), FLEET_NAME, whole=True),),
            kind=BARS,
        ),
        Panel(
            "GPU hours saved, by fleet",
            "GPU hours over the time shown that each fleet, always on at its maxReplicas, would have used on "
            "top.",
            "h",
            (Query(_hours(total(grown(of(SAVED, against="max")))), FLEET_NAME, whole=True),),
            kind=BARS,
        ),
        Panel(
            "Money saved",
            "GPU hours saved against maxReplicas over the time shown, times the price per GPU hour of the "
            "fleet, in the price's currency. Empty where no price is set.",
            "short",
            (
                Query(
                    f"{_hours(total(grown(of(SAVED, against='max'))))} * {latest(of(PRICE))}",
                    FLEET_NAME,
                    whole=True,
                ),
            ),
            kind=BARS,
            none="no price set",
        ),
    ),
)

CARETAKERS = Row(
    "Are Torpor's own parts well?",
    (
        Panel(
            "Operator that leads",
            "The pod that holds the lease. Where nobody leads nothing is decided, though all that runs runs "
            "on.",
            "short",
            (
                Query(
                    f"max by (cluster, pod) ({here('torpor_operator_leader')}) == 1",
                    "{{pod}} {{cluster}}",
                    whole=True,
                ),
            ),
            kind=STAT,
            steps=((1, GREEN),),
            width=8,
            none="nobody leads",
            named=True,
        ),
        Panel(
            "Gateways that the operator hears",
            "Streams of demand from gateway processes to the operator, by state. What is not live is not "
            "counted.",
            "short",
            (Query(f"sum by (state) ({here('torpor_operator_gateway_streams')})", "{{state}}"),),
            width=16,
        ),
    ),
)

BOARD = Board(
    "torpor-fleets",
    "Torpor / Fleets",
    "All fleets at a glance: awake and asleep, replicas against desired, objectives, GPU hours used and "
    "saved.",
    FLEETS,
    (GLANCE, REPLICAS, USERS, ACCELERATORS, CARETAKERS),
)
