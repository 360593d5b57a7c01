"""What the metrics are called, in both generations of vLLM: newest name first, as in the launcher.

A server may hold both, from before and after an upgrade, and for a while an engine printed both at once; so
both are asked for, and where they overlap in time the newer counts (`series.merged`). The launcher's list has
what it needs at an instant; a history needs the histograms besides, and knows the same names.
"""

RUNNING = ("vllm:num_requests_running",)
WAITING = ("vllm:num_requests_waiting",)
FIRST_TOKENS = ("vllm:time_to_first_token_seconds_count",)
KV = ("vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc")
PROMPT_TOKENS = ("vllm:prompt_tokens_total", "vllm:prompt_tokens")
GENERATION_TOKENS = ("vllm:generation_tokens_total", "vllm:generation_tokens")
CACHED_TOKENS = ("vllm:prompt_tokens_cached_total", "vllm:prompt_tokens_cached")
GAPS = ("vllm:inter_token_latency_seconds_count", "vllm:time_per_output_token_seconds_count")
GAP_SECONDS = ("vllm:inter_token_latency_seconds_sum", "vllm:time_per_output_token_seconds_sum")
CACHE_CONFIG = ("vllm:cache_config_info",)

# Histograms, without their suffix. Of the last the first that has anything counts: a request's own mean of
# the time between its tokens, else the time between any two tokens.
PROMPT_LENGTHS = "vllm:request_prompt_tokens"
OUTPUT_LENGTHS = "vllm:request_generation_tokens"
TTFT = "vllm:time_to_first_token_seconds"
QUEUE = "vllm:request_queue_time_seconds"
PACES = (
    "vllm:request_time_per_output_token_seconds",
    "vllm:inter_token_latency_seconds",
    "vllm:time_per_output_token_seconds",
)

# Of Torpor's operator, where it runs. They tell what vLLM cannot: requests that no engine saw, replicas that
# are starting, and how requests went for the client.
ARRIVALS = ("torpor_fleet_arrivals_total",)
DESIRED = ("torpor_fleet_desired_replicas",)
JUDGED = ("torpor_fleet_objectives_total",)
COLD_START = ("torpor_fleet_cold_start_seconds",)

NOT_A_REPLICA = ("__name__", "engine", "model_name", "le", "result")  # labels that do not tell replicas apart
