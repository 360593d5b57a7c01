"""What the engine's /metrics says, in the words of the stats stream.

vLLM prints several hundred lines for one model; a general parser spends more on them than the numbers are
worth several times a second. So the text is scanned for the few families that the stream carries. Names
changed between versions: every quantity lists its names, newest first, and the first that is present counts.
A quantity without any of its names is None and its name is reported as missing. It is never guessed and never
zero: zero waiting requests would let a busy fleet shrink.

Two of the quantities look alike. Hits of the prefix cache are counted when a request is scheduled, by some
versions again at every attempt that finds no room; cached prompt tokens are counted once, together with the
prompt tokens that they are part of. The stream carries both, and whoever wants to know what was computed
takes the latter where it exists.

Engines of one pod (data-parallel ranks) each have their series. Requests, tokens and capacity add up;
utilization is the mean, since the ranks of one server have equal caches. A family with a value that is not a
finite number of at least 0, or with the same series twice, is None as a whole: a sum that lacks a part looks
like a small sum.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field

LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
COUNT = re.compile(r"[0-9]{1,15}")

RUNNING = ("vllm:num_requests_running",)
WAITING = ("vllm:num_requests_waiting",)
WAITING_BY_REASON = ("vllm:num_requests_waiting_by_reason",)
KV_UTILIZATION = ("vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc")
CACHE_CONFIG = ("vllm:cache_config_info",)
PROMPT_TOKENS = ("vllm:prompt_tokens_total", "vllm:prompt_tokens")
GENERATION_TOKENS = ("vllm:generation_tokens_total", "vllm:generation_tokens")
PREEMPTIONS = ("vllm:num_preemptions_total", "vllm:num_preemptions")
PREFIX_QUERIES = (
    "vllm:prefix_cache_queries_total", "vllm:prefix_cache_queries",
    "vllm:gpu_prefix_cache_queries_total", "vllm:gpu_prefix_cache_queries",
)  # fmt: skip
PREFIX_HITS = (
    "vllm:prefix_cache_hits_total", "vllm:prefix_cache_hits",
    "vllm:gpu_prefix_cache_hits_total", "vllm:gpu_prefix_cache_hits",
)  # fmt: skip
CACHED_PROMPT_TOKENS = ("vllm:prompt_tokens_cached_total", "vllm:prompt_tokens_cached")
# Sum and number of one histogram: the generation of the one has to be that of the other.
GAP_SECONDS = ("vllm:inter_token_latency_seconds_sum", "vllm:time_per_output_token_seconds_sum")
GAPS = ("vllm:inter_token_latency_seconds_count", "vllm:time_per_output_token_seconds_count")
FIRST_TOKENS = ("vllm:time_to_first_token_seconds_count",)
FAMILIES = (
    RUNNING, WAITING, WAITING_BY_REASON, KV_UTILIZATION, CACHE_CONFIG,
    PROMPT_TOKENS, GENERATION_TOKENS, PREEMPTIONS, PREFIX_QUERIES, PREFIX_HITS, CACHED_PROMPT_TOKENS,
    GAP_SECONDS, GAPS, FIRST_TOKENS,
)  # fmt: skip
WANTED = {name.encode(): name for names in FAMILIES for name in names}


@dataclass(frozen=True)
class Sample:
    """One reading of the engine's metrics; None is "not reported"."""

    running: int | None = None
    waiting: int | None = None
    waiting_capacity: int | None = None
    kv_utilization: float | None = None
    kv_capacity_tokens: int | None = None
    prompt_tokens_total: int | None = None
    generation_tokens_total: int | None = None
    preemptions_total: int | None = None
    prefix_queries_total: int | None = None
    prefix_hits_total: int | None = None
    cached_prompt_tokens_total: int | None = None
    gaps: int | None = None  # between two outputs of a sequence, and their sum
    gap_seconds: float | None = None
    first_tokens_total: int | None = None
    missing: tuple[str, ...] = field(default=())


Series = dict[str, float]  # text of the label set -> value


def scan(body: bytes) -> dict[str, Series]:
    """The series of the wanted families in a text exposition, by name; unreadable values become NaN."""
    found: dict[str, Series] = {}
    for line in body.split(b"\n"):
        if not line.startswith(b"vllm:"):
            continue
        end = line.find(b"{")
        if end < 0:
            end = line.find(b" ")
        name = WANTED.get(line[:end])
        if name is None:
            continue
        close = line.rfind(b"}")
        labels = line[end + 1 : close].decode("utf-8", "replace") if close > end else ""
        words = line[max(close, end) + 1 :].split()
        try:
            value = float(words[0])
        except (IndexError, ValueError):
            value = math.nan
        series = found.setdefault(name, {})
        series[labels] = math.nan if labels in series else value
    return found


def _pick(found: dict[str, Series], names: tuple[str, ...]) -> Series | None:
    for name in names:
        if name in found:
            return found[name]
    return None


def _sum(series: Series | None) -> float | None:
    if not series or not all(math.isfinite(value) and value >= 0 for value in series.values()):
        return None
    return sum(series.values())


def _whole(series: Series | None) -> int | None:
    total = _sum(series)
    return None if total is None else round(total)


def _gaps(found: dict[str, Series]) -> tuple[int | None, float | None]:
    """Number and sum of the gaps between outputs, both or none: a mean of two things is the mean of none."""
    for count, total in zip(GAPS, GAP_SECONDS):
        if count in found or total in found:
            number, seconds = _whole(found.get(count)), _sum(found.get(total))
            return (None, None) if number is None or seconds is None else (number, round(seconds, 6))
    return None, None


def _capacity(series: Series | None) -> int | None:
    """Tokens that fit into all caches: what the engine says, else blocks times their size."""
    total = 0
    for labels in series or ():
        config = dict(LABEL.findall(labels))
        size = config.get("kv_cache_size_tokens", "")
        blocks, block = config.get("num_gpu_blocks", ""), config.get("block_size", "")
        if COUNT.fullmatch(size):
            total += int(size)
        elif COUNT.fullmatch(blocks) and COUNT.fullmatch(block):
            total += int(blocks) * int(block)
        else:
            return None
    return total or None


def read_metrics(body: bytes) -> Sample:
    """The sample in the text of an engine's /metrics."""
    found = scan(body)
    by_reason = _pick(found, WAITING_BY_REASON)
    capacity = {
        k: v for k, v in (by_reason or {}).items() if dict(LABEL.findall(k)).get("reason") == "capacity"
    }
    utilization = _pick(found, KV_UTILIZATION)
    kv = _sum(utilization)
    gaps, gap_seconds = _gaps(found)
    return Sample(
        running=_whole(_pick(found, RUNNING)),
        waiting=_whole(_pick(found, WAITING)),
        waiting_capacity=_whole(capacity),
        kv_utilization=None if kv is None or not utilization else min(1.0, round(kv / len(utilization), 6)),
        kv_capacity_tokens=_capacity(_pick(found, CACHE_CONFIG)),
        prompt_tokens_total=_whole(_pick(found, PROMPT_TOKENS)),
        generation_tokens_total=_whole(_pick(found, GENERATION_TOKENS)),
        preemptions_total=_whole(_pick(found, PREEMPTIONS)),
        prefix_queries_total=_whole(_pick(found, PREFIX_QUERIES)),
        prefix_hits_total=_whole(_pick(found, PREFIX_HITS)),
        cached_prompt_tokens_total=_whole(_pick(found, CACHED_PROMPT_TOKENS)),
        gaps=gaps,
        gap_seconds=gap_seconds,
        first_tokens_total=_whole(_pick(found, FIRST_TOKENS)),
        missing=tuple(names[0] for names in FAMILIES if _pick(found, names) is None),
    )
