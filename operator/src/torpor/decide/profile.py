"""The arrival profile: how much a fleet is used at each time of the week.

Traffic of people repeats by the day and by the week, and a replica that takes minutes to start must be asked
for before the traffic is there. The profile keeps, for each five minutes of the local week, how much came:
the median of the minutes in it and their 90th percentile, because a mean says nothing about the minutes that
hurt. Five minutes follow the steep morning of an office (a ramp of half an hour is six slots) and hold five
samples; 2,016 slots of five bytes are 13 KiB of JSON, where minutes would take 67 and not fit.

The same table answers for "the same time last week" and "the same time yesterday": a slot is read together
with the slots of the six other days at that time, the nearer day the heavier, the own weekday the heavier the
more weeks it has seen: less than the other six together after one week, more after two. Their weighted median
is taken, so that one holiday or one outage moves it little. A visit of a slot moves it by a quarter (faster
in its first weeks): after four weeks a third is left of a habit that changed.

Time is the local wall clock: UTC plus the zone's offset at that moment, both given by the caller, so that
eight o'clock is the same slot in summer and in winter. A slot that nobody watched stays as it was, and one
that never was watched is unknown, not zero: the two bytes of a value could not tell it, the count of visits
does. Values are kept as logarithms in two bytes (0.05 % steps), exactly what JSON carries, so that writing
and reading the memory changes nothing.
"""

import base64
import binascii
import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from struct import Struct
from typing import NamedTuple

from torpor.decide.minutes import MINUTE, MOST, Minute
from torpor.decide.quick import quick

SLOT_MINUTES = 5
SLOTS_PER_DAY = 24 * 60 // SLOT_MINUTES
SLOTS = 7 * SLOTS_PER_DAY
HIGH = 0.9  # the upper quantile that a slot keeps
FORGET = 0.25  # share by which a visit moves a slot that is well known
ENOUGH_MINUTES = 3  # of the five in a slot, to call it seen
NEARER = 0.8  # weight of a day relative to the day after it
OWN_DAY = 8.0  # weight of the own weekday, once seen often; the six days before it have 3.7 together
VERSION = 1

_MONDAY = 3 * 24 * 60  # the epoch was a Thursday: minutes from the Monday before it
_CELL = Struct(">HHB")  # a slot: the codes of median and high, and its visits (0: never seen)
_DAYS = (OWN_DAY, *(NEARER**back for back in range(6)))  # weights of the own weekday and the six days before
_BACK = tuple(back * SLOTS_PER_DAY for back in range(len(_DAYS)))  # slots to the same time of those days
# value = unit × (e^(code × step) − 1): zero is exact, steps are 0.05 %, the largest is 1.7e11
_UNIT, _STEP = 0.001, 0.0005


class Usual(NamedTuple):
    """What is usual at a time: the median and the 90th percentile of a minute, in the caller's unit per
    second.
    """

    median: float
    high: float


@quick
@dataclass(frozen=True, slots=True)
class Profile:
    """The week, with the slot that is being filled. table: five bytes per slot, Monday 00:00 first. slot: the
    local slot number since the epoch's Monday, None before the first minute. samples: rates of its minutes.
    """

    table: bytes = bytes(SLOTS * _CELL.size)
    slot: int | None = None
    samples: tuple[float, ...] = ()

    def add(self, minute: Minute, offset: float) -> "Profile":
        """Return the profile with a minute that is over; offset: seconds by which local time is ahead of UTC
        at that minute. A slot enters the table when a minute of another slot arrives.
        """
        slot = _slot(minute.number, offset)
        rate = min(max(minute.rate, 0.0), MOST)
        if slot == self.slot:
            return Profile(self.table, slot, (*self.samples, rate)[-SLOT_MINUTES:])
        return Profile(self._committed(), slot, (rate,))

    def _committed(self) -> bytes:
        if self.slot is None or len(self.samples) < ENOUGH_MINUTES:
            return self.table
        index = self.slot % SLOTS
        *codes, visits = _CELL.unpack_from(self.table, index * _CELL.size)
        usual = Usual(_value(codes[0]), _value(codes[1]))
        share = max(1 / (visits + 1), FORGET)
        median, high = _of(self.samples, 0.5), _of(self.samples, HIGH)
        median = usual.median + share * (median - usual.median)
        high = max(median, usual.high + share * (high - usual.high))
        cell = _CELL.pack(_code(median), _code(high), min(visits + 1, 255))
        return self.table[: index * _CELL.size] + cell + self.table[(index + 1) * _CELL.size :]

    def at(self, slot: int) -> Usual | None:
        """Return what is usual in a local slot (counted from the epoch's Monday), from the same time of
        previous days and weeks; None where none of them was seen.
        """
        table, size = self.table, _CELL.size
        places = [(slot - back) % SLOTS * size for back in _BACK]
        return _usual(b"".join([table[place : place + size] for place in places]))

    def ahead(
        self, minute: int, minutes: int, offset: float, share: float
    ) -> tuple[float | None, float | None]:
        """Return what is usual in a minute (number in UTC; `offset` as in `add`), and the largest that is
        usual at the quantile `share` in the `minutes` (1 or more) after it, straight between the middles of
        slots; None for what is unknown. The second never falls as `minutes` or `share` grow.
        """
        now, first, last = (_place(minute + after, offset) for after in (0, 1, minutes))
        known = {slot: self.at(slot) for slot in range(math.floor(now), math.ceil(last) + 1)}
        knots = [first, *range(math.ceil(first), math.floor(last) + 1), last]
        high = {slot: usual and _spread(usual, share) for slot, usual in known.items()}
        values = [_between(high, place) for place in knots]
        peak = max([value for value in values if value is not None], default=None)
        around = (math.floor(now), math.ceil(now))
        middle = {slot: (usual := known[slot]) and _spread(usual, 0.5) for slot in around}
        return _between(middle, now), peak

    @property
    def seen(self) -> int:
        """How many of the week's slots are known."""
        return sum(1 for visits in self.table[_CELL.size - 1 :: _CELL.size] if visits)

    def dump(self) -> dict[str, object]:
        """Return the profile as JSON values, below 14 KiB. The slot that is being filled is left out: at most
        five minutes are lost by a restart, and they belong to a time that was not watched to its end.
        """
        if not self.seen:
            return {"v": VERSION}
        return {
            "v": VERSION,
            "slotMinutes": SLOT_MINUTES,
            "table": base64.b64encode(self.table).decode("ascii"),
        }

    @classmethod
    def load(cls, data: object) -> "Profile":
        """Return the profile that `dump` wrote. What is damaged, of another version or of another slot length
        is an empty profile: no forecast, which is the careful state.
        """
        if not isinstance(data, dict) or data.get("v") != VERSION or data.get("slotMinutes") != SLOT_MINUTES:
            return cls()
        text = data.get("table")
        try:
            table = base64.b64decode(text, validate=True) if isinstance(text, str) else b""
        except (binascii.Error, ValueError):
            return cls()
        return cls(table) if len(table) == SLOTS * _CELL.size else cls()


@functools.lru_cache(maxsize=8192)
def _usual(cells: bytes) -> Usual | None:
    """What is usual by the cells of a slot and of the six days before it. A slot is asked for at many looks
    before it passes, and its cells stand still meanwhile.
    """
    medians: list[tuple[int, float]] = []
    highs: list[tuple[int, float]] = []
    for back, (median, high, visits) in enumerate(_CELL.iter_unpack(cells)):
        if visits:
            told = _DAYS[back] * visits / (visits + 2) if back == 0 else _DAYS[back]
            medians.append((median, told))
            highs.append((high, told))
    if not medians:
        return None
    usual = _value(_middle(medians))
    return Usual(usual, max(usual, _value(_middle(highs))))


def _slot(minute: int, offset: float) -> int:
    return (minute + round(offset / MINUTE) + _MONDAY) // SLOT_MINUTES


def _place(minute: int, offset: float) -> float:
    """Where a minute lies, in slots; a whole number is the middle of that slot."""
    return (minute + round(offset / MINUTE) + _MONDAY - (SLOT_MINUTES - 1) / 2) / SLOT_MINUTES


def _between(known: Mapping[int, float | None], place: float) -> float | None:
    """The value at a place between two slots; where one of them is unknown, of the other."""
    low = math.floor(place)
    first, second = known[low], known[math.ceil(place)]
    if first is None:
        return second
    if second is None:
        return first
    return first + (place - low) * (second - first)


def _spread(usual: Usual, share: float) -> float:
    """The quantile `share` of a minute out of the two that are kept: the distance from the median grows with
    the log-odds of `share`, as in a logistic distribution, at most half as far again as the 90th percentile
    (five samples a visit know nothing beyond), and is never below the median.
    """
    return usual.median + _distance(share) * (usual.high - usual.median)


@functools.lru_cache(maxsize=16)
def _distance(share: float) -> float:
    odds = math.log(share / (1 - share)) / math.log(HIGH / (1 - HIGH)) if 0 < share < 1 else math.inf
    return min(max(odds, 0.0), 1.5)


def _of(samples: tuple[float, ...], share: float) -> float:
    """The quantile of a few samples, linear between them."""
    ordered = sorted(samples)
    place = share * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])


def _middle(weighted: list[tuple[int, float]]) -> float:
    """The weighted median of codes, straight between the middles of the weights: no jump where one grows."""
    weighted.sort()
    half, passed = sum(weight for _, weight in weighted) / 2, 0.0
    last_code, last_middle = weighted[0][0], 0.0
    for code, weight in weighted:
        middle = passed + weight / 2
        if middle >= half:
            return last_code + (code - last_code) * (half - last_middle) / (middle - last_middle)
        last_code, last_middle, passed = code, middle, passed + weight
    return float(last_code)


def _code(value: float) -> int:
    return min(round(math.log1p(value / _UNIT) / _STEP), 0xFFFF)


def _value(code: float) -> float:
    return _UNIT * math.expm1(code * _STEP)
