"""What one replica of a model costs per step: the table, where each row comes from, and what is used without.

An engine works in steps whose duration is close to linear in what they do (research, section 11.1):

    t = a + b·B + c·KV + d·P        milliseconds

B: sequences in the step, KV: tokens of their contexts in the cache, P: prompt tokens computed in the step.
Four constants and three sizes are all that deciding needs of a GPU and a model. The table holds fits to
published measurements and to an operator database; its sources are named row by row and none of them was
measured here. It is a start: what a fleet does is learned (`learning`).

`lookup` answers None for everything the table does not hold: a slice of a GPU, the slower PCIe card of the
same name, 4-bit weights. Near is not equal, and a guess must be known as one. `conservative` is that guess: a
roofline of published memory bandwidth and arithmetic with slack, slower than every row of the table that it
could stand for, so that a fleet on unknown hardware begins with too many replicas, not with too few.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from torpor.decide.quick import quick

NUMBERS = ("a", "b", "c", "d")
SIZES = ("kv_tokens", "max_num_seqs", "max_num_batched_tokens")
LARGEST = 1e9  # no constant in ms and no size in tokens is larger


@quick
@dataclass(frozen=True, slots=True)
class Hardware:
    """One replica: a, b, c, d in milliseconds per step, sequence, cached token and prompt token; kv_tokens it
    keeps, max_num_seqs it runs at once, max_num_batched_tokens of one step.

    guessed: nobody measured this model on this GPU. Raises ValueError where a number is not above 0.
    """

    name: str
    a: float
    b: float
    c: float
    d: float
    kv_tokens: int
    max_num_seqs: int
    max_num_batched_tokens: int
    source: str = ""
    guessed: bool = False

    def __post_init__(self) -> None:
        if (
            type(self.a) is type(self.b) is type(self.c) is type(self.d) is float
            and type(self.kv_tokens) is type(self.max_num_seqs) is type(self.max_num_batched_tokens) is int
            and 0 < self.a <= LARGEST
            and 0 < self.b <= LARGEST
            and 0 < self.c <= LARGEST
            and 0 < self.d <= LARGEST
            and 0 < self.kv_tokens <= LARGEST
            and 0 < self.max_num_seqs <= LARGEST
            and 0 < self.max_num_batched_tokens <= LARGEST
        ):
            return  # nearly every one is like this, and learning makes one every few seconds
        for field in (*NUMBERS, *SIZES):
            value = getattr(self, field)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= LARGEST:
                raise ValueError(
                    f"hardware {self.name!r}: {field}={value!r}: must be a number above 0, at most "
                    f"{LARGEST:g}"
                )
        for field in SIZES:
            if getattr(self, field) != int(getattr(self, field)):
                raise ValueError(f"hardware {self.name!r}: {field}={getattr(self, field)!r}: must be whole")

    def step_ms(self, sequences: float, kv_tokens: float, prompt_tokens: float) -> float:
        """Duration of one step in milliseconds."""
        return self.a + self.b * sequences + self.c * kv_tokens + self.d * prompt_tokens


def parse(document: object) -> Hardware:
    """Return the hardware that a file describes (the JSON object, already decoded).

    Raises ValueError naming the field, its value and the rule where the document is no such object. Zero is
    refused where a constant stands: with a step that costs nothing for its load every policy looks good.
    """
    fields = ", ".join(_KEYS)
    if not isinstance(document, Mapping):
        raise ValueError(f"not a hardware file: expected an object with {fields}")
    missing = [key for key in _KEYS if key not in document]
    if missing:
        raise ValueError(f"{missing[0]} is missing; a hardware file has {fields}")
    unknown = [str(key) for key in document if key not in _KEYS]
    if unknown:
        raise ValueError(f"{unknown[0][:40]!r} is no field; a hardware file has {fields}")
    name = document["name"]
    if not isinstance(name, str) or not 0 < len(name) <= 253:
        raise ValueError(f"hardware: name={str(name)[:40]!r}: must be a text of 1 to 253 characters")
    found = Hardware(**{key: document[key] for key in _KEYS}, source="a hardware file")
    a, b, c, d = (float(getattr(found, key)) for key in NUMBERS)
    kv_tokens, sequences, tokens = (int(getattr(found, key)) for key in SIZES)
    return Hardware(name, a, b, c, d, kv_tokens, sequences, tokens, found.source)


_KEYS = ("name", *NUMBERS, *SIZES)

_MEASURED = "measured vLLM: InferenceX in AIConfigurator's silicon_sample.csv, error 0.9 to 2.5 %"
_MODELLED = "linear fit to AIConfigurator's operator database, error 1.6 to 2.9 % in decoding"
_SPLITWISE = "splitwise-sim's performance model; in mixed steps 1.1 times as long"


def _row(
    model: str, gpu: str, count: int, costs: tuple[float, ...], kv: int, *, source: str
) -> tuple[tuple[str, str, int], Hardware]:
    # vLLM's defaults (section 11.2): 1024 sequences and 8192 tokens a step from 70 GiB on, else 256 and 2048;
    # an A100 gets the smaller ones whatever its memory.
    large = gpu in ("h100", "h200")
    name = f"{model}-{gpu}-tp{count}"
    a, b, c, d = costs
    sizes = (kv, 1024, 8192) if large else (kv, 256, 2048)
    return (model, gpu, count), Hardware(name, a, b, c, d, *sizes, source)


# Sections 11.1 and 11.2. Cache sizes of H200, of fp8 TP8 and of Qwen3 follow section 11.2's rule: 0.9 of the
# memory less the weights and 5.5 GiB a GPU, 320 KiB a token (Qwen3-32B: 256). Left out: 8B fp8 on H200 (only
# a and c were measured) and Llama-2-70B on A100 (no d).
TABLE: dict[tuple[str, str, int], Hardware] = dict(
    (
        _row("llama-3-70b-fp8", "h100", 2, (16.55, 0.0408, 5.813e-5, 0.0687), 170_000, source=_MEASURED),
        _row("llama-3-70b-fp8", "h100", 4, (11.02, 0.0547, 2.791e-5, 0.0446), 640_000, source=_MEASURED),
        _row("llama-3-70b-fp8", "h100", 8, (8.82, 0.0630, 1.150e-5, 0.0298), 1_410_000, source=_MEASURED),
        _row("llama-3-70b-fp8", "h200", 1, (19.99, 0.0617, 8.748e-5, 0.1103), 155_000, source=_MEASURED),
        _row("llama-3-70b-fp8", "h200", 2, (13.16, 0.0375, 3.763e-5, 0.0704), 525_000, source=_MEASURED),
        _row("llama-3-70b-fp8", "h200", 4, (9.18, 0.0455, 2.083e-5, 0.0424), 1_260_000, source=_MEASURED),
        _row("llama-3-70b-fp8", "h200", 8, (7.74, 0.0470, 8.962e-6, 0.0262), 2_750_000, source=_MEASURED),
        _row("llama-3-8b-bf16", "h100", 1, (6.375, 0.01074, 4.193e-5, 0.01558), 415_000, source=_MODELLED),
        _row("llama-3-8b-bf16", "a100", 1, (11.623, 0.03037, 8.196e-5, 0.05339), 415_000, source=_MODELLED),
        _row("llama-3-8b-bf16", "l40s", 1, (22.197, 0.03601, 1.901e-4, 0.04797), 190_000, source=_MODELLED),
        _row("llama-3-8b-bf16", "h200", 1, (4.934, 0.01069, 2.992e-5, 0.01634), 830_000, source=_MODELLED),
        _row("llama-3-70b-bf16", "h100", 4, (15.192, 0.03193, 2.686e-5, 0.05231), 420_000, source=_MODELLED),
        _row("llama-3-70b-bf16", "a100", 4, (27.781, 0.09916, 5.413e-5, 0.15178), 420_000, source=_MODELLED),
        _row("qwen3-32b-bf16", "h100", 2, (13.578, 0.02567, 4.314e-5, 0.03923), 257_000, source=_MODELLED),
        _row("qwen3-32b-fp8", "h100", 1, (15.189, 0.03348, 8.345e-5, 0.0493), 128_000, source=_MODELLED),
        _row("llama-2-70b-bf16", "h100", 4, (28.8, 0.282, 9.4e-5, 0.1075), 420_000, source=_SPLITWISE),
    )
)

# Memory bandwidth in TB/s, dense bf16 arithmetic in TFLOP/s, memory in GB: makers' data sheets.
DATA_SHEETS: dict[str, tuple[float, float, float]] = {
    "h100": (3.35, 989, 80),
    "h100-pcie": (2.0, 756, 80),
    "h100-nvl": (3.9, 835, 94),
    "h200": (4.8, 989, 141),
    "h20": (4.0, 148, 96),
    "gh200": (4.0, 989, 96),
    "b200": (8.0, 2250, 180),
    "a100": (2.04, 312, 80),
    "a100-40gb": (1.555, 312, 40),
    "l40s": (0.864, 362, 48),
    "l4": (0.3, 121, 24),
    "a10g": (0.6, 70, 24),
    "a10": (0.6, 125, 24),
    "v100": (0.9, 112, 16),
    "t4": (0.32, 65, 16),
    "mi300x": (5.3, 1307, 192),
}


def gpu_of(product: str) -> str | None:
    """Return the key of a data sheet for a GPU's product name as node labels, DCGM and people write it, or
    None. A slice of a GPU (MIG) and a shared one have no data sheet.
    """
    words = re.split(r"[^a-z0-9]+", product.lower())
    if "mig" in words or "shared" in words:
        return None
    found = [word for word in words if word in DATA_SHEETS]
    if len(found) != 1:
        return None
    for variant in ("pcie", "nvl", "40gb"):
        if variant in words and f"{found[0]}-{variant}" in DATA_SHEETS:
            return f"{found[0]}-{variant}"
    return found[0]


def precision_of(model: str, quantization: str | None = None) -> str | None:
    """Return `bf16` or `fp8` for a model's name and the engine's --quantization, None for other weights."""
    words = set(re.split(r"[^a-z0-9]+", f"{model} {quantization or ''}".lower()))
    if words & _OTHER_WEIGHTS or any(re.fullmatch(r"[2-6]bit|q[2-6]|w\d+a\d+", w) for w in words):
        return None
    return "fp8" if "fp8" in words else "bf16"


_OTHER_WEIGHTS = {
    "awq",
    "gptq",
    "gguf",
    "nvfp4",
    "fp4",
    "mxfp4",
    "mxfp8",
    "int8",
    "int4",
    "bnb",
    "bitsandbytes",
}
_FAMILIES = (
    ("llama-2-70b", re.compile(r"llama-?2[-_.]70b")),
    ("llama-3-70b", re.compile(r"llama-?3([.-]\d)?[-_.]70b")),
    ("llama-3-8b", re.compile(r"llama-?3([.-]\d)?[-_.]8b")),
    ("qwen3-32b", re.compile(r"qwen-?3[-_.]32b")),
)


def lookup(
    gpu: str | None, model: str | None, gpus: int = 1, quantization: str | None = None
) -> Hardware | None:
    """Return the table's row, or None.

    gpu: a product name (`NVIDIA-H100-80GB-HBM3`, `h100_sxm`). model: a name or URI
    (`hf://meta-llama/Llama-3.1-70B-Instruct`). gpus: the tensor parallel size. quantization: the engine's
    flag.
    """
    family = _family(model or "")
    precision = precision_of(model or "", quantization)
    key = gpu_of(gpu or "")
    if family is None or precision is None or key is None:
        return None
    return TABLE.get((f"{family}-{precision}", key, gpus))


def conservative(
    gpu: str | None, model: str | None, gpus: int = 1, quantization: str | None = None
) -> Hardware:
    """Return a start value for what the table does not hold: certainly guessed, slower than likely.

    Where GPU and size are known: reading the weights once per step at the published bandwidth, times 1.6,
    plus 5 ms; KV tokens at 1.5 times and prompt tokens at 1.7 times what bandwidth and bf16 arithmetic give.
    Else the slowest row of the table.
    """
    billions = parameters_of(model or "")
    sheet = DATA_SHEETS.get(gpu_of(gpu or "") or "")
    if billions is None or sheet is None or gpus < 1:
        slowest = TABLE["llama-3-70b-bf16", "a100", 4]
        costs = slowest.a, slowest.b, slowest.c, slowest.d
        return Hardware(
            "unknown",
            *costs,
            100_000,
            256,
            2048,
            "the table's slowest row, nothing being known",
            guessed=True,
        )
    bandwidth, arithmetic, memory = sheet[0] * gpus, sheet[1] * gpus, sheet[2] * gpus
    weights = billions * (1 if precision_of(model or "", quantization) == "fp8" else 2)  # GB
    kv_bytes = 131_072 * math.sqrt(billions / 8)  # per token: 128 KiB at 8B, about 380 at 70B
    a = 1.6 * weights / bandwidth + 5.0
    room = 0.8 * (0.9 * memory - weights - 5.9 * gpus) * 1e9 / kv_bytes
    name = f"{billions:g}b-{gpu_of(gpu or '')}-tp{gpus}"
    return Hardware(
        name,
        a,
        a / 60,
        1.5 * kv_bytes / (bandwidth * 1e9),
        1.7 * 2 * billions / arithmetic,
        kv_tokens=int(max(16_384, min(room, LARGEST))),
        max_num_seqs=256,
        max_num_batched_tokens=2048,
        source="a roofline of the data sheet with slack",
        guessed=True,
    )


def parameters_of(model: str) -> float | None:
    """Return the billions of parameters that a model's name tells (`70B`, `135M`), None where it does not.

    Of a mixture (`8x7B`) all experts count: they are read, if not all in one step.
    """
    text = model.lower()
    found = re.findall(r"(?<![a-z0-9.])(?:(\d+)x)?(\d+(?:\.\d+)?)([bm])(?![a-z0-9])", text)
    if not found:
        return None
    experts, number, unit = max(found, key=lambda f: float(f[1]) * (1 if f[2] == "b" else 0.001))
    billions = float(number) * (int(experts) if experts else 1) * (1.0 if unit == "b" else 0.001)
    return billions if 0.001 <= billions <= 10_000 else None


def _family(model: str) -> str | None:
    """The row's family. A fine-tune has its family's shape, so the name may hold more."""
    found = [name for name, pattern in _FAMILIES if pattern.search(model.lower())]
    return found[0] if len(found) == 1 else None
