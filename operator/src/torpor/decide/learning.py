"""What a fleet's replicas cost per step, learned while they work.

The table is right for few fleets: images change, weights are quantized, GPUs are unknown, speculative
decoding doubles the tokens of a step. So the four constants are multipliers of a start value, fitted
recursively to samples (research, section 12.2 item 2). The start's covariance has two parts: one factor
common to all four (a faster or slower engine) and a smaller deviation of each. So the first samples of a
fleet that only decodes already scale its prefill cost, which is what an unknown or quantized engine needs,
and later ones tell the constants apart as far as the load does; elsewhere the start stands.

Robust: a sample further off than three standard deviations pulls like one that is three off; eight such in a
row in one direction are a changed engine, and what was known becomes open again. A sample equal to a recent
one in every number is no evidence: engines that hang repeat themselves. Knowledge fades towards the start's
uncertainty, not without bound. No constant leaves [1/50, 20] times its start, so none is ever zero or less.

`ratio` is kept apart: measured over expected utilization of the fleet (section 11.4). It corrects what the
gateway believes a request to be: prefixes found in the cache, answers longer than thought.
"""

import functools
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from torpor.decide.hardware import Hardware
from torpor.decide.quick import but, quick
from torpor.decide.samples import Sample

VERSION = 1
LOWEST, HIGHEST = 0.02, 20.0  # bounds of a multiplier
NOISE = 0.08  # relative spread of a sample beyond what it says of itself
GATE = 3.0  # standard deviations
SURPRISES = 8  # in a row: the engine is another
FADE = 1 / 500  # per sample, towards the start's covariance
PROVEN = 20  # samples
RECENT = 16  # samples remembered to tell repetition
RATIO_SECONDS = 300.0  # memory of the ratio; it starts with a fifth of that in favour of 1
RATIO_BOUNDS = (0.1, 5.0)
LINEAR = (0.1, 0.9)  # utilizations between which 1 − a/ITL is a measure of load

Vector = tuple[float, float, float, float]
Triangle = tuple[float, ...]  # the upper triangle of a symmetric 4 × 4 matrix, by rows


@quick
@dataclass(frozen=True, slots=True)
class Learned:
    """A fleet's step costs: `start` in ms (a, b, c, d), their multipliers and these multipliers' covariance.

    guessed: the start was no measurement. samples: evidence since the engine last changed. error: running
    mean of the relative error of predictions before they were learned from. surprises: outliers in a row,
    signed. ratio: measured over expected utilization; ratio_seconds: how long it was watched. revision: the
    pod template's that was learned.
    """

    start: Vector
    guessed: bool = False
    multipliers: Vector = (1.0, 1.0, 1.0, 1.0)
    covariance: Triangle = ()
    samples: float = 0.0
    error: float = 0.0
    surprises: int = 0
    ratio: float = 1.0
    ratio_seconds: float = 0.0
    revision: str = ""
    recent: tuple[Sample, ...] = ()

    @property
    def constants(self) -> Vector:
        """a, b, c, d in milliseconds, each above 0."""
        s, m = self.start, self.multipliers
        return s[0] * m[0], s[1] * m[1], s[2] * m[2], s[3] * m[3]

    @property
    def proven(self) -> bool:
        """Whether enough was seen, and predicted well enough, to stand on."""
        return self.samples >= PROVEN and self.error <= 0.3

    def uncertainty(self, running: float, kv_tokens: float, prompt_tokens: float) -> float:
        """Relative standard deviation of the predicted step at that batch: 0.1 is 10 %."""
        parts = _parts(self.start, running, kv_tokens, prompt_tokens)
        predicted = _dot(parts, self.multipliers)
        return math.sqrt(max(0.0, _dot(parts, _times(_covariance(self), parts)))) / predicted

    def hardware(self, base: Hardware) -> Hardware:
        """Return `base` with what was learned; sizes are the engine's own business and stay."""
        a, b, c, d = self.constants
        return but(base, a=a, b=b, c=c, d=d, guessed=self.guessed and not self.proven)


def begin(hardware: Hardware, revision: str = "") -> Learned:
    """Start from the table's row, or from a guess with twice to three times its uncertainty."""
    start = (hardware.a, hardware.b, hardware.c, hardware.d)
    return Learned(start, hardware.guessed, covariance=_wide(hardware.guessed), revision=revision)


def renew(learned: Learned, revision: str) -> Learned:
    """Return what is known of the engine of `revision`: of another one than learned, the same numbers with
    the start's uncertainty. They remain the best guess, and a few samples move them.
    """
    if revision == learned.revision:
        return learned
    return replace(
        learned,
        covariance=_wide(learned.guessed),
        samples=0.0,
        surprises=0,
        ratio_seconds=0.0,
        revision=revision,
        recent=(),
    )


def learn(learned: Learned, samples: Iterable[Sample]) -> Learned:
    """Fit the samples one after the other; unsound and repeated ones are passed over."""
    for sample in samples:
        if sample.sound and sample.running > 0 and not _repeated(sample, learned.recent):
            learned = _step(learned, sample)
    return learned


def calibrate(learned: Learned, shown: float, expected: float, seconds: float) -> Learned:
    """Bring the ratio nearer to shown/expected.

    shown: mean of 1 − a/ITL over the replicas. expected: the gateways' work divided by the replicas, with the
    ratio left out. Both outside [0.1, 0.9] say nothing: an idle engine shows no step, a saturated one always
    the same.
    """
    low, high = LINEAR
    if not (low <= shown <= high and low <= expected <= high and 0 < seconds < math.inf):
        return learned
    share = min(seconds, 60.0) / min(RATIO_SECONDS / 5 + learned.ratio_seconds + seconds, RATIO_SECONDS)
    change = math.log(shown / expected) - math.log(learned.ratio)
    log_ratio = math.log(learned.ratio) + min(share, 1.0) * max(-0.7, min(0.7, change))
    ratio = max(RATIO_BOUNDS[0], min(RATIO_BOUNDS[1], math.exp(log_ratio)))
    return but(learned, ratio=ratio, ratio_seconds=min(learned.ratio_seconds + seconds, RATIO_SECONDS))


def to_dict(learned: Learned) -> dict[str, Any]:
    """Plain values for JSON, six digits each, below 1 KiB as text. Recent samples are not kept."""
    return {
        "version": VERSION,
        "start": [_short(x) for x in learned.start],
        "guessed": learned.guessed,
        "multipliers": [_short(x) for x in learned.multipliers],
        "covariance": [_short(x) for x in _covariance(learned)],
        "samples": _short(learned.samples),
        "error": _short(learned.error),
        "surprises": learned.surprises,
        "ratio": _short(learned.ratio),
        "ratioSeconds": _short(learned.ratio_seconds),
        "revision": learned.revision[:63],
    }


def from_dict(document: object) -> Learned | None:
    """Read what `to_dict` wrote; None for anything else, another version included: then one begins anew."""
    if not isinstance(document, Mapping) or document.get("version") != VERSION:
        return None
    try:
        learned = Learned(
            start=_vector(document["start"], 1e-12, 1e9),
            guessed=document["guessed"] is True,
            multipliers=_vector(document["multipliers"], LOWEST, HIGHEST),
            covariance=tuple(_number(x, -1e3, 1e3) for x in document["covariance"]),
            samples=_number(document["samples"], 0, 1e12),
            error=_number(document["error"], 0, 1e6),
            surprises=int(_number(document["surprises"], -SURPRISES, SURPRISES)),
            ratio=_number(document["ratio"], *RATIO_BOUNDS),
            ratio_seconds=_number(document["ratioSeconds"], 0, RATIO_SECONDS),
            revision=str(document["revision"])[:63],
        )
    except (KeyError, TypeError, ValueError):
        return None
    diagonal = [learned.covariance[_AT[i][i]] for i in range(4)] if len(learned.covariance) == 10 else [0.0]
    return learned if min(diagonal) > 0 else None


def _step(learned: Learned, sample: Sample) -> Learned:
    """One Kalman step on relative errors. The covariance is that of the multipliers."""
    parts = _parts(learned.start, sample.running, sample.kv_tokens, sample.prompt_tokens)
    predicted = _dot(parts, learned.multipliers)
    h = _scaled(parts, 1 / predicted)
    error = sample.step_ms / predicted - 1.0
    known = _covariance(learned)
    wide = _wide(learned.guessed)
    faded = tuple([(1 - FADE) * p + FADE * w for p, w in zip(known, wide, strict=True)])
    gain = _times(faded, h)
    noise = NOISE**2 + sample.noise**2
    variance = max(_dot(h, gain) + noise, noise)
    limit = GATE * math.sqrt(variance)
    surprises = _surprises(learned.surprises, error, limit)
    pull = max(-limit, min(limit, error)) / variance
    x, g = learned.multipliers, gain
    m = (
        _held(x[0] + pull * g[0]),
        _held(x[1] + pull * g[1]),
        _held(x[2] + pull * g[2]),
        _held(x[3] + pull * g[3]),
    )
    covariance = tuple([p - gain[i] * gain[j] / variance for p, (i, j) in zip(faded, _PAIRS, strict=True)])
    changed = abs(surprises) >= SURPRISES
    return but(
        learned,
        multipliers=m,
        covariance=wide if changed else covariance,
        samples=0.0 if changed else learned.samples + 1,
        error=learned.error + (min(abs(error), 2.0) - learned.error) / min(learned.samples + 1, 20),
        surprises=0 if changed else surprises,
        recent=(*learned.recent, sample)[-RECENT:],
    )


def _surprises(before: int, error: float, limit: float) -> int:
    if abs(error) <= limit:
        return int(math.copysign(max(0, abs(before) - 1), before))
    sign = 1 if error > 0 else -1
    return before + sign if before * sign >= 0 else sign


def _held(multiplier: float) -> float:
    return max(LOWEST, min(HIGHEST, multiplier))


def _repeated(sample: Sample, recent: tuple[Sample, ...]) -> bool:
    step = sample.step_ms  # told apart by one number, nearly always
    return any(old.step_ms == step and old == sample for old in recent)


@functools.cache
def _wide(guessed: bool) -> Triangle:
    """Covariance of the start: variance common to all four, and of each alone. A table's row is off by a
    third, a guess by as much as itself.
    """
    common, own = (1.0, 0.25) if guessed else (0.10, 0.06)
    return tuple(common + (own if i == j else 0.0) for i in range(4) for j in range(i, 4))


_AT = [[0, 1, 2, 3], [1, 4, 5, 6], [2, 5, 7, 8], [3, 6, 8, 9]]  # where (i, j) stands in a triangle
_PAIRS = [(i, j) for i in range(4) for j in range(i, 4)]  # what stands where


def _covariance(learned: Learned) -> Triangle:
    return learned.covariance or _wide(learned.guessed)


def _parts(start: Vector, running: float, kv_tokens: float, prompt_tokens: float) -> Vector:
    return start[0], start[1] * running, start[2] * kv_tokens, start[3] * prompt_tokens


def _scaled(vector: Vector, factor: float) -> Vector:
    return vector[0] * factor, vector[1] * factor, vector[2] * factor, vector[3] * factor


def _dot(one: Vector, other: Vector) -> float:
    return one[0] * other[0] + one[1] * other[1] + one[2] * other[2] + one[3] * other[3]


def _times(matrix: Triangle, v: Vector) -> Vector:
    p = matrix
    return (
        p[0] * v[0] + p[1] * v[1] + p[2] * v[2] + p[3] * v[3],
        p[1] * v[0] + p[4] * v[1] + p[5] * v[2] + p[6] * v[3],
        p[2] * v[0] + p[5] * v[1] + p[7] * v[2] + p[8] * v[3],
        p[3] * v[0] + p[6] * v[1] + p[8] * v[2] + p[9] * v[3],
    )


def _short(number: float) -> float:
    return float(f"{number:.6g}")


def _number(value: object, low: float, high: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise ValueError(f"{value!r}: must be a number from {low:g} to {high:g}")
    return float(value)


def _vector(values: Any, low: float, high: float) -> Vector:
    a, b, c, d = (_number(x, low, high) for x in values)
    return a, b, c, d
