"""What a model is, as far as its size goes: from Hugging Face's config.json, or from a few numbers.

Parameters are counted from the shape, for a config does not tell them: embeddings (twice unless tied), per
layer attention and a gated MLP, of a mixture every expert in memory and only the chosen ones in arithmetic.
Biases, norms and vision towers are left out (below 2 % in language models). The cache holds a key and a value
per layer and key-value head; with multi-head latent attention one compressed vector per layer.

A config that lacks what is needed is refused with the field's name: a guess would be off by whole GPUs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

BITS = {
    "bf16": 16.0,
    "fp16": 16.0,
    "none": 16.0,
    "fp8": 8.0,
    "int8": 8.0,
    "awq": 4.5,
    "gptq": 4.5,
    "int4": 4.5,
    "nvfp4": 4.5,
    "mxfp4": 4.25,
}  # fmt: skip - of a weight; those of four bits carry scales
CACHE_BYTES = {"auto": 2.0, "bf16": 2.0, "fp16": 2.0, "fp8": 1.0}
MOST_PARAMETERS = 1e14


class ModelError(Exception):
    """Not enough to size a model; one sentence with a next step."""


@dataclass(frozen=True, slots=True)
class Model:
    """A model's size. parameters: all of them; active: that one token meets (fewer in a mixture). layers,
    heads, kv_heads, head_dim: of attention; latent: elements per token and layer where attention is latent,
    else 0. context: the longest it was made for, 0 where unknown. quantization: a key of BITS.
    """

    name: str
    parameters: float
    active: float
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    latent: int = 0
    context: int = 0
    quantization: str = "bf16"

    @property
    def weight_bytes(self) -> float:
        """Bytes of all weights."""
        return self.parameters * BITS[self.quantization] / 8

    def cache_bytes(self, each: float, ranks: int = 1) -> float:
        """Bytes of cache per token over all `ranks` of a tensor-parallel replica; `each`: bytes of an
        element.

        More ranks than key-value heads means that heads are kept more than once; a latent vector is kept by
        every rank.
        """
        if self.latent:
            return self.latent * self.layers * each * ranks
        return 2 * self.layers * max(self.kv_heads, ranks) * self.head_dim * each


def from_config(document: object, name: str, quantization: str | None = None) -> Model:
    """The model of a config.json (decoded). Raises ModelError."""
    if not isinstance(document, Mapping):
        raise ModelError(f"{name}: is no config.json: expected an object with num_hidden_layers and the like")
    text = document.get("text_config", document)
    if not isinstance(text, Mapping):
        raise ModelError(f"{name}: text_config: must be an object")
    config: Mapping[str, Any] = text

    def whole(*keys: str, default: int | None = None) -> int:
        for key in keys:
            value = config.get(key)
            if value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= 10**9:
                raise ModelError(f"{name}: {key}={str(value)[:40]!r}: must be a whole number above 0")
            return value
        if default is None:
            raise ModelError(
                f"{name}: {keys[0]} is missing; take the model's own config.json, or give "
                "--parameters, --layers, "
                "--kv-heads and --head-dim"
            )
        return default

    hidden = whole("hidden_size", "n_embd", "d_model")
    layers = whole("num_hidden_layers", "n_layer", "num_layers")
    heads = whole("num_attention_heads", "n_head", "num_heads")
    kv_heads = whole("num_key_value_heads", "num_kv_heads", default=heads)
    head_dim = whole("head_dim", default=max(1, hidden // heads))
    vocabulary = whole("vocab_size")
    gated = "n_embd" not in config
    inner = whole("intermediate_size", "n_inner", "ffn_dim", default=4 * hidden)
    rank = whole("kv_lora_rank", default=0) if config.get("kv_lora_rank") else 0
    if rank:
        rope, nope = whole("qk_rope_head_dim"), whole("qk_nope_head_dim")
        value_dim = whole("v_head_dim")
        query = whole("q_lora_rank", default=0) if config.get("q_lora_rank") else 0
        width = heads * (nope + rope)
        attention = hidden * query + query * width if query else hidden * width
        attention += hidden * (rank + rope) + rank * heads * (nope + value_dim) + heads * value_dim * hidden
        latent = rank + rope
    else:
        attention = 2 * hidden * heads * head_dim + 2 * hidden * kv_heads * head_dim
        latent = 0
    matrices = 3 if gated else 2
    experts = whole("num_local_experts", "n_routed_experts", "num_experts", default=1)
    chosen = min(experts, whole("num_experts_per_tok", "num_experts_per_token", default=1))
    if experts > 1:
        own = whole("moe_intermediate_size", default=inner)
        dense = (
            min(layers, whole("first_k_dense_replace", default=0))
            if config.get("first_k_dense_replace")
            else 0
        )
        shared = whole("n_shared_experts", default=0) if config.get("n_shared_experts") else 0
        expert = matrices * hidden * own
        router = hidden * experts
        mlp = dense * matrices * hidden * inner + (layers - dense) * ((experts + shared) * expert + router)
        used = dense * matrices * hidden * inner + (layers - dense) * ((chosen + shared) * expert + router)
    else:
        mlp = used = layers * matrices * hidden * inner
    embeddings = vocabulary * hidden * (1 if config.get("tie_word_embeddings", not gated) else 2)
    parameters = float(embeddings + layers * attention + mlp)
    return Model(
        name=str(document.get("_name_or_path") or name),
        parameters=parameters,
        active=float(embeddings + layers * attention + used),
        layers=layers,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        latent=latent,
        context=whole("max_position_embeddings", "n_positions", default=0) if _has_context(config) else 0,
        quantization=checked(quantization or _quantization(document, name)),
    )


def from_numbers(
    parameters: str,
    layers: int,
    kv_heads: int,
    head_dim: int,
    *,
    active: str | None,
    quantization: str | None,
) -> Model:
    """The model of a few numbers; parameters like `8B`, `70.6e9` or `135M`. Raises ModelError."""
    every = count(parameters, "--parameters")
    used = every if active is None else count(active, "--active-parameters")
    if used > every:
        raise ModelError(f"--active-parameters {active}: must not exceed --parameters {parameters}")
    for name, value in (("--layers", layers), ("--kv-heads", kv_heads), ("--head-dim", head_dim)):
        if not 0 < value <= 10_000:
            raise ModelError(f"{name} {value}: must be a whole number from 1 to 10000")
    kind = checked(quantization or "bf16")
    return Model(f"{every / 1e9:.3g}B", every, used, layers, 0, kv_heads, head_dim, quantization=kind)


def count(text: str, option: str) -> float:
    """A number of parameters as people write it. Raises ModelError."""
    units = {"k": 1e3, "m": 1e6, "b": 1e9, "t": 1e12}
    number, unit = (text[:-1], units[text[-1:].lower()]) if text[-1:].lower() in units else (text, 1.0)
    try:
        found = float(number) * unit
    except ValueError:
        found = 0.0
    if not 1e5 <= found <= MOST_PARAMETERS:
        raise ModelError(f"{option} {text[:40]!r}: must be a number of parameters like 8B, 135M or 70.6e9")
    return found


def checked(quantization: str) -> str:
    """The quantization, a key of BITS. Raises ModelError."""
    found = quantization.lower()
    if found not in BITS:
        raise ModelError(f"--quantization {quantization[:40]!r}: must be one of {', '.join(BITS)}")
    return "bf16" if found == "none" else found


def _has_context(config: Mapping[str, Any]) -> bool:
    return any(config.get(key) is not None for key in ("max_position_embeddings", "n_positions"))


def _quantization(document: Mapping[str, Any], name: str) -> str:
    """What the config says of its weights."""
    told = document.get("quantization_config")
    if not isinstance(told, Mapping):
        return "bf16"
    method = str(told.get("quant_method", "")).lower()
    bits = told.get("bits", told.get("num_bits"))
    groups = told.get("config_groups")
    if isinstance(groups, Mapping) and groups:
        weights = next(iter(groups.values())).get("weights") or {}
        bits = weights.get("num_bits", bits)
    if "fp8" in method or (method == "modelopt" and "fp8" in str(told.get("quant_algo", "")).lower()):
        return "fp8"
    if method in BITS and method not in ("none",):
        return method
    if bits in (4, 8):
        return "int4" if bits == 4 else "fp8"
    raise ModelError(
        f"{name}: quantization_config.quant_method={method[:40]!r}: is not known; say which it is "
        "with --quantization"
    )
