"""What will be asked for while a replica that is ordered now gets ready.

A replica helps only after its cold start, so the number that matters is the largest rate in the minutes from
now to then, not the rate of now. The forecast blends several views (`torpor.decide.views`: the same time of
previous days and weeks times the present level, a short trend, the present itself) and answers with a
quantile, because too little and too much do not cost the same: a replica that comes too late costs `late` for
the time in which one that idles costs `idle`, and the best order is then the quantile late / (late + idle) of
the demand (the newsvendor rule: Arrow, Harris and Marschak 1951; research/autoscaling.md 12.2 item 4).

It can only add. It is never below what is needed now, and where it knows nothing it asks for nothing: there
is no forecast without an earlier day, none when the last minutes were not seen, none while forecasts do worse
than the last minute going on (`torpor.decide.track` keeps the score), and none on a day far below its
profile, because a holiday must not keep a fleet up. Each of these says so in its reason.
"""

import math
from typing import NamedTuple

from torpor.decide.minutes import MINUTE, MOST
from torpor.decide.track import FAR_BELOW, LEARNED, LONGEST_HORIZON, Track
from torpor.decide.values import Unknown, Value, measured

FRESH = 3 * MINUTE  # seconds after its minute during which a forecast is one of now
LOWEST_SHARE, HIGHEST_SHARE = 0.5, 0.99


def newsvendor(late: float, idle: float) -> float:
    """Return the quantile to order for: late / (late + idle), within [0.5, 0.99]. late: cost of one replica
    that is missing for a time, idle: cost of one that is not needed for the same time, in the same unit, both
    not negative. It never falls with `late` and never rises with `idle`; without costs it is 0.5.
    """
    if not (math.isfinite(late) and math.isfinite(idle) and late >= 0 and idle >= 0):
        raise ValueError(f"costs must be finite and not negative, got late {late!r} and idle {idle!r}")
    total = late + idle
    return min(max(late / total if total > 0 else LOWEST_SHARE, LOWEST_SHARE), HIGHEST_SHARE)


def horizon_minutes(cold_start: float, interval: float) -> int:
    """Return the whole minutes to look ahead for a cold start and the time to the next look (seconds both):
    their sum and the age that a forecast may have when it is read, within [1, 45].
    """
    seconds = max(cold_start, 0.0) + max(interval, 0.0) + MINUTE
    return LONGEST_HORIZON if not seconds < LONGEST_HORIZON * MINUTE else math.ceil(seconds / MINUTE)


class Forecast(NamedTuple):
    """The answer. rate: to be ready for, in the profile's unit per second, never below the present rate;
    None: no forecast, with the reason. expected: the blend of the views, no quantile. naive: the quantile of
    a forecast that the last minutes go on, None until it is known how far they stray.
    """

    rate: float | None
    reason: str
    expected: float | None = None
    naive: float | None = None


def forecast(track: Track, now: float, rate: Value) -> Forecast:
    """Return the forecast at `now` (UTC seconds) for a present `rate` (unknown: the answer can still only
    raise). It reads what `Track.add` foresaw after the last minute and costs microseconds.
    """
    if not track.promises:
        return Forecast(None, "no minute was seen yet")
    promise = track.promises[-1]
    age = now - (promise.made + 1) * MINUTE
    if not -MINUTE <= age <= FRESH:
        return Forecast(None, f"the last minute that was seen ended {age:.0f} s ago")
    naive = promise.naive_quantile if track.straying.weight >= LEARNED else None
    if not promise.known:
        return Forecast(None, "no earlier day is known at this time", naive=naive)
    ratio = track.ratio
    if ratio < FAR_BELOW:
        told = f"the day is far below its profile, at {ratio:.0%} of the usual"
        return Forecast(None, told, promise.blend, naive)
    if track.dropped:
        times = track.loss / track.naive_loss if track.naive_loss > 0 else math.inf
        told = f"forecasts lose {times:.2f} times as much as the last minute going on"
        return Forecast(None, told, promise.blend, naive)
    present = measured(rate, high=MOST)
    known = 0.0 if isinstance(present, Unknown) else present
    told = f"the next {promise.minutes} min, with the day at {ratio:.0%} of its usual level"
    return Forecast(max(promise.quantile, known), told, promise.blend, naive)
