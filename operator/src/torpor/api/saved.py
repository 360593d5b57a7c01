"""What sleeping saves: GPU seconds, counted as a meter counts.

An account has totals up to a moment (`as_of`) and the numbers of GPUs that are added with every second after
it (`rates`). Nothing else is needed to know the totals at any later moment, so the metrics, the command line
and the next leader all read the same from the object, and the object has to be written only when a rate
changes. A rate holds from the whole second in which it was written down, and seconds are whole: totals are
integers, and where an interval is cut changes nothing.

Five numbers, in GPU seconds:

    used         ∫ U        U: GPUs of the pods that have a node, from there until they are gone
    always-on    ∫ M        M: maxReplicas × GPUs of a replica
    asleep       ∫ M·[no replica]
    saved.max    ∫ (M − U)⁺
    saved.peak   ∫ (P − U)⁺    P: the most replicas needed until then × GPUs of a replica

So used + saved.max is always-on, save while a rollout holds more than M; asleep is the part of saved.max that
comes from zero, the rest comes from scaling in. P never looks ahead: a peak that comes later does not change
what was saved before, because then a month's figure would jump with one busy minute. Every rate is at least
0, so no total ever falls, whatever happens to spec and pods.

The record is read here by plain rules instead of `status.SavedRecord`, because a command line that shows a
thousand fleets would wait longer for the models to load than for the fleets. What that model would refuse is
refused (tests/unit/api/test_saved_record.py compares the two).

Refused: undoing what was counted. A clock that is set back adds nothing until it has caught up, so that the
seconds that come twice count once; where it is more than an hour behind, it was wrong before, and the meter
goes on from what it says now. A time without an operator counts at the rates that were written last.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

LONGEST_AHEAD = 3600  # seconds; a record that is further in the future is another clock's error
MOST = 2**53  # GPU seconds: what JSON's numbers hold exactly, 285 million GPU years
HOUR = 3600
_COUNT = 2**31 - 1
_PRICE = re.compile(r"[0-9]+(\.[0-9]+)?")
_LONGEST_PRICE, _LONGEST_TIME = 32, 40


@dataclass(frozen=True, slots=True)
class Rates:
    """GPUs that count with every second. used: held by pods. max, peak: what always-on fleets of maxReplicas
    and of the most replicas needed so far would hold. asleep: `max` while there is no replica, else 0.
    """

    used: int = 0
    asleep: int = 0
    max: int = 0
    peak: int = 0


@dataclass(frozen=True, slots=True)
class Totals:
    """GPU seconds. saved_max, saved_peak: against always-on at maxReplicas and at the peak needed."""

    used: int = 0
    asleep: int = 0
    saved_max: int = 0
    saved_peak: int = 0

    def plus(self, rates: Rates, seconds: int) -> "Totals":
        """Return the totals after more seconds at constant rates."""
        return Totals(
            min(MOST, self.used + rates.used * seconds),
            min(MOST, self.asleep + rates.asleep * seconds),
            min(MOST, self.saved_max + max(0, rates.max - rates.used) * seconds),
            min(MOST, self.saved_peak + max(0, rates.peak - rates.used) * seconds),
        )


@dataclass(frozen=True, slots=True)
class Account:
    """One fleet's meter. since, as_of: Unix seconds, whole. peak_replicas: the most that were needed."""

    since: int
    as_of: int
    rates: Rates = field(default_factory=Rates)
    totals: Totals = field(default_factory=Totals)
    peak_replicas: int = 0

    @classmethod
    def opened(cls, now: float) -> "Account":
        """Begin at `now` (Unix seconds) with nothing."""
        return cls(math.floor(now), math.floor(now))

    def at(self, now: float) -> Totals:
        """Return the totals at `now` (Unix seconds), the running interval included; those of `as_of` where
        that is later.
        """
        return self.totals.plus(self.rates, max(0, math.floor(now) - self.as_of))

    def changed(self, rates: Rates, peak_replicas: int, now: float) -> "Account":
        """Return the account with other rates from `now` (Unix seconds) on; itself where nothing is new."""
        if rates == self.rates and peak_replicas == self.peak_replicas:
            return self
        as_of = math.floor(now)
        if as_of < self.as_of <= as_of + LONGEST_AHEAD:
            as_of = self.as_of
        return replace(
            self, as_of=as_of, rates=rates, totals=self.at(now), peak_replicas=max(0, peak_replicas)
        )


@dataclass(frozen=True, slots=True)
class Saved:
    """What `saved` tells. since: when the totals began. price: of a GPU hour, in whatever currency the
    installation gives prices; None where it gives none. rates: GPUs now.
    """

    since: datetime
    totals: Totals
    rates: Rates
    price: float | None

    @property
    def share(self) -> float | None:
        """The part of always-on at maxReplicas that was not used, 0 to 1; None before the first second."""
        whole = self.totals.used + self.totals.saved_max
        return self.totals.saved_max / whole if whole else None

    def money(self, gpu_seconds: int) -> float | None:
        """What so many GPU seconds cost at the present price; None without one."""
        return None if self.price is None else self.price * gpu_seconds / HOUR


def saved(status: Mapping[str, object], now: float) -> Saved | None:
    """Return what a fleet's status (as the API server gives it) amounts to at `now`, Unix seconds: its totals
    and the interval that runs since. None where the fleet has no account (it books no GPU, or no operator has
    looked at it yet), or one that cannot be read.
    """
    try:
        record = _section(status, "saved")
        account = _account(record)
        price = _price(record)
        return Saved(datetime.fromisoformat(str(record["since"])), account.at(now), account.rates, price)
    except _UnreadableError:
        return None


def account_of(status: Mapping[str, object]) -> Account | None:
    """Return the account that a status holds; None where it holds none that can be read."""
    try:
        record = _section(status, "saved")
        _price(record)  # a record is believed whole or not at all
        return _account(record)
    except _UnreadableError:
        return None


class _UnreadableError(Exception):
    """The record is none, or not one that the operator writes."""


def _account(record: Mapping[str, object]) -> Account:
    gpus, spared = _section(record, "gpus"), _section(record, "gpuSecondsSaved")
    rates = Rates(*(_whole(gpus, name, _COUNT) for name in ("used", "asleep", "max", "peak")))
    used, asleep = (_whole(record, name, MOST) for name in ("gpuSecondsUsed", "gpuSecondsAsleep"))
    totals = Totals(used, asleep, *(_whole(spared, name, MOST) for name in ("max", "peak")))
    peak_replicas = _whole(record, "peakReplicas", _COUNT)
    return Account(_unix(record.get("since")), _unix(record.get("asOf")), rates, totals, peak_replicas)


def _section(whole: Mapping[str, object], name: str) -> Mapping[str, object]:
    found = whole.get(name)
    if not isinstance(found, Mapping):
        raise _UnreadableError
    return found


def _whole(section: Mapping[str, object], name: str, most: int) -> int:
    found = section.get(name)
    if not isinstance(found, int) or isinstance(found, bool) or not 0 <= found <= most:
        raise _UnreadableError
    return found


def _price(record: Mapping[str, object]) -> float | None:
    found = record.get("pricePerGpuHour")
    if found is None:
        return None
    if not isinstance(found, str) or len(found) > _LONGEST_PRICE or not _PRICE.fullmatch(found):
        raise _UnreadableError
    return float(found)


def _unix(told: object) -> int:
    if not isinstance(told, str) or len(told) > _LONGEST_TIME:
        raise _UnreadableError
    try:
        found = datetime.fromisoformat(told)
    except ValueError:
        raise _UnreadableError from None
    if found.tzinfo is None:
        raise _UnreadableError
    return math.floor(found.timestamp())
