"""vLLM's metrics: its names, labels, types and bucket bounds, fed by the engine model.

The list is that of vLLM 0.32 and 0.33 in a default installation; tests compare it with a recording of the
real /metrics. `generation="old"` speaks the names of vLLM before 0.10 for what was renamed since (the cache's
utilization and its prefix counters, the time between tokens), because such engines are still deployed.
Metrics of things that are not modelled (multi-modal cache, KV connectors, sleep mode) are there and stay at
their resting value, as in a vLLM that does not use them. Not there: python_*, process_* and the size
summaries of the HTTP layer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torpor_sim.exposition import Counter, Family, Gauge, Histogram

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torpor.simulate.engine_model import EngineModel, Outcome
    from torpor.simulate.sequences import Sequence as Work

# fmt: off
LATENCY = (0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0,
           480.0, 960.0, 1920.0, 7680.0)
FIRST_TOKEN = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
               20.0, 40.0, 80.0, 160.0, 640.0, 2560.0)
INTER_TOKEN = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
               20.0, 40.0, 80.0)
STEP_TOKENS = (1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384)
PREEMPTIONS = (1, 2, 3, 4, 5, 10, 20)
CHOICES = (1, 2, 5, 10, 20)
# fmt: on
# Labels of cache_config_info that mean nothing here, at the values of a default vLLM.
_UNSET = """
cache_hit_alignment_tokens hash_block_size kv_cache_layout kv_cache_memory_bytes kv_offloading_size
mamba_block_size mamba_page_size_padded num_cpu_blocks num_gpu_blocks_override prefix_match_unit
skip_page_size_padded sliding_window
"""
_OFF = """
enable_mamba_shared_prefix_checkpoint is_attention_free kv_sharing_fast_prefill use_kda_recoverssm
use_replayssm user_specified_block_size
"""
CACHE_CONFIG = {
    **dict.fromkeys(_UNSET.split(), "None"),
    **dict.fromkeys(_OFF.split(), "False"),
    "_block_size_resolved": "True",
    "cache_dtype": "auto",
    "kv_cache_dtype_skip_layers": "[]",
    "kv_offloading_backend": "native",
    "mamba_cache_dtype": "auto",
    "mamba_cache_mode": "none",
    "mamba_ssm_cache_dtype": "auto",
    "prefix_cache_retention_interval": "0",
    "prefix_caching_hash_algo": "sha256",
    "replayssm_buffer_len": "16",
    "swa_bounded_replay": "True",
}
FINISH_REASONS = ("stop", "length", "abort", "error", "repetition")
REJECTIONS = ("max_num_queued_reqs", "max_num_queued_tokens")


def token_bounds(max_model_len: int) -> list[int]:
    """1, 2, 5, 10, ... up to the context length."""
    bounds: list[int] = []
    scale = 1
    while True:
        for mantissa in (1, 2, 5):
            if mantissa * scale > max_model_len:
                return bounds
            bounds.append(mantissa * scale)
        scale *= 10


class EngineMetrics:
    """The vllm:* families of one engine."""

    def __init__(
        self,
        model_name: str,
        max_model_len: int,
        cache_config: Mapping[str, str],
        created: float,
        generation: str,
    ) -> None:
        self.base = {"model_name": model_name, "engine": "0"}
        self.families: dict[str, Family] = {}
        self._created = created
        tokens = token_bounds(max_model_len)
        old = generation == "old"
        usage = "gpu_cache_usage_perc" if old else "kv_cache_usage_perc"
        prefix = "gpu_prefix_cache" if old else "prefix_cache"
        gaps = "time_per_output_token_seconds" if old else "inter_token_latency_seconds"

        self.running = self._gauge("num_requests_running", "Requests in the batch.")
        self.waiting = self._gauge("num_requests_waiting", "Requests in the queue.")
        self.waiting_by = self._gauges(
            "num_requests_waiting_by_reason", "Requests in the queue by what they wait for.", "reason",
            ("capacity", "deferred"),
        )  # fmt: skip
        sleep = self._gauges(
            "engine_sleep_state", "1 for the state the engine is in.", "sleep_state",
            ("awake", "weights_offloaded", "discard_all"),
        )  # fmt: skip
        sleep["awake"].value = 1.0
        self.usage = self._gauge(usage, "Share of KV cache blocks in use, 0 to 1.")
        self.prefix_queries = self._counter(f"{prefix}_queries", "Tokens looked up in the prefix cache.")
        self.prefix_hits = self._counter(f"{prefix}_hits", "Tokens found in the prefix cache.")
        for name in ("external_prefix_cache_queries", "external_prefix_cache_hits"):
            self._counter(name, "Not modelled: stays 0.")
        for name in ("mm_cache_queries", "mm_cache_hits"):
            self._counter(name, "Not modelled: stays 0.")
        self.preemptions = self._counter("num_preemptions", "Sequences that lost their KV cache.")
        self.prompt_tokens = self._counter(
            "prompt_tokens", "Prompt tokens of requests that reached their first token."
        )
        self.by_source = self._counters(
            "prompt_tokens_by_source", "Prompt tokens by where their KV came from.", "source",
            ("local_compute", "local_cache_hit", "external_kv_transfer"),
        )  # fmt: skip
        self.cached_tokens = self._counter("prompt_tokens_cached", "Prompt tokens that were cached.")
        self.cached_by = self._counters(
            "prompt_tokens_cached_by_source", "Prefix cache hits by tier.", "source",
            ("device", "host", "p2p", "disk", "external_unspecified"),
        )  # fmt: skip
        self.generated = self._counter("generation_tokens", "Generated tokens.")
        self.success = self._counters(
            "request_success", "Finished requests.", "finished_reason", FINISH_REASONS
        )
        self.rejections = {
            reason: Counter({"model_name": model_name, "reason": reason}, created) for reason in REJECTIONS
        }
        self._add(
            "admission_rejections", "Requests refused by a queue limit.", list(self.rejections.values())
        )

        self.request_prompt = self._histogram("request_prompt_tokens", "Prompt tokens of a request.", tokens)
        self.request_generated = self._histogram(
            "request_generation_tokens", "Generated tokens of a request.", tokens
        )
        self.iteration = self._histogram("iteration_tokens_total", "Tokens of a step.", STEP_TOKENS)
        self.max_generated = self._histogram(
            "request_max_num_generation_tokens", "Longest of the n answers.", tokens
        )
        self.params_n = self._histogram("request_params_n", "Answers asked for.", CHOICES)
        self.params_max = self._histogram("request_params_max_tokens", "Limit of tokens asked for.", tokens)
        self.ttft = self._histogram("time_to_first_token_seconds", "Arrival to first token.", FIRST_TOKEN)
        self.itl = self._histogram(gaps, "Between two tokens.", INTER_TOKEN)
        self.tpot = self._histogram(
            "request_time_per_output_token_seconds", "Mean over a request.", INTER_TOKEN
        )
        self.e2e = self._histogram("e2e_request_latency_seconds", "Arrival to last token.", LATENCY)
        self.queue = self._histogram("request_queue_time_seconds", "Arrival to admission.", LATENCY)
        self.inference = self._histogram(
            "request_inference_time_seconds", "Admission to last token.", LATENCY
        )
        self.prefill = self._histogram("request_prefill_time_seconds", "Admission to first token.", LATENCY)
        self.decode = self._histogram("request_decode_time_seconds", "First to last token.", LATENCY)
        self.request_preempted = self._histogram(
            "request_num_preemptions", "Preemptions of a request.", PREEMPTIONS
        )
        self.computed = self._histogram(
            "request_prefill_kv_computed_tokens", "Prompt tokens not cached.", tokens
        )
        info = Gauge({**cache_config, "engine": "0"})
        info.value = 1.0
        self._add("cache_config_info", "Configuration of the KV cache.", [info])
        self._preempted = 0
        self._queries = 0
        self._hits = 0

    def read_model(self, model: EngineModel) -> None:
        """Copy the gauges and the model's own counters."""
        waiting = float(len(model.waiting))
        self.running.value, self.waiting.value = float(len(model.running)), waiting
        self.waiting_by["capacity"].value = waiting
        self.usage.value = model.kv.utilization
        self.preemptions.inc(model.preemptions - self._preempted)
        self.prefix_queries.inc(model.prefix_queries - self._queries)
        self.prefix_hits.inc(model.prefix_hits - self._hits)
        self.cached_by["device"].inc(model.prefix_hits - self._hits)
        self._preempted, self._queries, self._hits = (
            model.preemptions,
            model.prefix_queries,
            model.prefix_hits,
        )

    def step(self, outcome: Outcome) -> None:
        """Record one step."""
        self.generated.inc(outcome.generated_tokens)
        self.iteration.observe(outcome.computed_tokens)
        for work in outcome.first:
            cached = max(work.cached, 0)
            self.prompt_tokens.inc(work.prompt_tokens)
            self.by_source["local_compute"].inc(work.prompt_tokens - cached)
            self.by_source["local_cache_hit"].inc(cached)
            self.cached_tokens.inc(cached)
            self.ttft.observe((work.first_token or 0.0) - work.arrived)
        for gap in outcome.gaps:
            self.itl.observe(gap)

    def finished(self, work: Work, max_tokens: int) -> None:
        """Record a request that ended by itself. vLLM writes its latencies only now, and does not count those
        whose client left.
        """
        end = work.finished if work.finished is not None else work.arrived
        scheduled = work.scheduled if work.scheduled is not None else end
        first = work.first_token if work.first_token is not None else end
        last = work.last_token if work.last_token is not None else end
        self.success[work.finish_reason].inc()
        self.e2e.observe(end - work.arrived)
        self.queue.observe(scheduled - work.arrived)
        self.inference.observe(last - scheduled)
        self.prefill.observe(first - scheduled)
        self.decode.observe(last - first)
        self.request_preempted.observe(work.preemptions)
        self.request_prompt.observe(work.prompt_tokens)
        self.request_generated.observe(work.generated)
        self.computed.observe(work.prompt_tokens - max(work.cached, 0))
        self.tpot.observe((last - first) / (work.generated - 1) if work.generated > 1 else 0.0)
        self.max_generated.observe(work.generated)
        self.params_n.observe(1)
        self.params_max.observe(max_tokens)

    def _add(
        self, name: str, documentation: str, series: Sequence[Gauge] | Sequence[Counter] | Sequence[Histogram]
    ) -> None:
        self.families[f"vllm:{name}"] = Family(f"vllm:{name}", documentation, series)

    def _gauge(self, name: str, documentation: str) -> Gauge:
        gauge = Gauge(self.base)
        self._add(name, documentation, [gauge])
        return gauge

    def _gauges(self, name: str, documentation: str, label: str, values: Sequence[str]) -> dict[str, Gauge]:
        gauges = {value: Gauge({**self.base, label: value}) for value in values}
        self._add(name, documentation, list(gauges.values()))
        return gauges

    def _counter(self, name: str, documentation: str) -> Counter:
        counter = Counter(self.base, self._created)
        self._add(name, documentation, [counter])
        return counter

    def _counters(
        self, name: str, documentation: str, label: str, values: Sequence[str]
    ) -> dict[str, Counter]:
        counters = {value: Counter({**self.base, label: value}, self._created) for value in values}
        self._add(name, documentation, list(counters.values()))
        return counters

    def _histogram(self, name: str, documentation: str, bounds: Sequence[float]) -> Histogram:
        histogram = Histogram(self.base, bounds, self._created)
        self._add(name, documentation, [histogram])
        return histogram
