"""The score of forecasting: what was foreseen, what came, and what follows from it.

After each minute a forecast is made and kept until its time is over. Then it is compared with the largest
minute that came, and three things are learned. Which of the views to believe (`torpor.decide.views`). How far
demand strays from their blend: the ratio of what came to what was foreseen enters a histogram, one for the
quiet and one for the busy hours, which stray differently, and any quantile is read from it; nothing is
assumed about its shape. And whether forecasting is worth it here: the quantile loss of the forecast against
that of the naive one, which says that the last minutes go on and corrects itself in the same way. When the
forecast is clearly worse it is dropped; it goes on being made and scored, and is taken up again when it is as
good. A day far below its profile teaches nothing: the views would learn from a holiday that nobody ever
comes, and miss the morning after it.

All of it is a frozen value that one minute turns into the next. What was learned is kept over restarts; the
present level is not, because after a restart nobody knows what was missed.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

from torpor.decide.histogram import Histogram, Scale, is_amount
from torpor.decide.minutes import Minute
from torpor.decide.profile import Profile
from torpor.decide.quick import quick
from torpor.decide.views import NO_BELIEF, NO_LEVELS, RATIO_BOUND, Belief, Levels

LONGEST_HORIZON = 45  # minutes; a start takes at most half an hour before it counts as failed
LONGEST_SILENCE = 60  # minutes not seen, after which the present level is not known any more
TYPICAL = 1440  # minutes with traffic over which the typical level is averaged
HALF_HOUR = 30.0  # minutes, the half-life of the level ratio that tells whether a day is its profile's
FAR_BELOW = 1 / RATIO_BOUND  # of that ratio: below it, it is not
QUIET = 0.3  # of the typical level: below it the hours count as quiet
BALLAST = (
    0.05  # of the typical level: added to both sides of an error ratio, so that nothing foreseen has one
)
ERRORS = Scale(low=1 / 16, ratio=2**0.125, bins=64, limit=2880.0)
NO_ERRORS = Histogram(ERRORS)
LEARNED = 60.0  # errors before their histogram is asked
LOSS_HALFLIFE = 360.0  # forecasts
ENOUGH_SCORES = 60.0
DROP, RESUME = 1.1, 1.0  # times the naive loss
DROP_MARGIN = 0.02  # of the typical level: a smaller difference of the mean losses is none
VERSION = 1


class Promise(NamedTuple):
    """A forecast that was made after minute `made` for the `minutes` after it. bases: of the views. blend:
    their mean; -1: there was no profile. learns: whether the views are judged by it. naive: that the last
    minutes go on. quantile, naive_quantile: the two with their learned spread. busy: which histogram of
    errors it belongs to.
    """

    made: int
    minutes: int
    bases: tuple[float, ...]
    blend: float
    naive: float
    quantile: float
    naive_quantile: float
    busy: bool
    learns: bool

    @property
    def known(self) -> bool:
        """Whether there was a profile to read."""
        return self.blend >= 0


@quick
@dataclass(frozen=True, slots=True)
class Track:
    """What forecasting remembers. recent: the last minutes. promises: forecasts whose time is not over, the
    newest last. typical: mean rate of minutes with traffic. quiet, busy, straying: ratios of what came to the
    blend and to the naive forecast. loss, naive_loss, scored: fading sums of quantile losses, and their
    number.
    """

    recent: tuple[Minute, ...] = ()
    levels: Levels = NO_LEVELS
    promises: tuple[Promise, ...] = ()
    typical: float = 0.0
    traffic: int = 0
    belief: Belief = NO_BELIEF
    quiet: Histogram = NO_ERRORS
    busy: Histogram = NO_ERRORS
    straying: Histogram = NO_ERRORS
    loss: float = 0.0
    naive_loss: float = 0.0
    scored: float = 0.0
    dropped: bool = False

    def add(self, minute: Minute, profile: Profile, offset: float, horizon: int, share: float) -> "Track":
        """Return the track after a minute that is over: the level is brought up to date, forecasts whose time
        is over are scored, and a new one is made. profile: as it was before this minute. horizon: minutes,
        see `horizon_minutes`. share: quantile, see `newsvendor`.
        """
        track = self._watched(minute)
        horizon = min(max(horizon, 1), LONGEST_HORIZON)
        usual, peak = profile.ahead(minute.number, horizon, offset, share)
        gap = minute.number - track.recent[-1].number if track.recent else 1
        traffic = min(track.traffic + (minute.rate > 0), TYPICAL)
        typical = track.typical
        if minute.rate > 0:
            typical += (minute.rate - typical) / traffic
        track = Track(
            (*track.recent, minute)[-LONGEST_HORIZON:],
            track.levels.add(minute.rate, usual, gap),
            track.promises,
            typical,
            traffic,
            *track._learned,
        )
        track = track._settled(share)
        promise = track.foresee(peak, horizon, share)
        return track._promising((*track.promises, promise)[-LONGEST_HORIZON:])

    @property
    def _learned(
        self,
    ) -> tuple[Belief, Histogram, Histogram, Histogram, float, float, float, bool]:
        """The fields from `belief` on, which only a score changes."""
        return (
            self.belief,
            self.quiet,
            self.busy,
            self.straying,
            self.loss,
            self.naive_loss,
            self.scored,
            self.dropped,
        )

    def _promising(self, promises: tuple[Promise, ...]) -> "Track":
        """The track with other promises."""
        return Track(self.recent, self.levels, promises, self.typical, self.traffic, *self._learned)

    def _watched(self, minute: Minute) -> "Track":
        """Forget the present where it was not watched, or where the wall clock was set back."""
        if not self.recent or 0 < minute.number - self.recent[-1].number <= LONGEST_SILENCE:
            return self
        return replace(self, recent=(), levels=NO_LEVELS, promises=())

    @property
    def ratio(self) -> float:
        """What came in the last half hour over what was usual then."""
        return self.levels.ratio(HALF_HOUR, self.typical)

    def foresee(self, peak: float | None, horizon: int, share: float) -> Promise:
        """Return the forecast from the last minute on; peak: the profile's in the `horizon` ahead, None where
        it is unknown. Not lower for a higher peak or a larger share.
        """
        made = self.recent[-1].number
        naive = self.levels.alone[0].rate
        usual = self.straying.quantile(share) if self.straying.weight >= LEARNED else 1.0
        naive_quantile = self._strayed(naive, usual)
        if peak is None:
            return Promise(made, horizon, (), -1.0, naive, -1.0, naive_quantile, busy=False, learns=False)
        bases = self.levels.bases(peak, self.typical)
        blend = self.belief.blend(bases)
        border = QUIET * self.typical
        busy = blend > border
        # As long as the errors of such hours are few, demand is taken to stray as far as it does from the
        # naive forecast, which is known a day earlier.
        factor = self.quiet.quantile(share) if self.quiet.weight >= LEARNED else usual
        quantile = self._strayed(min(blend, border), factor)
        if busy:  # busy hours stray less, but more that is foreseen never asks for less
            factor = self.busy.quantile(share) if self.busy.weight >= LEARNED else usual
            quantile = max(quantile, self._strayed(blend, factor))
        learns = self.ratio >= FAR_BELOW
        return Promise(made, horizon, bases, blend, naive, quantile, naive_quantile, busy, learns)

    def _strayed(self, base: float, factor: float | None) -> float:
        """The quantile of what comes where `base` is foreseen, by that of the errors' ratios."""
        ballast = BALLAST * self.typical
        return max(0.0, (base + ballast) * (factor or 1.0) - ballast)

    def _settled(self, share: float) -> "Track":
        """Score the forecasts whose time is over with the last minute; one that was not watched is not."""
        track, now = self, self.recent[-1].number
        for promise in self.promises:
            end = promise.made + promise.minutes
            if end > now:
                continue
            made = promise.made
            seen = [rate for number, rate in self.recent[made - now :] if made < number <= end]
            if 2 * len(seen) >= promise.minutes and seen and self.typical > 0:
                track = track._scored(promise, max(seen), share)
        return track._promising(tuple([p for p in self.promises if p.made + p.minutes > now]))

    def _scored(self, promise: Promise, came: float, share: float) -> "Track":
        ballast = BALLAST * self.typical
        straying = self.straying.add((came + ballast) / (promise.naive + ballast))
        if not promise.learns:
            return replace(self, straying=straying)
        error = (came + ballast) / (promise.blend + ballast)
        keep = 0.5 ** (1 / LOSS_HALFLIFE)
        loss = self.loss * keep + pinball(came, promise.quantile, share)
        naive_loss = self.naive_loss * keep + pinball(came, promise.naive_quantile, share)
        scored = self.scored * keep + 1
        dropped = self.dropped
        if scored >= ENOUGH_SCORES:
            margin = DROP_MARGIN * self.typical * scored
            dropped = loss > RESUME * naive_loss if dropped else loss > DROP * naive_loss + margin
        return replace(
            self,
            belief=self.belief.add(came, promise.bases),
            straying=straying,
            quiet=self.quiet if promise.busy else self.quiet.add(error),
            busy=self.busy.add(error) if promise.busy else self.busy,
            loss=loss,
            naive_loss=naive_loss,
            scored=scored,
            dropped=dropped,
        )

    def dump(self) -> dict[str, object]:
        """Return what was learned as JSON values, below 3 KiB."""
        return {
            "v": VERSION,
            "typical": self.typical,
            "traffic": self.traffic,
            "belief": self.belief.dump(),
            "quiet": self.quiet.dump(),
            "busy": self.busy.dump(),
            "straying": self.straying.dump(),
            "loss": self.loss,
            "naiveLoss": self.naive_loss,
            "scored": self.scored,
            "dropped": self.dropped,
        }

    @classmethod
    def load(cls, data: object) -> "Track":
        """Return the track that `dump` wrote, without a present; what is damaged or of another version is an
        empty track, which learns anew.
        """
        if not isinstance(data, dict) or data.get("v") != VERSION:
            return cls()
        numbers = [data.get(key) for key in ("typical", "traffic", "loss", "naiveLoss", "scored")]
        belief = Belief.load(data.get("belief"))
        good = [number for number in numbers if is_amount(number)]
        if belief is None or len(good) != len(numbers):
            return cls()
        typical, traffic, loss, naive_loss, scored = good
        return cls(
            typical=typical,
            traffic=min(int(traffic), TYPICAL),
            belief=belief,
            quiet=Histogram.load(ERRORS, data.get("quiet")),
            busy=Histogram.load(ERRORS, data.get("busy")),
            straying=Histogram.load(ERRORS, data.get("straying")),
            loss=loss,
            naive_loss=naive_loss,
            scored=scored,
            dropped=data.get("dropped") is True,
        )


def pinball(came: float, foreseen: float, share: float) -> float:
    """The quantile loss: `share` for each unit too little, 1 − share for each too much."""
    return max(share * (came - foreseen), (share - 1) * (came - foreseen))
