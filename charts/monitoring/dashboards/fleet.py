"""One fleet, from what its users feel down to what its engines do.

Time to first token and tokens per second stand apart because they have different causes: the one is waiting
and prefill, the other decode. The ratio of the two kinds of tokens says which of them the hardware is busy
with. What the gateway measures is what users get; what the engines measure leaves out held and queued time.
"""

from charts.monitoring.dashboards.parts import (
    FAILED,
    FLEET_NAME,
    FLEETS,
    FULL,
    GREEN,
    GREY,
    NO_REPLICA,
    NO_REQUESTS,
    RED,
    STATES,
    YELLOW,
    Board,
    Choice,
    Panel,
    Query,
    Row,
    latest,
    mean,
    of,
    quantiles,
    rate,
    share,
    total,
)

POD = Choice(
    "pod",
    "Pod",
    "pod",
    'torpor_engine_info{cluster=~"$cluster", namespace=~"$namespace", name=~"$fleet"}',
)
BY_POD = "cluster, namespace, name, pod"
BY_TYPE = "cluster, namespace, name, type"
CHOSEN = {"pod": "~$pod"}
TOKENS, REQUESTS = "torpor_gateway_tokens_total", "torpor_gateway_requests_total"
PREFIX_QUERIES, PREFIX_HITS = "vllm:prefix_cache_queries_total", "vllm:prefix_cache_hits_total"
STATE_WORDS = {
    "1": ("Starting", GREY),
    "2": ("Loading", "blue"),
    "3": ("Warming", "purple"),
    "4": ("Ready", GREEN),
    "5": ("Draining", YELLOW),
    "6": ("Failed", RED),
}


def engine(metric: str, **more: str) -> str:
    """Return a metric of the chosen fleets' chosen engine pods."""
    return of(metric, **CHOSEN, **more)


def _state() -> str:
    """One number per pod, as the words above count them."""
    states = (engine("torpor_engine_state", state=word) for word, _ in STATE_WORDS.values())
    terms = (f"{number} * {latest(series, BY_POD)}" for number, series in enumerate(states, 1))
    return " + ".join(terms)


WELL = Row(
    "Is it well, and since when?",
    (
        Panel(
            "Conditions",
            "What the fleet's object says of itself: whether it serves or would wake, whether its pods have "
            "nodes, whether the signals are known. A fleet that sleeps is ready.",
            "short",
            (
                Query(
                    latest(
                        of("torpor_fleet_condition", type="~Ready|PodsScheduled|SignalsAvailable"), BY_TYPE
                    ),
                    f"{FLEET_NAME} {{{{type}}}}",
                ),
            ),
            kind=STATES,
            words={"1": ("yes", GREEN), "0": ("no", RED), "-1": ("unknown", GREY)},
        ),
        Panel(
            "Replicas",
            "Replicas that hold, those that answer, and the number that Torpor alone would ask for.",
            "short",
            (
                Query(latest(of("torpor_fleet_desired_replicas")), f"{FLEET_NAME} desired"),
                Query(latest(of("torpor_fleet_ready_replicas")), f"{FLEET_NAME} ready"),
                Query(latest(of("torpor_fleet_recommended_replicas")), f"{FLEET_NAME} recommended"),
            ),
            width=12,
        ),
    ),
)

FEEL = Row(
    "What do users feel?",
    (
        Panel(
            "Time to first token",
            "From a request's arrival at the gateway to the first event of its stream, held and queued time "
            "included.",
            "s",
            quantiles("torpor_gateway_time_to_first_token_seconds"),
            none=NO_REQUESTS,
        ),
        Panel(
            "Tokens per second of a stream",
            "Output tokens after the first, per second, of each complete stream: p5 is the speed that 19 of "
            "20 streams reach, p50 the usual one.",
            "short",
            quantiles("torpor_gateway_stream_tokens_per_second", (0.05, 0.5)),
            none=NO_REQUESTS,
        ),
        Panel(
            "Inter-token latency",
            "Time between two events of a stream, as the client's side of the gateway sees it.",
            "s",
            quantiles("torpor_gateway_inter_token_latency_seconds"),
            none=NO_REQUESTS,
        ),
        Panel(
            "Requests by how they ended",
            "Requests per second by status and reason. 200 with a reason is a stream that broke off.",
            "reqps",
            (Query(total(rate(of(REQUESTS)), "code, reason"), "{{code}} {{reason}}"),),
            stacked=True,
            none=NO_REQUESTS,
        ),
        Panel(
            "Errors",
            "Share of the requests that the gateway or an engine answered with a status of 500 or above, or "
            "that broke off.",
            "percentunit",
            (
                Query(
                    share(total(rate(of(REQUESTS, code="~5.."))), total(rate(of(REQUESTS)))),
                    f"{FLEET_NAME} 5xx",
                ),
                Query(
                    share(total(rate(of(REQUESTS, code="200", reason="~.+"))), total(rate(of(REQUESTS)))),
                    f"{FLEET_NAME} broken off",
                ),
            ),
            top=1,
            steps=FAILED,
            none=NO_REQUESTS,
        ),
        Panel(
            "Objectives",
            "Streams per second that kept or missed the fleet's latency objectives, with the requests that "
            "waited in vain among the missed. Empty where the fleet has none.",
            "reqps",
            (Query(total(rate(of("torpor_gateway_objectives_total")), "result"), "{{result}}"),),
            stacked=True,
            none="no objectives",
        ),
    ),
)

WAITING = Row(
    "Where do requests wait?",
    (
        Panel(
            "Requests in the fleet",
            "Held for a wake, queued at the gateways for a free replica, and at engines.",
            "short",
            (
                Query(total(of("torpor_gateway_held_requests")), f"{FLEET_NAME} held"),
                Query(total(of("torpor_gateway_queued_requests")), f"{FLEET_NAME} queued"),
                Query(total(of("torpor_gateway_in_flight_requests")), f"{FLEET_NAME} at engines"),
            ),
            stacked=True,
        ),
        Panel(
            "Running and waiting in engines",
            "Requests that engines compute, and those that wait inside them.",
            "short",
            (
                Query(total(engine("vllm:num_requests_running"), BY_POD), "{{pod}} running"),
                Query(total(engine("vllm:num_requests_waiting"), BY_POD), "{{pod}} waiting"),
            ),
            none=NO_REPLICA,
        ),
        Panel(
            "Waiting in engines, by reason",
            "`capacity` waits for room in the KV cache or the batch: more replicas help. `deferred` waits "
            "for an adapter or a transfer, and they may not.",
            "short",
            (Query(total(engine("vllm:num_requests_waiting_by_reason"), "reason"), "{{reason}}"),),
            none=NO_REPLICA,
        ),
        Panel(
            "Time held",
            "How long requests waited for the fleet to wake, of those whose wait ended.",
            "s",
            quantiles("torpor_gateway_hold_seconds", (0.5, 0.95)),
            none=NO_REQUESTS,
        ),
        Panel(
            "Time queued at the gateway",
            "How long requests waited for a free replica while the fleet was awake.",
            "s",
            quantiles("torpor_gateway_queue_seconds", (0.5, 0.95)),
            none=NO_REQUESTS,
        ),
        Panel(
            "Time queued in engines",
            "Mean from an engine's taking a request to its first step, of requests that ended.",
            "s",
            (Query(mean("vllm:request_queue_time_seconds", BY_POD), "{{pod}}"),),
            none=NO_REPLICA,
        ),
    ),
)

WORK = Row(
    "Prefill or decode: what are engines busy with?",
    (
        Panel(
            "Tokens",
            "Prompt tokens that came in and output tokens that went out, per second, of completed requests.",
            "short",
            (Query(total(rate(of(TOKENS)), "cluster, namespace, name, kind"), f"{FLEET_NAME} {{{{kind}}}}"),),
            none=NO_REQUESTS,
        ),
        Panel(
            "Prefill against decode, in tokens",
            "Prompt tokens for each output token of completed requests. High: the fleet reads (prefill "
            "bounds it, and time to first token suffers first). Low: it writes (decode bounds it, and tokens "
            "per second suffer).",
            "short",
            (
                Query(
                    share(total(rate(of(TOKENS, kind="prompt"))), total(rate(of(TOKENS, kind="output")))),
                    FLEET_NAME,
                ),
            ),
            none=NO_REQUESTS,
        ),
        Panel(
            "Prefill against decode, in time",
            "Mean time that a request spends in each, as engines measured it.",
            "s",
            (
                Query(mean("vllm:request_prefill_time_seconds"), f"{FLEET_NAME} prefill"),
                Query(mean("vllm:request_decode_time_seconds"), f"{FLEET_NAME} decode"),
            ),
            none=NO_REPLICA,
        ),
        Panel(
            "Time to first token in engines",
            "The engines' own, from their taking the request: what is left when held and queued time are "
            "taken away.",
            "s",
            quantiles("vllm:time_to_first_token_seconds", (0.5, 0.95)),
            none=NO_REPLICA,
        ),
        Panel(
            "Inter-token latency in engines",
            "The engines' own time between two tokens.",
            "s",
            quantiles("vllm:inter_token_latency_seconds", (0.5, 0.95)),
            none=NO_REPLICA,
        ),
        Panel(
            "Tokens of a step",
            "Mean number of tokens, prompt and output, in a step of the engine.",
            "short",
            (Query(mean("vllm:iteration_tokens_total", BY_POD), "{{pod}}"),),
            none=NO_REPLICA,
        ),
    ),
)

CACHE = Row(
    "Is the KV cache the limit?",
    (
        Panel(
            "KV-cache utilization",
            "Share of the KV cache in use. Near 1 requests wait, or are put out and computed again.",
            "percentunit",
            (Query(latest(engine("vllm:kv_cache_usage_perc"), BY_POD), "{{pod}}"),),
            top=1,
            steps=FULL,
            none=NO_REPLICA,
        ),
        Panel(
            "Preemptions",
            "Requests per second that lost their place in the KV cache and are computed again.",
            "ops",
            (Query(total(rate(engine("vllm:num_preemptions_total")), BY_POD), "{{pod}}"),),
            none=NO_REPLICA,
        ),
        Panel(
            "Prefix-cache hits",
            "Share of the prompt tokens looked up in the prefix cache that were there.",
            "percentunit",
            (
                Query(
                    share(
                        total(rate(engine(PREFIX_HITS)), BY_POD), total(rate(engine(PREFIX_QUERIES)), BY_POD)
                    ),
                    "{{pod}}",
                ),
            ),
            top=1,
            none=NO_REPLICA,
        ),
        Panel(
            "Prompt tokens by where their KV came from",
            "Prompt tokens per second that were computed, found in the cache, or fetched.",
            "short",
            (Query(total(rate(engine("vllm:prompt_tokens_by_source_total")), "source"), "{{source}}"),),
            stacked=True,
            none=NO_REPLICA,
        ),
        Panel(
            "Cached prompts as the gateways route them",
            "Share of the prompt tokens that went to a pod which the gateway thinks has them cached.",
            "percentunit",
            (
                Query(
                    share(
                        total(rate(of("torpor_gateway_routed_prompt_tokens_total", kind="known"))),
                        total(rate(of("torpor_gateway_routed_prompt_tokens_total"))),
                    ),
                    FLEET_NAME,
                ),
            ),
            top=1,
            none=NO_REQUESTS,
        ),
        Panel(
            "Engines' answers",
            "Requests per second that engines finished, by reason, and refused because their queue was full.",
            "reqps",
            (
                Query(
                    total(rate(engine("vllm:request_success_total")), "finished_reason"),
                    "{{finished_reason}}",
                ),
                Query(
                    total(rate(engine("vllm:admission_rejections_total")), "reason"), "refused: {{reason}}"
                ),
            ),
            none=NO_REPLICA,
        ),
    ),
)

PODS = Row(
    "What are its replicas doing?",
    (
        Panel(
            "State of each pod",
            "What the launcher says of its engine.",
            "short",
            (Query(_state(), "{{pod}}"),),
            kind=STATES,
            words=STATE_WORDS,
            width=16,
            none=NO_REPLICA,
        ),
        Panel(
            "Restarts of engines",
            "Starts of the container in each pod before the present one.",
            "short",
            (Query(latest(engine("torpor_engine_restarts"), BY_POD), "{{pod}}"),),
            none=NO_REPLICA,
        ),
        Panel(
            "Age of the engines' metrics",
            "Since the launcher last read its engine's metrics. From 15 s on its signals count as unknown, "
            "from 30 s on its metrics are left out: an engine that does not answer here is stuck.",
            "s",
            (Query(latest(engine("torpor_engine_metrics_age_seconds"), BY_POD), "{{pod}}"),),
            steps=((15, YELLOW), (30, RED)),
            none=NO_REPLICA,
        ),
        Panel(
            "Metrics that engines do not have",
            "Families that are expected of the engine and are not there: those signals are unknown. Empty is "
            "good.",
            "short",
            (Query(f"sum by (metric) ({engine('torpor_engine_missing_metric')})", "{{metric}}"),),
            none="none is missing",
        ),
    ),
)

BOARD = Board(
    "torpor-fleet",
    "Torpor / Fleet",
    "One fleet: time to first token and tokens per second, queues, prefill and decode, KV cache, errors, "
    "pods.",
    (*FLEETS, POD),
    (WELL, FEEL, WAITING, WORK, CACHE, PODS),
)
