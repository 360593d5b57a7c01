"""Parameters, weights and cache out of configs whose figures are published."""

from __future__ import annotations

from typing import Any

import pytest
from torpor.sizing.model import Model, ModelError, count, from_config, from_numbers

LLAMA_8B: dict[str, Any] = {
    "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32,
    "num_key_value_heads": 8, "vocab_size": 128256, "max_position_embeddings": 131072,
    "tie_word_embeddings": False,
}  # fmt: skip
MIXTRAL: dict[str, Any] = {
    "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32,
    "num_key_value_heads": 8, "vocab_size": 32000, "num_local_experts": 8, "num_experts_per_tok": 2,
    "tie_word_embeddings": False,
}  # fmt: skip
QWEN_30B_A3B: dict[str, Any] = {
    "hidden_size": 2048, "intermediate_size": 6144, "moe_intermediate_size": 768, "num_hidden_layers": 48,
    "num_attention_heads": 32, "num_key_value_heads": 4, "head_dim": 128, "vocab_size": 151936,
    "num_experts": 128, "num_experts_per_tok": 8, "tie_word_embeddings": False,
}  # fmt: skip
DEEPSEEK_V3: dict[str, Any] = {
    "hidden_size": 7168, "intermediate_size": 18432, "moe_intermediate_size": 2048, "num_hidden_layers": 61,
    "num_attention_heads": 128, "num_key_value_heads": 128, "vocab_size": 129280, "n_routed_experts": 256,
    "n_shared_experts": 1, "num_experts_per_tok": 8, "first_k_dense_replace": 3, "kv_lora_rank": 512,
    "q_lora_rank": 1536, "qk_rope_head_dim": 64, "qk_nope_head_dim": 128, "v_head_dim": 128,
    "tie_word_embeddings": False, "quantization_config": {"quant_method": "fp8"},
}  # fmt: skip
GPT2: dict[str, Any] = {"n_embd": 768, "n_layer": 12, "n_head": 12, "vocab_size": 50257, "n_positions": 1024}


@pytest.mark.parametrize(
    ("config", "billions", "active", "kib"),
    [
        (LLAMA_8B, 8.03, 8.03, 128),
        (MIXTRAL, 46.7, 12.9, 128),
        (QWEN_30B_A3B, 30.5, 3.3, 96),
        (DEEPSEEK_V3, 671, 37, 576 * 61 * 2 / 1024),
        (GPT2, 0.124, 0.124, 36),
    ],
)
def test_published_figures_are_met(
    config: dict[str, Any], billions: float, active: float, kib: float
) -> None:
    model = from_config(config, "config.json")
    assert model.parameters / 1e9 == pytest.approx(billions, rel=0.015)
    assert model.active / 1e9 == pytest.approx(active, rel=0.03)
    assert model.cache_bytes(2.0) / 1024 == pytest.approx(kib, rel=0.001)


def test_a_tensor_parallel_replica_keeps_heads_or_latents_more_than_once() -> None:
    llama, deepseek = from_config(LLAMA_8B, ""), from_config(DEEPSEEK_V3, "")
    assert llama.cache_bytes(2.0, 8) == llama.cache_bytes(2.0)
    assert llama.cache_bytes(2.0, 16) == 2 * llama.cache_bytes(2.0)
    assert deepseek.cache_bytes(2.0, 8) == 8 * deepseek.cache_bytes(2.0)


@pytest.mark.parametrize(
    ("told", "kind"),
    [
        ({"quant_method": "fp8"}, "fp8"),
        ({"quant_method": "awq", "bits": 4}, "awq"),
        ({"quant_method": "compressed-tensors", "config_groups": {"g": {"weights": {"num_bits": 8}}}}, "fp8"),
        (
            {"quant_method": "compressed-tensors", "config_groups": {"g": {"weights": {"num_bits": 4}}}},
            "int4",
        ),
    ],
)
def test_the_configs_quantization_counts_unless_another_is_named(told: dict[str, Any], kind: str) -> None:
    config = LLAMA_8B | {"quantization_config": told}
    assert from_config(config, "").quantization == kind
    assert from_config(config, "", "bf16").quantization == "bf16"


def test_a_vision_models_language_part_is_sized() -> None:
    assert from_config({"text_config": LLAMA_8B}, "").layers == 32


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ([], "is no config.json"),
        ({}, "hidden_size is missing"),
        (LLAMA_8B | {"num_hidden_layers": "many"}, "num_hidden_layers='many': must be a whole number"),
        (LLAMA_8B | {"hidden_size": -1}, "hidden_size='-1'"),
        (LLAMA_8B | {"text_config": 3}, "text_config: must be an object"),
        (
            LLAMA_8B | {"quantization_config": {"quant_method": "magic"}},
            "'magic': is not known.*--quantization",
        ),
    ],
)
def test_what_is_no_config_is_refused_with_the_field(config: Any, said: str) -> None:
    with pytest.raises(ModelError, match=said):
        from_config(config, "c.json")


def test_a_few_numbers_are_enough() -> None:
    model = from_numbers("70.6e9", 80, 8, 128, active=None, quantization="fp8")
    assert (model.weight_bytes, model.cache_bytes(2.0)) == (70.6e9, 327_680)
    assert isinstance(model, Model)
    assert count("135M", "") == 135e6


@pytest.mark.parametrize("text", ["", "B", "many", "-8B", "nan", "1e30"])
def test_a_number_of_parameters_is_one(text: str) -> None:
    with pytest.raises(ModelError, match="--parameters"):
        count(text, "--parameters")
