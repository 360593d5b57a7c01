"""How long one step of an engine takes, and how much it can keep: a table with its sources.

An engine works in steps. Each step computes one token for every decoding sequence and a slice of the prompts
that are being prefilled. Its duration is close to linear in what it does:

    t = a + b*B + c*KV + d*P        milliseconds

B: sequences in the step, KV: tokens of their contexts held in the cache, P: prompt tokens computed in the
step. The constants are fits, made elsewhere: "measured" ones to published measurements of real vLLM
(InferenceX, through AIConfigurator's `silicon_sample.csv`; mean absolute error 0.9 to 2.5 %), "modelled" ones
to AIConfigurator's operator database. The table refuses to be more than that: no speculative decoding, no
quantization that is not in a row's name, no interaction between rows of unlike length, no attention cost that
grows with the square of the prompt.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StepCost:
    """Constants of t = a + b*B + c*KV + d*P, all in milliseconds (per step, sequence, cached token, prompt
    token).
    """

    a: float
    b: float
    c: float
    d: float

    def __post_init__(self) -> None:
        for name in ("a", "b", "c", "d"):
            value = getattr(self, name)
            if not 0 <= value < 1e6:
                raise ValueError(
                    f"step cost {name}={value!r}: must be a number of milliseconds from 0 to 1e6"
                )

    def seconds(self, sequences: int, kv_tokens: int, prompt_tokens: int) -> float:
        """Duration of one step in seconds."""
        return (self.a + self.b * sequences + self.c * kv_tokens + self.d * prompt_tokens) / 1000.0

    def faster(self, factor: float) -> StepCost:
        """The same engine, `factor` times as fast."""
        if not factor > 0:
            raise ValueError(f"speed {factor!r}: must be above 0; 2 means twice as fast")
        return StepCost(self.a / factor, self.b / factor, self.c / factor, self.d / factor)


@dataclass(frozen=True, slots=True)
class Profile:
    """One model on one accelerator. `kv_tokens` is the capacity of the KV cache in tokens."""

    cost: StepCost
    kv_tokens: int
    max_num_seqs: int
    max_num_batched_tokens: int
    source: str


_MEASURED = "measured vLLM (InferenceX through AIConfigurator silicon_sample.csv)"
_MODELLED = "AIConfigurator 0.12 operator database, linear fit"

# vLLM's defaults: 1024 sequences and 8192 tokens a step on accelerators of 70 GiB and more, else 256, 2048.
PROFILES: dict[str, Profile] = {
    "tiny": Profile(
        StepCost(4.0, 0.02, 1e-5, 0.01),
        65_536,
        256,
        2048,
        "chosen: quick enough for tests, no hardware meant",
    ),
    "instant": Profile(
        StepCost(0.2, 0.0, 0.0, 0.0), 4_194_304, 1024, 8192, "chosen: next to no service time"
    ),
    "llama-3.1-8b-h100": Profile(StepCost(6.375, 0.01074, 4.193e-5, 0.01558), 415_000, 1024, 8192, _MODELLED),
    "llama-3.1-8b-h200": Profile(StepCost(4.934, 0.01069, 2.992e-5, 0.01634), 830_000, 1024, 8192, _MODELLED),
    "llama-3.1-8b-a100": Profile(StepCost(11.623, 0.03037, 8.196e-5, 0.05339), 415_000, 256, 2048, _MODELLED),
    "llama-3.1-8b-l40s": Profile(StepCost(22.197, 0.03601, 1.901e-4, 0.04797), 190_000, 256, 2048, _MODELLED),
    "llama-3.1-70b-fp8-h100-tp2": Profile(
        StepCost(16.55, 0.0408, 5.813e-5, 0.0687), 170_000, 1024, 8192, _MEASURED
    ),
    "llama-3.1-70b-fp8-h100-tp4": Profile(
        StepCost(11.02, 0.0547, 2.791e-5, 0.0446), 640_000, 1024, 8192, _MEASURED
    ),
    "llama-3.1-70b-bf16-h100-tp4": Profile(
        StepCost(15.192, 0.03193, 2.686e-5, 0.05231), 420_000, 1024, 8192, _MODELLED
    ),
    "llama-3.1-70b-bf16-a100-tp4": Profile(
        StepCost(27.781, 0.09916, 5.413e-5, 0.15178), 420_000, 256, 2048, _MODELLED
    ),
}


def profile(name: str) -> Profile:
    """The profile of that name; ValueError lists the names there are."""
    found = PROFILES.get(name)
    if found is None:
        raise ValueError(f"profile {name!r}: unknown; choose one of {', '.join(PROFILES)}")
    return found
