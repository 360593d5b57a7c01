"""The scan of /metrics: both generations of names, several engines, and everything that is not a number."""

import json
from pathlib import Path

import pytest
from torpor_engine.metrics import FAMILIES, read_metrics

NEW = b"""# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="smollm2"} 3.0
vllm:num_requests_waiting{engine="0",model_name="smollm2"} 7.0
vllm:num_requests_waiting_by_reason{engine="0",model_name="smollm2",reason="capacity"} 5.0
vllm:num_requests_waiting_by_reason{engine="0",model_name="smollm2",reason="deferred"} 2.0
vllm:kv_cache_usage_perc{engine="0",model_name="smollm2"} 0.25
vllm:cache_config_info{block_size="16",engine="0",kv_cache_size_tokens="44512",num_gpu_blocks="2782"} 1.0
vllm:prompt_tokens_total{engine="0",model_name="smollm2"} 1.2e+06
vllm:prompt_tokens_created{engine="0",model_name="smollm2"} 1.79e+09
vllm:generation_tokens_total{engine="0",model_name="smollm2"} 345.0
vllm:num_preemptions_total{engine="0",model_name="smollm2"} 2.0
vllm:prefix_cache_queries_total{engine="0",model_name="smollm2"} 400.0
vllm:prefix_cache_hits_total{engine="0",model_name="smollm2"} 160.0
vllm:prompt_tokens_cached_total{engine="0",model_name="smollm2"} 144.0
vllm:inter_token_latency_seconds_bucket{engine="0",le="0.01",model_name="smollm2"} 330.0
vllm:inter_token_latency_seconds_count{engine="0",model_name="smollm2"} 340.0
vllm:inter_token_latency_seconds_sum{engine="0",model_name="smollm2"} 4.0800000000000125
vllm:time_to_first_token_seconds_bucket{engine="0",le="0.001",model_name="smollm2"} 0.0
vllm:time_to_first_token_seconds_count{engine="0",model_name="smollm2"} 5.0
http_requests_total{handler="/v1/completions",method="POST",status="2xx"} 5.0
"""
OLD = b"""vllm:num_requests_running{model_name="m"} 1.0
vllm:num_requests_waiting{model_name="m"} 0.0
vllm:gpu_cache_usage_perc{model_name="m"} 0.5
vllm:cache_config_info{block_size="16",num_gpu_blocks="100",num_cpu_blocks="0"} 1.0
vllm:prompt_tokens{model_name="m"} 10.0
vllm:generation_tokens{model_name="m"} 20.0
vllm:num_preemptions{model_name="m"} 0.0
vllm:gpu_prefix_cache_queries_total{model_name="m"} 90.0
vllm:gpu_prefix_cache_hits_total{model_name="m"} 32.0
vllm:time_per_output_token_seconds_count{model_name="m"} 19.0
vllm:time_per_output_token_seconds_sum{model_name="m"} 0.57
vllm:time_to_first_token_seconds_count{model_name="m"} 1.0
"""


def test_new_names() -> None:
    sample = read_metrics(NEW)
    assert (sample.running, sample.waiting, sample.waiting_capacity) == (3, 7, 5)
    assert (sample.kv_utilization, sample.kv_capacity_tokens) == (0.25, 44512)
    assert (sample.prompt_tokens_total, sample.generation_tokens_total) == (1_200_000, 345)
    assert sample.preemptions_total == 2
    assert (sample.prefix_queries_total, sample.prefix_hits_total) == (400, 160)
    assert sample.cached_prompt_tokens_total == 144
    assert (sample.gaps, sample.gap_seconds, sample.first_tokens_total) == (340, 4.08, 5)
    assert sample.missing == ()


def test_old_names_and_what_they_lack() -> None:
    sample = read_metrics(OLD)
    assert (sample.running, sample.waiting, sample.waiting_capacity) == (1, 0, None)
    assert (sample.kv_utilization, sample.kv_capacity_tokens) == (0.5, 1600)
    assert (sample.prompt_tokens_total, sample.generation_tokens_total) == (10, 20)
    assert (sample.prefix_queries_total, sample.prefix_hits_total) == (90, 32)
    assert sample.cached_prompt_tokens_total is None
    assert (sample.gaps, sample.gap_seconds) == (19, 0.57)
    assert sample.missing == (
        "vllm:num_requests_waiting_by_reason",
        "vllm:prompt_tokens_cached_total",
    )


def test_a_mean_is_never_made_of_two_histograms() -> None:
    halves = b"""vllm:inter_token_latency_seconds_count{engine="0"} 7.0
vllm:time_per_output_token_seconds_count{engine="0"} 19.0
vllm:time_per_output_token_seconds_sum{engine="0"} 0.57
"""
    sample = read_metrics(halves)
    assert (sample.gaps, sample.gap_seconds) == (None, None)
    whole = read_metrics(halves + b'vllm:inter_token_latency_seconds_sum{engine="0"} 0.14\n')
    assert (whole.gaps, whole.gap_seconds) == (7, 0.14)
    broken = read_metrics(halves + b'vllm:inter_token_latency_seconds_sum{engine="0"} NaN\n')
    assert (broken.gaps, broken.gap_seconds) == (None, None)


def test_the_newest_names_are_those_of_a_recorded_vllm() -> None:
    recording = Path(__file__).parents[2] / "data" / "vllm-0.32" / "metrics.json"
    assert {names[0] for names in FAMILIES} <= json.loads(recording.read_text()).keys()


def test_nothing_is_unknown_and_not_zero() -> None:
    for body in (b"", b"<html>log in</html>", b"\x00\xff\xfe"):
        sample = read_metrics(body)
        assert sample.running is None
        assert sample.kv_utilization is None
        assert "vllm:num_requests_running" in sample.missing


def test_engines_of_one_pod_add_up_and_average() -> None:
    second = NEW.replace(b'engine="0"', b'engine="1"').replace(b"} 0.25", b"} 0.75")
    sample = read_metrics(NEW + second)
    assert (sample.running, sample.waiting, sample.waiting_capacity) == (6, 14, 10)
    assert sample.kv_utilization == 0.5
    assert sample.kv_capacity_tokens == 2 * 44512
    assert sample.prompt_tokens_total == 2_400_000
    assert (sample.gaps, sample.gap_seconds) == (680, 8.16)
    assert (sample.prefix_hits_total, sample.cached_prompt_tokens_total) == (320, 288)


def test_new_name_wins_over_old() -> None:
    both = NEW + b'vllm:gpu_cache_usage_perc{engine="0"} 0.9\n'
    assert read_metrics(both).kv_utilization == 0.25


@pytest.mark.parametrize("value", [b"NaN", b"+Inf", b"-Inf", b"-1", b"abc", b""])
def test_what_is_no_count_is_unknown(value: bytes) -> None:
    body = NEW + b'vllm:num_requests_running{engine="1",model_name="smollm2"} ' + value + b"\n"
    sample = read_metrics(body)
    assert sample.running is None
    assert sample.waiting == 7
    assert sample.missing == ()


def test_the_same_series_twice_is_unknown() -> None:
    assert read_metrics(NEW + NEW.splitlines(keepends=True)[2]).running is None


def test_utilization_stays_within_its_range() -> None:
    assert read_metrics(NEW.replace(b"} 0.25", b"} 1.7")).kv_utilization == 1.0


def test_by_reason_without_capacity_is_unknown() -> None:
    assert read_metrics(NEW.replace(b"capacity", b"other")).waiting_capacity is None


def test_labels_may_hold_anything() -> None:
    body = b'vllm:num_requests_running{model_name="a}\\" 9 {b",engine="0"} 4.0 1790000000000\n'
    assert read_metrics(body).running == 4


@pytest.mark.parametrize("blocks", ["None", "", "\u00b2", "9" * 5000, "-1"])
def test_capacity_that_is_not_known(blocks: str) -> None:
    body = f'vllm:cache_config_info{{block_size="16",num_gpu_blocks="{blocks}"}} 1.0\n'.encode()
    assert read_metrics(body).kv_capacity_tokens is None


def test_what_vllm_0_32_really_says() -> None:
    """Recorded while three requests ran on SmolLM2-135M; unwanted families are left out."""
    sample = read_metrics(Path(__file__).with_name("data").joinpath("vllm_0_32_metrics.txt").read_bytes())
    assert sample.missing == (
        "vllm:prefix_cache_queries_total", "vllm:prefix_cache_hits_total", "vllm:prompt_tokens_cached_total",
        "vllm:inter_token_latency_seconds_sum", "vllm:inter_token_latency_seconds_count",
        "vllm:time_to_first_token_seconds_count",
    )  # fmt: skip
    assert (sample.running, sample.waiting, sample.waiting_capacity) == (3, 0, 0)
    assert sample.kv_utilization == 0.008264
    assert sample.kv_capacity_tokens == 46592
    assert sample.prompt_tokens_total == 13
    assert sample.preemptions_total == 0
