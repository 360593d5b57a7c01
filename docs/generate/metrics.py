"""The tables of docs/reference/metrics.md: every series of our processes, with what they say of it.

Names, types, labels and the sentence of each row are the processes' own (HELP), the words of a label those
of `charts.monitoring.exposed`. HELP is read beside a graph and stays short; what only a page has room for
(when a series is absent, where it is explained) is in `MORE`. A name there that nothing serves is an error,
and a new series is on the page without anybody thinking of it.
"""

from collections.abc import Callable, Iterator

from charts.monitoring import exposed
from charts.monitoring.exposed import Series
from docs.generate.words import code, table

BEGIN = "<!-- {section}: made by `python -m docs.generate` from the registries -->"
END = "<!-- {section} end -->"
FLEET = ("namespace", "name")
MOST_WORDS = 6  # of a label that are listed; others are explained where they belong

MORE = {
    "torpor_fleet_desired_replicas": "By the decision, by the mode, or by `spec.scaling.replicas`.",
    "torpor_fleet_recommended_replicas": "That is in the mode `Paused`.",
    "torpor_fleet_signal": "Shares and utilizations are from 0 to 1.",
    "torpor_fleet_signal_target": "In the same unit.",
    "torpor_fleet_schedule_closed": "Absent without a schedule.",
    "torpor_fleet_schedule_min_replicas": "Absent where it sets none.",
    "torpor_fleet_schedule_max_replicas": "Absent where it sets none.",
    "torpor_fleet_objectives_total": "Streams that were judged, and requests that waited in vain.",
    "torpor_fleet_hold_limit_seconds": "Absent where none is held (`response: Reject`).",
    "torpor_fleet_prefill_budget_tokens": "See [prefill budget](fleet-config.md#the-prefill-budget).",
    "torpor_fleet_condition": "See [conditions.md](conditions.md).",
    "torpor_fleet_gpu_used_seconds_total": "See [saved.md](saved.md).",
    "torpor_fleet_gpu_saved_seconds_total": "`against`: `max` or `peak`; see [saved.md](saved.md).",
    "torpor_gateway_errors_total": "Of fleets or not; the reasons are in [errors.md](errors.md).",
    "torpor_gateway_key_refusals_total": "`reason` is the limit's name, `model`, or a code.",
    "torpor_gateway_requests_total": (
        "`reason` is empty where the engine's answer was passed on whole, else a code of "
        "[errors.md](errors.md)."
    ),
    "torpor_gateway_arrivals_total": "Repeats of clients are left out.",
    "torpor_gateway_client_retries_total": "As its `x-stainless-retry-count` says.",
    "torpor_gateway_upstream_retries_total": (
        "Or again to the same: `connection`, `reused_connection`, `overloaded`, `draining`, `aborted`, "
        "`empty`."
    ),
    "torpor_gateway_routed_prompt_tokens_total": "See [routing.md](routing.md).",
    "torpor_gateway_cut_answers_total": (
        "After data had reached the client: `drain` (its pod was leaving and the time for that was over), "
        "`engine` (it died or stopped), `gateway` (this process ended)."
    ),
    "torpor_gateway_oldest_held_seconds": "0 where there is none.",
    "torpor_gateway_time_to_first_token_seconds": "It has arrived when its body is there; waiting counts.",
    "torpor_gateway_inter_token_latency_seconds": "Several events that came in one piece share its time.",
    "torpor_gateway_stream_tokens_per_second": (
        "That is the tokens after the first, divided by the time from the first event to the last; none "
        "where there was one token, or all came in one piece."
    ),
    "torpor_gateway_hold_seconds": "Asleep is a fleet of which no replica answers.",
    "torpor_gateway_queue_seconds": (
        "A wait that was first a hold and then this counts in both, each with its part; who did not wait "
        "counts in neither, and a part of less than 2 ms belongs to the other."
    ),
    "torpor_gateway_certificate_expiry_timestamp_seconds": (
        "Absent without [HTTPS](gateway.md#https), as are all of the certificate."
    ),
    "torpor_gateway_certificate_stale": "The last good one is shown.",
    "torpor_gateway_access_log_lines_total": (
        "`result`: `written`, `lost`. Absent without an [access log](tracing.md#the-access-log)."
    ),
    "torpor_gateway_spans_total": (
        "`result`: `exported`, `dropped` (the buffer was full), `failed` (the collector did not take them). "
        "Absent without [tracing](tracing.md#spans)."
    ),
    "torpor_gateway_workers": "Only with several workers.",
    "torpor_gateway_worker_restarts_total": "Only with several workers.",
    "torpor_engine_streams": "One of each gateway process.",
    "torpor_engine_metrics_age_seconds": "Beyond 30 s the engine's own are left out.",
}

SECTIONS: dict[str, Callable[[Series], bool]] = {
    "of fleets": lambda it: it.name.startswith("torpor_fleet_"),
    "of the operator": lambda it: it.name.startswith("torpor_operator_"),
    "of fleets at the gateway": lambda it: _at_gateway(it) and set(FLEET) <= it.labels,
    "of keys": lambda it: _at_gateway(it) and "key" in it.labels,
    "of the gateway": lambda it: _at_gateway(it) and "key" not in it.labels and not set(FLEET) <= it.labels,
    "of the launcher": lambda it: it.name.startswith("torpor_engine_"),
}


def _at_gateway(series: Series) -> bool:
    return series.name.startswith("torpor_gateway_")


def insert(page: str) -> str:
    """Return `page` with its tables between their marks. ValueError names what is missing or left over."""
    everything = list(served())
    if unknown := set(MORE) - {series.name for series in everything}:
        raise ValueError(f"docs/generate/metrics.py: nothing serves {sorted(unknown)}; remove them from MORE")
    for section, holds in SECTIONS.items():
        begin, end = BEGIN.format(section=section), END.format(section=section)
        head, found, rest = page.partition(begin)
        _, closed, tail = rest.partition(end)
        if not found or not closed:
            raise ValueError(f"metrics.md: the marks {begin!r} and {end!r} are missing; put them back")
        rows = [_row(series) for series in everything if holds(series)]
        page = f"{head}{begin}\n\n{table(('metric', 'labels', 'type', 'is'), rows)}\n{end}{tail}"
    return page


def served() -> Iterator[Series]:
    """Yield each series of ours once: a histogram by its own name, not by its parts."""
    for series in (*exposed.of_operator(), *exposed.of_gateway(), *exposed.of_launcher()):
        if series.kind != "histogram":
            yield series
        elif series.name.endswith("_bucket"):
            name = series.name.removesuffix("_bucket")
            yield Series(name, "histogram", series.labels - {"le"}, series.target, series.words, series.about)


def _row(series: Series) -> tuple[str, str, str, str]:
    own = series.labels if series.name.startswith("torpor_engine_") else series.labels - set(FLEET)
    words = [
        f"`{label}`: {', '.join(map(code, sorted(words)))}."
        for label, words in sorted(series.words.items())
        if len(words) <= MOST_WORDS and not all(f"`{word}`" in MORE.get(series.name, "") for word in words)
    ]
    told = " ".join([series.about, *words, *([MORE[series.name]] if series.name in MORE else ())])
    return code(series.name), ", ".join(map(code, sorted(own))), series.kind, told
