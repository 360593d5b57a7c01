"""What a fleet's requests are like: how many come, how unevenly, how long their prompts and answers are.

Gateways count; this turns counts between two looks into rates and lengths. Prompts are known on arrival,
answers only when they end, so they are averaged apart, over the larger of 200 requests and two minutes: a
shift of length shows at once in the prompts and within minutes in the answers.

The rate is a slow average (60 s), or a fast one (10 s) as far as chance does not explain the difference: a
step shows within seconds, and noise is not read as one. Unevenness is the dispersion of counts in bins of
ten seconds, between neighbours, so that a slow rise in the morning does not count as one.

Second moments (E[W²], E[I·O]) need sums of squares, which are additive over gateways like everything else
here; without them a squared coefficient of variation of 1 is assumed for both lengths (the shared traces have
0.02 to 1.7 for prompts, 0.3 to 4.6 for answers).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from torpor.decide.hardware import Hardware
from torpor.decide.quick import quick
from torpor.decide.work import Mix

VERSION = 1
FAST, SLOW = 10.0, 60.0  # seconds
SETTLED = 5.0  # seconds of watching before which a rate is not extrapolated
WINDOW_REQUESTS, WINDOW_SECONDS = 200.0, 120.0  # memory of lengths, the larger of the two
BIN = 10.0  # seconds
DISPERSION_BINS = 60.0  # memory of the dispersion
DISPERSION_BOUNDS = (0.5, 20.0)
MOST_SURPRISE = 25.0  # of one bin: a step of the load is no dispersion
ASSUMED_SPREAD = 1.0
MOST_LONGER = 5.0  # standard deviation of the prompts over their mean
LARGEST = 1e15


@quick
@dataclass(frozen=True, slots=True)
class Counts:
    """What all gateways counted between two looks, `seconds` apart.

    arrivals and the tokens of their prompts; requests completed and the tokens of their answers. Sums over
    the completed ones of I², O² and I·O, where gateways keep them (all three or none).
    """

    seconds: float
    arrivals: float
    prompt_tokens: float
    completed: float
    output_tokens: float
    prompt_squares: float | None = None
    output_squares: float | None = None
    products: float | None = None

    @property
    def sound(self) -> bool:
        """Whether every number is possible: a counter that went back, or NaN, is not."""
        prompts, outputs, products = self.prompt_squares, self.output_squares, self.products
        return (
            0 < self.seconds <= 86_400
            and 0 <= self.arrivals <= LARGEST
            and 0 <= self.prompt_tokens <= LARGEST
            and 0 <= self.completed <= LARGEST
            and 0 <= self.output_tokens <= LARGEST
            and (prompts is None or 0 <= prompts <= LARGEST)
            and (outputs is None or 0 <= outputs <= LARGEST)
            and (products is None or 0 <= products <= LARGEST)
        )


@quick
@dataclass(frozen=True, slots=True)
class Traffic:
    """Averages of one fleet's requests; everything 0 where nothing was seen.

    fast, slow, fast_prompt, slow_prompt: arrivals and prompt tokens per second, not yet divided by the share
    of the window that was watched. watched: seconds. prompts, prompt_sum: requests and tokens that arrived,
    fading. outputs, output_sum: the same of completed ones; squared: of these, those with sums of squares,
    and the sums. dispersion: variance over mean of counts. bin_*: the bin under way and the last full one.
    """

    fast: float = 0.0
    slow: float = 0.0
    fast_prompt: float = 0.0
    slow_prompt: float = 0.0
    watched: float = 0.0
    prompts: float = 0.0
    prompt_sum: float = 0.0
    outputs: float = 0.0
    output_sum: float = 0.0
    squared: float = 0.0
    squared_prompt_sum: float = 0.0
    prompt_squares: float = 0.0
    output_squares: float = 0.0
    products: float = 0.0
    dispersion: float = 1.0
    bins: float = 0.0
    bin_seconds: float = 0.0
    bin_arrivals: float = 0.0
    bin_last: float = -1.0

    @property
    def rates(self) -> tuple[float, float]:
        """Requests and prompt tokens per second now."""
        seen = max(self.watched, SETTLED)
        quick, calm = 1 - math.exp(-seen / FAST), 1 - math.exp(-seen / SLOW)
        slow, fast = self.slow / calm, self.fast / quick
        if fast <= slow:
            return slow, self.slow_prompt / calm
        # An average over τ has the variance λ·D/(2τ); only what exceeds one standard deviation is news.
        certain = 1 - math.sqrt(self.dispersion / (2 * FAST * fast))
        requests = max(slow, fast * certain)
        return requests, max(self.slow_prompt / calm, self.fast_prompt / quick * certain)

    @property
    def output(self) -> float | None:
        """Mean tokens of an answer, None before three have ended."""
        return self.output_sum / self.outputs if self.outputs >= 3 else None

    @property
    def prompt(self) -> float | None:
        """Mean tokens of a prompt, None before one arrived."""
        return self.prompt_sum / self.prompts if self.prompts >= 1 else None

    def mix(self, hardware: Hardware, assumed_output: float) -> Mix | None:
        """The mean request, None where none was seen; `assumed_output` stands in for answers not yet seen.

        Its spread is that of W on this hardware, to first order in the lengths.
        """
        prompt = self.prompt
        if prompt is None:
            return None
        output = assumed_output if self.output is None else self.output
        context, var_i, var_o, cov = None, ASSUMED_SPREAD * prompt**2, ASSUMED_SPREAD * output**2, 0.0
        if self.squared >= 20 and self.output is not None:
            n, mean_i = self.squared, self.squared_prompt_sum / self.squared
            context = max(0.0, self.products / n + self.output_squares / n / 2)
            var_i = max(0.0, self.prompt_squares / n - mean_i**2)
            var_o = max(0.0, self.output_squares / n - output**2)
            limit = math.sqrt(var_i * var_o)
            cov = max(-limit, min(limit, self.products / n - mean_i * output))
        by_i = hardware.d + hardware.c * output
        by_o = hardware.b + hardware.c * (prompt + output)
        variance = by_i**2 * var_i + by_o**2 * var_o + 2 * by_i * by_o * cov
        mean = hardware.d * max(prompt, 1.0) + output * (hardware.b + hardware.c * (prompt + output / 2))
        longer = min(math.sqrt(var_i) / max(prompt, 1.0), MOST_LONGER)
        return Mix(prompt, output, context, spread=min(max(0.0, variance) / mean**2, 100.0), longer=longer)


def observe(traffic: Traffic, counts: Counts) -> Traffic:
    """Return the averages with what was counted since the last look; impossible counts change nothing."""
    if not counts.sound:
        return traffic
    quick, calm = 1 - math.exp(-counts.seconds / FAST), 1 - math.exp(-counts.seconds / SLOW)
    arrived, prompts = counts.arrivals / counts.seconds, counts.prompt_tokens / counts.seconds
    return Traffic(
        traffic.fast + quick * (arrived - traffic.fast),
        traffic.slow + calm * (arrived - traffic.slow),
        traffic.fast_prompt + quick * (prompts - traffic.fast_prompt),
        traffic.slow_prompt + calm * (prompts - traffic.slow_prompt),
        min(traffic.watched + counts.seconds, 3600.0),
        *_lengths(traffic, counts),
        *_binned(traffic, counts),
    )


def _lengths(traffic: Traffic, counts: Counts) -> tuple[float, ...]:
    """The fields from `prompts` to `products`."""
    # What is larger, 200 requests or two minutes, is remembered: the slower of the two fades decides.
    by_time = counts.seconds / WINDOW_SECONDS
    of_prompts = math.exp(-min(counts.arrivals / WINDOW_REQUESTS, by_time))
    of_outputs = math.exp(-min(counts.completed / WINDOW_REQUESTS, by_time))
    prompts = traffic.prompts * of_prompts + counts.arrivals
    prompt_sum = traffic.prompt_sum * of_prompts + counts.prompt_tokens
    means = (
        prompts,
        prompt_sum,
        traffic.outputs * of_outputs + counts.completed,
        traffic.output_sum * of_outputs + counts.output_tokens,
    )
    if counts.prompt_squares is None or counts.output_squares is None or counts.products is None:
        return (
            *means,
            traffic.squared,
            traffic.squared_prompt_sum,
            traffic.prompt_squares,
            traffic.output_squares,
            traffic.products,
        )
    mean_prompt = prompt_sum / prompts if prompts >= 1 else 0.0
    return (
        *means,
        traffic.squared * of_outputs + counts.completed,
        traffic.squared_prompt_sum * of_outputs + counts.completed * mean_prompt,
        traffic.prompt_squares * of_outputs + counts.prompt_squares,
        traffic.output_squares * of_outputs + counts.output_squares,
        traffic.products * of_outputs + counts.products,
    )


def _binned(traffic: Traffic, counts: Counts) -> tuple[float, ...]:
    """The fields from `dispersion` to `bin_last`."""
    seconds = traffic.bin_seconds + counts.seconds
    arrivals = traffic.bin_arrivals + counts.arrivals
    if seconds < BIN:
        return traffic.dispersion, traffic.bins, seconds, arrivals, traffic.bin_last
    count = arrivals * BIN / seconds
    last, mean = traffic.bin_last, (count + traffic.bin_last) / 2
    if seconds > 3 * BIN:  # looks too far apart to compare neighbours
        return traffic.dispersion, traffic.bins, 0.0, 0.0, -1.0
    if last < 0 or mean < 1:
        return traffic.dispersion, traffic.bins, 0.0, 0.0, count
    surprise = min((count - last) ** 2 / (2 * mean), MOST_SURPRISE)
    bins = min(traffic.bins + 1, DISPERSION_BINS)
    # The first bins count against ten that saw a Poisson process.
    dispersion = traffic.dispersion + (surprise - traffic.dispersion) / (bins + 10)
    return max(DISPERSION_BOUNDS[0], min(DISPERSION_BOUNDS[1], dispersion)), bins, 0.0, 0.0, count


def to_dict(traffic: Traffic) -> dict[str, Any]:
    """What is worth keeping over a restart: lengths and dispersion, six digits each. Rates are not."""
    kept = {name: float(f"{getattr(traffic, name):.6g}") for name in _KEPT}
    return {"version": VERSION, **kept}


def from_dict(document: object) -> Traffic | None:
    """Read what `to_dict` wrote; None for anything else."""
    if not isinstance(document, Mapping) or document.get("version") != VERSION:
        return None
    values = {}
    for name in _KEPT:
        value = document.get(name)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1e18:
            return None
        values[name] = float(value)
    low, high = DISPERSION_BOUNDS
    return Traffic(**values) if low <= values["dispersion"] <= high else None


_PASSING = ("fast", "slow", "watched", "bin_")
_KEPT = tuple(f.name for f in fields(Traffic) if not f.name.startswith(_PASSING))
