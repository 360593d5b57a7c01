"""Several views of the near future, and how far each is to be believed.

No single rule foresees every fleet. Where thousands of people share a fleet, the usual day times today's
level is nearly exact; where one program sends batches, the last minute says more than any calendar; where
requests come twice a minute, only a long mean says anything. So each rule is a view of the same few numbers,
all are asked, and the answer is their mean, weighted by how well each did lately: weight = (mean absolute
error of the best / its own)^`SHARPNESS`. A view that is always off by the same factor is corrected by it
first.

A seasonal view is the profile's peak ahead times a level ratio: what came over what was usual in the last
minutes. The half-life of the ratio is the view's character: one minute follows every burst, thirty minutes
trust the calendar. The trend view goes on as the last minutes went against the last five. Where hardly
anything is usual and nothing comes (a night), came and usual both get `PRIOR` of the fleet's typical level,
so that silence at night says nothing against the morning; the ratio is bounded, because a day of ten times
its profile has no profile.

The constants were chosen on the first halves of three recorded traces, scored as `bench/forecast.py` scores
the second.
"""

import functools
from dataclasses import dataclass
from typing import NamedTuple

from torpor.decide.histogram import is_amount
from torpor.decide.quick import quick

RATIO_BOUND = 8.0  # the level ratio stays within 1/8 and 8
PRIOR = 0.05  # of the typical level, added to both sides of the ratio
SHARPNESS = 6.0
HALFLIFE = 720.0  # forecasts after which an error counts half
KEPT = 0.5 ** (1 / HALFLIFE)  # share that is left of a sum after one forecast
CORRECTION = 5.0  # largest factor by which a view is corrected
_TINY = 1e-9


class View(NamedTuple):
    """One rule. halflife: of its level, minutes. seasonal: whether it reads the profile. trend: the power to
    which it continues the movement of its ratio against that of `TREND_AGAINST`.
    """

    name: str
    halflife: float
    seasonal: bool
    trend: float = 0.0


TREND_AGAINST = 5.0  # minutes
VIEWS = (
    View("usual day, level of the last minute", 1.0, seasonal=True),
    View("usual day, level of the last five minutes", 5.0, seasonal=True),
    View("usual day, level of the last half hour", 30.0, seasonal=True),
    View("usual day, trend of the last minutes", 1.0, seasonal=True, trend=0.3),
    View("last minute", 1.0, seasonal=False),
    View("last quarter of an hour", 15.0, seasonal=False),
)


# Where the first seasonal view of a half-life stands.
_SEASONAL = {view.halflife: i for i, view in reversed([*enumerate(VIEWS)]) if view.seasonal}


UNCORRECTED = (1.0,) * len(VIEWS)


@functools.lru_cache(maxsize=64)
def _fading(gap: int) -> tuple[float, ...]:
    """The share of each view's level that is left after `gap` minutes."""
    return tuple(0.5 ** (gap / view.halflife) for view in VIEWS)


class Level(NamedTuple):
    """Sums that fade by the minute: what came, what was usual in the same minutes, and their number."""

    came: float = 0.0
    usual: float = 0.0
    minutes: float = 0.0

    @property
    def rate(self) -> float:
        """The mean of what came; 0 before the first minute."""
        return self.came / self.minutes if self.minutes > 0 else 0.0

    def ratio(self, typical: float) -> float:
        """What came over what was usual, `PRIOR` of `typical` added to both; 1 where there is nothing to
        compare.
        """
        ballast = PRIOR * typical * self.minutes
        if ballast <= 0 or self.usual < 0:
            return 1.0
        return (self.came + ballast) / (self.usual + ballast)


def _added(
    levels: tuple[Level, ...], came: float, usual: float, fading: tuple[float, ...]
) -> tuple[Level, ...]:
    """The levels with a minute of so much, `fading` of what was."""
    return tuple(
        [
            Level(old * keep + came, before * keep + usual, minutes * keep + 1.0)
            for (old, before, minutes), keep in zip(levels, fading, strict=True)
        ]
    )


@quick
@dataclass(frozen=True, slots=True)
class Levels:
    """The present level at each half-life: against the profile where it is known (`season`), and alone."""

    season: tuple[Level, ...] = (Level(),) * len(VIEWS)
    alone: tuple[Level, ...] = (Level(),) * len(VIEWS)

    def add(self, came: float, usual: float | None, gap: int) -> "Levels":
        """Return the levels with a minute that follows the one before after `gap` minutes; `usual` None: the
        profile says nothing of it.
        """
        fading = _fading(gap)
        alone = _added(self.alone, came, 0.0, fading)
        if usual is None:
            return Levels(self.season, alone)
        return Levels(_added(self.season, came, usual, fading), alone)

    def ratio(self, halflife: float, typical: float) -> float:
        """The level ratio at a half-life that some view has, unbounded."""
        return self.season[_SEASONAL[halflife]].ratio(typical)

    def bases(self, peak: float, typical: float) -> tuple[float, ...]:
        """Return what each view foresees; peak: the profile's peak ahead."""
        against = _bounded(self.ratio(TREND_AGAINST, typical), RATIO_BOUND)
        found = []
        for (_, _, seasonal, trend), season, alone in zip(VIEWS, self.season, self.alone, strict=True):
            if not seasonal:
                found.append(alone.rate)
                continue
            ratio = _bounded(season.ratio(typical), RATIO_BOUND)
            if trend:
                ratio = _bounded(ratio * (ratio / against) ** trend, RATIO_BOUND)
            found.append(peak * ratio)
        return tuple(found)


@quick
@dataclass(frozen=True, slots=True)
class Belief:
    """How the views did: fading sums of what came, of what each foresaw, and of each one's absolute error."""

    came: float = 0.0
    foreseen: tuple[float, ...] = (0.0,) * len(VIEWS)
    errors: tuple[float, ...] = (0.0,) * len(VIEWS)

    def add(self, came: float, bases: tuple[float, ...]) -> "Belief":
        """Return the belief after `came` followed where the views foresaw `bases`."""
        keep = KEPT
        errors = zip(self.errors, bases, self.corrections(), strict=True)
        return Belief(
            self.came * keep + came,
            tuple([old * keep + base for old, base in zip(self.foreseen, bases, strict=True)]),
            tuple([old * keep + abs(came - factor * base) for old, base, factor in errors]),
        )

    def corrections(self) -> tuple[float, ...]:
        """The factor on each view that makes it right on average, bounded."""
        came = self.came
        if not came > 0:
            return UNCORRECTED
        low, high = 1 / CORRECTION, CORRECTION
        return tuple([min(max(came / sum_, low), high) if sum_ > 0 else 1.0 for sum_ in self.foreseen])

    def weights(self) -> tuple[float, ...]:
        """The weight of each view; they add up to 1, and are equal before the first error."""
        best = min(self.errors) + _TINY
        raw = [(best / (error + _TINY)) ** SHARPNESS for error in self.errors]
        total = sum(raw)
        return tuple([weight / total for weight in raw])

    def blend(self, bases: tuple[float, ...]) -> float:
        """The weighted mean of the corrected views."""
        parts = zip(bases, self.corrections(), self.weights(), strict=True)
        return sum(base * factor * weight for base, factor, weight in parts)

    def dump(self) -> dict[str, object]:
        """Return JSON values."""
        return {"came": self.came, "foreseen": list(self.foreseen), "errors": list(self.errors)}

    @classmethod
    def load(cls, data: object) -> "Belief | None":
        """Return the belief that `dump` wrote, None where `data` is not one."""
        if not isinstance(data, dict):
            return None
        came, lists = data.get("came"), (data.get("foreseen"), data.get("errors"))
        rows = []
        for row in lists:
            sums = [float(sum_) for sum_ in row if is_amount(sum_)] if isinstance(row, list) else []
            if len(sums) != len(VIEWS):
                return None
            rows.append(tuple(sums))
        return cls(float(came), rows[0], rows[1]) if is_amount(came) else None


NO_LEVELS = Levels()
NO_BELIEF = Belief()


def _bounded(ratio: float, bound: float) -> float:
    return min(max(ratio, 1 / bound), bound)
