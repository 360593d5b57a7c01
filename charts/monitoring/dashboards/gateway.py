"""The gateway: what it holds and refuses and why, what it adds to a request, and who asks.

What a gateway adds has three parts that mean different things: waiting for a wake, waiting for a free
replica, and its own work. The first two are measured by themselves; the third shows as the difference
between the time to first token that clients see and the engines' own, once those two are taken away, and as
the CPU of a process that can use one core.
"""

from charts.monitoring.dashboards.parts import (
    BY_FLEET,
    CLUSTER,
    FAILED,
    FLEET,
    FLEET_NAME,
    FULL,
    GREEN,
    NAMESPACE,
    NO_REQUESTS,
    RED,
    STAT,
    STATES,
    YELLOW,
    Board,
    Choice,
    Panel,
    Query,
    Row,
    here,
    mean,
    of,
    rate,
    share,
    total,
)

KEY = Choice("key", "API key", "key", 'torpor_gateway_key_requests_total{cluster=~"$cluster"}')
HELD = "torpor_gateway_held_requests"
REQUESTS = "torpor_gateway_requests_total"
CLIENT_TTFT, ENGINE_TTFT = "torpor_gateway_time_to_first_token_seconds", "vllm:time_to_first_token_seconds"
# Only the gateway's processes have these series beside the ones that every Python process has.
ITS = f"and on (cluster, instance) group by (cluster, instance) ({here('torpor_gateway_connections')})"


def keys(metric: str, by: str, **more: str) -> str:
    """Return a sum of a counter of API keys, per second."""
    return f"sum by ({by}) ({rate(here(metric, key='~$key', **more))})"


def waited(histogram: str) -> str:
    """Seconds of waiting for each request that arrived, those that did not wait among them."""
    return share(
        total(rate(of(f"{histogram}_sum"))),
        total(rate(of("torpor_gateway_arrivals_total"))),
    )


NOW = Row(
    "What is waiting now?",
    (
        Panel(
            "Held",
            "Requests that wait for a fleet that sleeps or wakes.",
            "short",
            (Query(f"sum({of(HELD)})", "held", whole=True),),
            kind=STAT,
            steps=((1, YELLOW),),
            none="0",
            width=3,
        ),
        Panel(
            "Queued",
            "Requests that wait for a free replica.",
            "short",
            (Query(f"sum({of('torpor_gateway_queued_requests')})", "queued", whole=True),),
            kind=STAT,
            none="0",
            width=3,
        ),
        Panel(
            "At engines",
            "Requests that engines are working on.",
            "short",
            (Query(f"sum({of('torpor_gateway_in_flight_requests')})", "at engines", whole=True),),
            kind=STAT,
            none="0",
            width=3,
        ),
        Panel(
            "Turned away",
            "Share of the fleets' requests, in the last minutes, that were refused with 429 or 503, "
            "whatever for.",
            "percentunit",
            (
                Query(
                    share(f"sum({rate(of(REQUESTS, code='~429|503'))})", f"sum({rate(of(REQUESTS))})"),
                    "of the requests",
                ),
            ),
            kind=STAT,
            steps=FAILED,
            decimals=1,
            none="nobody",
            width=3,
        ),
        Panel(
            "Connections",
            "Open connections of clients.",
            "short",
            (Query(f"sum({here('torpor_gateway_connections')})", "connections", whole=True),),
            kind=STAT,
        ),
        Panel(
            "Bodies in memory",
            "Bytes of request bodies that gateways keep. At the limit of maxBufferedMebibytes each refuses.",
            "bytes",
            (Query(f"sum({here('torpor_gateway_buffered_bytes')})", "bodies", whole=True),),
            kind=STAT,
        ),
        Panel(
            "Draining",
            "Gateways that got their SIGTERM and finish what they have.",
            "short",
            (Query(f"sum({here('torpor_gateway_draining')})", "draining", whole=True),),
            kind=STAT,
            steps=((1, YELLOW),),
        ),
    ),
)

REFUSED = Row(
    "Who was refused, and why?",
    (
        Panel(
            "Requests of each gateway",
            "Requests per second that each gateway process has answered or refused. They get about the "
            "same; one that gets nothing is not reached.",
            "reqps",
            (Query(f"sum by (instance) ({rate(of(REQUESTS))})", "{{instance}}"),),
            stacked=True,
            none=NO_REQUESTS,
        ),
        Panel(
            "Refusals by reason",
            "Errors per second that gateways answered themselves, by status and reason: bad requests, keys, "
            "limits, full lines, wakes that failed.",
            "reqps",
            (
                Query(
                    f"sum by (code, reason) ({rate(here('torpor_gateway_errors_total'))})",
                    "{{code}} {{reason}}",
                ),
            ),
            none="nothing refused",
        ),
        Panel(
            "Retries",
            "Requests per second that were sent to another pod, by reason, and those that clients sent "
            "again.",
            "reqps",
            (
                Query(total(rate(of("torpor_gateway_upstream_retries_total")), "reason"), "{{reason}}"),
                Query(f"sum({rate(of('torpor_gateway_client_retries_total'))})", "by clients"),
            ),
        ),
    ),
)

WAKES = Row(
    "Does holding work?",
    (
        Panel(
            "Oldest held request",
            "How long the first of each fleet's held requests has waited. It is near a cold start at most; "
            "a line that goes on rising is a wake that does not come.",
            "s",
            (Query(f"max by ({BY_FLEET}) ({of('torpor_gateway_oldest_held_seconds')})", FLEET_NAME),),
            width=12,
            leads_to="torpor-fleet",
        ),
        Panel(
            "Answers cut short",
            "Answers per second that ended before their end: their pod had left (drain), their engine died "
            "or stopped (engine), this gateway ended (gateway).",
            "ops",
            (Query(total(rate(of("torpor_gateway_cut_answers_total")), "cause"), "{{cause}}"),),
            width=12,
        ),
    ),
)

ADDED = Row(
    "What does the gateway add to a request?",
    (
        Panel(
            "Waiting, mean of all requests",
            "Seconds held and queued, divided by all requests that arrived, those that did not wait among "
            "them.",
            "s",
            (
                Query(waited("torpor_gateway_hold_seconds"), f"{FLEET_NAME} held"),
                Query(waited("torpor_gateway_queue_seconds"), f"{FLEET_NAME} queued"),
            ),
        ),
        Panel(
            "Time to first token, before and behind the gateway",
            "Means of what clients see and what engines measure. The distance is held and queued time, the "
            "gateway's own work and the network.",
            "s",
            (
                Query(mean(CLIENT_TTFT), f"{FLEET_NAME} at the gateway"),
                Query(mean(ENGINE_TTFT), f"{FLEET_NAME} in engines"),
            ),
        ),
        Panel(
            "Added to the first token",
            "The distance between the two means. With the waiting of the panel on the left taken away, what "
            "is left is milliseconds; more points at a gateway without CPU or at the network.",
            "s",
            (Query(f"{mean(CLIENT_TTFT)} - {mean(ENGINE_TTFT)}", FLEET_NAME),),
            bottom=None,
        ),
        Panel(
            "CPU of gateway processes",
            "Cores that each process uses. One core is all that it can use: near 1 every token waits, and "
            "more gateways or workers are needed.",
            "suffix: cores",
            (
                Query(
                    f"{rate(here('process_cpu_seconds_total'))} {ITS}",
                    "{{instance}} {{worker}}",
                ),
            ),
            steps=((0.7, YELLOW), (0.9, RED)),
            decimals=2,
        ),
        Panel(
            "Pods that may get work",
            "Pods of each fleet that the gateways send requests to, by the gateway that sees the fewest.",
            "short",
            (
                Query(
                    f"min by (cluster, namespace, name) ({of('torpor_gateway_routable_endpoints')})",
                    FLEET_NAME,
                ),
            ),
        ),
    ),
)

KEYS = Row(
    "Who asks? (all fleets)",
    (
        Panel(
            "Requests of each key",
            "Requests per second of each API key that were let in.",
            "reqps",
            (Query(keys("torpor_gateway_key_requests_total", "key"), "{{key}}"),),
            none="no keys",
        ),
        Panel(
            "Refusals of each key",
            "Requests per second of each API key that were refused, by reason.",
            "reqps",
            (Query(keys("torpor_gateway_key_refusals_total", "key, reason"), "{{key}}: {{reason}}"),),
            none="none refused",
        ),
        Panel(
            "Tokens of each key",
            "Tokens per second of each API key's requests, prompts and answers.",
            "short",
            (Query(keys("torpor_gateway_key_tokens_total", "key, kind"), "{{key}} {{kind}}"),),
            none="no keys",
        ),
        Panel(
            "Requests of each key under way",
            "Requests of each API key that wait or run, at all gateways together.",
            "short",
            (
                Query(
                    f"sum by (key) ({here('torpor_gateway_key_requests_under_way', key='~$key')})", "{{key}}"
                ),
            ),
            none="no keys",
        ),
        Panel(
            "Keys that gateways know",
            "API keys known to each gateway. All should know the same.",
            "short",
            (Query(here("torpor_gateway_api_keys"), "{{instance}}"),),
        ),
        Panel(
            "Readings of the keys that failed",
            "Failed readings per second, and 1 while a gateway goes by keys that it could not read again.",
            "short",
            (
                Query(
                    f"sum by (instance) ({rate(here('torpor_gateway_api_keys_failed_reads_total'))})",
                    "{{instance}} failed",
                ),
                Query(here("torpor_gateway_api_keys_stale"), "{{instance}} stale"),
            ),
        ),
    ),
)

PROCESSES = Row(
    "Are the gateways themselves well?",
    (
        Panel(
            "Memory",
            "Resident memory of each gateway process.",
            "bytes",
            (Query(f"{here('process_resident_memory_bytes')} {ITS}", "{{instance}} {{worker}}"),),
        ),
        Panel(
            "Open files",
            "Share of the open files that each process may have. At 1 it takes no more connections.",
            "percentunit",
            (
                Query(
                    f"{here('process_open_fds')} / {here('process_max_fds')} {ITS}", "{{instance}} {{worker}}"
                ),
            ),
            top=1,
            steps=FULL,
        ),
        Panel(
            "In sync with the cluster",
            "Since when a gateway's watches are not up to date. It goes on with what it knows, and misses "
            "what is new.",
            "short",
            (Query(here("torpor_gateway_synced"), "{{instance}}"),),
            kind=STATES,
            words={"1": ("in sync", GREEN), "0": ("behind", RED)},
            width=8,
        ),
        Panel(
            "Operators that listen",
            "Operators on each gateway's demand stream. Without one nothing wakes.",
            "short",
            (Query(here("torpor_gateway_demand_readers"), "{{instance}}"),),
        ),
        Panel(
            "Streams from launchers",
            "Streams of the engines' state, by whether they are up. Without one the gateway probes the "
            "engine.",
            "short",
            (Query(total(of("torpor_gateway_stats_streams"), "state"), "{{state}}"),),
        ),
        Panel(
            "Records lost",
            "Lines of the access log and spans per second, by what became of them.",
            "ops",
            (
                Query(
                    f"sum by (result) ({rate(here('torpor_gateway_access_log_lines_total'))})",
                    "lines {{result}}",
                ),
                Query(f"sum by (result) ({rate(here('torpor_gateway_spans_total'))})", "spans {{result}}"),
            ),
            none="nothing recorded",
        ),
    ),
)

BOARD = Board(
    "torpor-gateway",
    "Torpor / Gateway",
    "The gateway: held requests, wakes, refusals and retries by reason, added latency, keys.",
    (CLUSTER, NAMESPACE, FLEET, KEY),
    (NOW, REFUSED, WAKES, ADDED, KEYS, PROCESSES),
)
