"""The table of step-time constants, its look-up, and what stands in where it has no row."""

import math

import pytest
from torpor.decide.hardware import TABLE, Hardware, conservative, gpu_of, lookup, parameters_of, parse
from torpor.simulate.profiles import PROFILES

FILE = {
    "name": "x",
    "a": 11.02,
    "b": 0.0547,
    "c": 2.791e-5,
    "d": 0.0446,
    "kv_tokens": 640_000,
    "max_num_seqs": 1024,
    "max_num_batched_tokens": 8192,
}


@pytest.mark.parametrize(
    ("product", "key"),
    [
        ("NVIDIA-H100-80GB-HBM3", "h100"),
        ("NVIDIA H100 80GB HBM3", "h100"),
        ("nvidia-h100-mega-80gb", "h100"),
        ("h100_sxm", "h100"),
        ("NVIDIA-H100-PCIe", "h100-pcie"),
        ("NVIDIA H100 NVL", "h100-nvl"),
        ("NVIDIA-H200", "h200"),
        ("NVIDIA-GH200-480GB", "gh200"),
        ("NVIDIA-A100-SXM4-80GB", "a100"),
        ("NVIDIA-A100-SXM4-40GB", "a100-40gb"),
        ("NVIDIA-L40S", "l40s"),
        ("NVIDIA-L40", None),
        ("NVIDIA-L4", "l4"),
        ("NVIDIA-H100-80GB-HBM3-MIG-1g.10gb", None),
        ("NVIDIA-A100-SXM4-80GB-SHARED", None),
        ("H1000", None),
        ("", None),
    ],
)
def test_product_names_of_node_labels_are_understood(product, key):
    assert gpu_of(product) == key


@pytest.mark.parametrize(
    ("gpu", "model", "gpus", "quantization", "name"),
    [
        (
            "NVIDIA-H100-80GB-HBM3",
            "hf://meta-llama/Llama-3.1-8B-Instruct",
            1,
            None,
            "llama-3-8b-bf16-h100-tp1",
        ),
        ("H100", "meta-llama/Meta-Llama-3.1-70B-Instruct", 4, None, "llama-3-70b-bf16-h100-tp4"),
        ("H100", "meta-llama/Meta-Llama-3-70B-Instruct", 4, "fp8", "llama-3-70b-fp8-h100-tp4"),
        ("H100", "RedHatAI/Llama-3.3-70B-Instruct-FP8-dynamic", 2, None, "llama-3-70b-fp8-h100-tp2"),
        ("NVIDIA-H200", "nvidia/Llama-3.1-70B-Instruct-FP8", 8, None, "llama-3-70b-fp8-h200-tp8"),
        ("H100", "Qwen/Qwen3-32B", 2, None, "qwen3-32b-bf16-h100-tp2"),
        ("H100", "meta-llama/Llama-2-70b-chat-hf", 4, None, "llama-2-70b-bf16-h100-tp4"),
        ("H100", "hugging-quants/Meta-Llama-3.1-70B-Instruct-AWQ-INT4", 4, None, None),
        ("H100", "x/Llama-3.1-70B-Instruct-quantized.w4a16", 4, None, None),
        ("H100", "meta-llama/Llama-3.1-70B-Instruct", 3, None, None),
        ("NVIDIA-H100-PCIe", "meta-llama/Llama-3.1-8B-Instruct", 1, None, None),
        ("H100", "meta-llama/Llama-3.1-405B-Instruct", 8, None, None),
        (None, "meta-llama/Llama-3.1-8B-Instruct", 1, None, None),
        ("H100", None, 1, None, None),
    ],
)
def test_a_row_is_found_or_none_is(gpu, model, gpus, quantization, name):
    found = lookup(gpu, model, gpus, quantization)
    assert (found.name if found else None) == name


def test_every_row_is_found_by_its_key_and_says_where_it_comes_from():
    for (model, gpu, gpus), row in TABLE.items():
        assert lookup(gpu, model, gpus) is row
        assert row.source
        assert not row.guessed


def test_the_simulated_engine_has_the_same_constants():
    """Its table stands apart because the runtime imports nothing of the operator; the numbers may not."""
    shared = 0
    for name, profile in PROFILES.items():
        model, _, rest = name.replace("llama-3.1", "llama-3").rpartition("-tp")
        key = (model or rest).rsplit("-", 1)
        family = key[0] if key[0].endswith(("fp8", "bf16")) else f"{key[0]}-bf16"
        row = TABLE.get((family, key[-1], int(rest) if model else 1))
        if row is None:
            assert name in ("tiny", "instant")
            continue
        shared += 1
        cost = profile.cost
        assert (row.a, row.b, row.c, row.d) == (cost.a, cost.b, cost.c, cost.d)
        assert row.kv_tokens == profile.kv_tokens
        assert row.max_num_batched_tokens == profile.max_num_batched_tokens
    assert shared == 8


def test_the_guess_is_slower_than_every_measurement_it_could_stand_for():
    for (model, gpu, gpus), row in TABLE.items():
        if model.startswith("llama-2"):
            continue  # an older engine: 2.6 times as slow as the same shape today
        guess = conservative(gpu, model, gpus)
        assert guess.guessed
        for field in ("a", "b", "c", "d"):
            assert getattr(guess, field) >= getattr(row, field), (row.name, field)
        assert guess.a <= 3 * row.a, row.name
        assert guess.kv_tokens <= 1.05 * row.kv_tokens, row.name


def test_without_any_knowledge_the_slowest_row_stands_in():
    guess = conservative(None, None)
    assert guess.guessed
    assert guess.a == max(row.a for row in TABLE.values() if "splitwise" not in row.source)
    assert conservative("H100", "my-model") == guess
    assert conservative("Gaudi3", "llama-3-8b") == guess


@pytest.mark.parametrize(
    ("model", "billions"),
    [
        ("HuggingFaceTB/SmolLM2-135M-Instruct", 0.135),
        ("Qwen/Qwen2.5-0.5B", 0.5),
        ("mistralai/Mixtral-8x7B-v0.1", 56),
        ("Qwen/Qwen3-30B-A3B", 30),
        ("openai/gpt-oss-120b", 120),
        ("bge-m3", None),
        ("b", None),
    ],
)
def test_the_size_in_a_models_name(model, billions):
    assert parameters_of(model) == billions


def test_a_hardware_file():
    hardware = parse(FILE)
    assert hardware.step_ms(10, 1000, 100) == pytest.approx(11.02 + 0.547 + 0.02791 + 4.46)


@pytest.mark.parametrize("field", ["a", "b", "c", "d", "kv_tokens", "max_num_seqs", "max_num_batched_tokens"])
@pytest.mark.parametrize("value", [0, -1, math.nan, math.inf, "11", None, True, 1e30])
def test_a_bad_number_is_refused_with_its_name(field, value):
    with pytest.raises(ValueError, match=rf"{field}=.*must be") as refusal:
        parse({**FILE, field: value})
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("field", list(FILE))
def test_a_missing_field_is_refused_with_its_name(field):
    with pytest.raises(ValueError, match=rf"{field} is missing"):
        parse({key: value for key, value in FILE.items() if key != field})


@pytest.mark.parametrize("document", [None, [], "x", 3, {**FILE, "e": 1}, {**FILE, "name": ""}])
def test_what_is_no_hardware_is_refused(document):
    with pytest.raises(ValueError, match="hardware"):
        parse(document)


def test_sizes_are_whole():
    with pytest.raises(ValueError, match=r"kv_tokens=1\.5"):
        Hardware("x", 1, 1, 1, 1, 1.5, 1, 1)
