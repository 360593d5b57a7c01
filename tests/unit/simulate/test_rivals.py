"""The rivals' rules on situations worked by hand: the arithmetic stands beside each number."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torpor.decide.hardware import Hardware
from torpor.simulate.fleet import Simulation
from torpor.simulate.rivals import RIVALS, Place, RivalError, aibrix, dynamo, make, parse, slo_law, wva
from torpor.simulate.rivals.base import Rates, Window
from torpor.simulate.rivals.hpa import Behaviour, Limit, average_value, pods_metric

from tests.unit.simulate.test_fleet import setup, trace

# a = 10 ms, so that at an ITL of 50 ms the work may take 80 % of the time.
H = Hardware("round", 10.0, 0.1, 1e-5, 0.05, 100_000, 256, 2048)
PLACE = Place(max_replicas=50, ttft_ms=2000.0, itl_ms=50.0, replica=H, prompt=1000.0, output=100.0, peak=7)


@dataclass
class Seen:
    """A look, by hand. pods: (running, waiting, kv) of each ready one."""

    now: float
    replicas: int
    pods: list[tuple[float, float, float]] = field(default_factory=list)
    starting: int = 0
    waiting: int = 0
    arrivals: int = 0
    prompt_tokens: int = 0
    output_tokens: int = 0
    report_age: float = 0.0
    hidden: bool = False
    decode: list[tuple[float, float]] | None = None  # (tokens, decode_seconds) of each

    @property
    def ready(self) -> int:
        return len(self.pods)

    @property
    def in_flight(self) -> int:
        return int(sum(running + waiting for running, waiting, _ in self.pods))

    @property
    def rows(self) -> list[list[float]]:
        unknown = math.nan
        found = []
        for slot, (running, waiting, kv) in enumerate(self.pods):
            tokens, seconds = self.decode[slot] if self.decode else (0.0, 0.0)
            gauges = [running, waiting, kv, tokens, 0.0, seconds, 0.0]
            found.append([2.0, 0.0, *([unknown] * 7 if self.hidden else gauges), float(slot)])
        return found + [[1.0, self.now, 0, 0, 0, 0, 0, 0, 0, 90.0 + slot] for slot in range(self.starting)]


def first(name: str, until: float, *, after: float = 0.0, **values) -> tuple[float, int] | None:
    """When it first changes its mind on a fleet that stays as it is, and to what. What it says before
    `after`, while it has seen no rate yet, does not count.
    """
    rival = make(name, PLACE)
    asked = values["replicas"]
    pods = values.pop("pods", [(0.0, 0.0, 0.0)] * asked)
    grows = values.pop("grows", {})
    values = {key: value for key, value in values.items() if key != "replicas"}
    now = 0.0
    while now <= until + 1e-9:
        counters = {name: int(rate * now) for name, rate in grows.items()}
        wished = rival.look(Seen(now, asked, pods, **values, **counters))
        if wished != asked and now >= after:
            return now, wished
        now += rival.period
    return None


# ------------------------------------------------------------------ what a rival is given


def test_what_one_replica_carries_is_the_closed_form() -> None:
    # W = 0.05*1000 + 100*(0.1 + 1e-5*1050) = 61.05 ms; rate = 0.8/61.05 per ms.
    assert PLACE.rate == pytest.approx(800 / 61.05)
    # B = rate * O * t = 0.0131040 * 100 * 50 = 65.52 sequences.
    assert PLACE.concurrency == pytest.approx(0.8 / 61.05 * 100 * 50)
    few = Hardware("few", 10.0, 0.1, 1e-5, 0.05, 100_000, 32, 2048)
    # B <= 32: rate = 32/(O*a + 32*W) = 32/(1000 + 1953.6) per ms.
    assert Place(9, 2000.0, 50.0, few, 1000.0, 100.0).rate == pytest.approx(32_000 / 2953.6)
    small = Hardware("small", 10.0, 0.1, 1e-5, 0.05, 20_000, 256, 2048)
    # KV <= 20000: rate = 20000/(O*(I+O/2)*a + 20000*W) = 20000/(1050000 + 1221000) per ms.
    assert Place(9, 2000.0, 50.0, small, 1000.0, 100.0).rate == pytest.approx(20_000_000 / 2_271_000)


def test_windows_forget_and_rates_need_two_readings() -> None:
    window = Window(60.0)
    assert window.mean is None
    for now, value in ((0, 10.0), (30, 20.0), (60, 30.0)):
        window.add(now, value)
    assert window.mean == 25.0  # the sample of second 0 is 60 s old
    rates = Rates(60.0)
    rates.add(0.0, 100)
    assert (rates.rate, rates.growth) == (0.0, 0)
    for now in (30, 60, 90):
        rates.add(now, 100 + now)
    assert rates.growth == 60
    assert rates.rate == 1.0


# ------------------------------------------------------------------ HPA


@pytest.mark.parametrize(
    ("values", "missing", "target", "current", "asked"),
    [
        ([5.0, 5.5], 0, 5.0, 2, 2),  # r = 1.05, within the tolerance
        ([10.0, 12.0], 0, 5.0, 2, 5),  # ceil(2.2 * 2)
        ([1.0, 1.0, 1.0, 1.0], 0, 5.0, 4, 1),  # ceil(0.2 * 4)
        ([10.0, 10.0], 2, 5.0, 4, 4),  # up: the two missing count 0, mean 5: within the tolerance
        ([20.0, 20.0], 2, 5.0, 4, 8),  # mean 10, r = 2, ceil(2 * 4)
        ([1.0, 1.0], 2, 5.0, 4, 3),  # down: missing count 5, mean 3, ceil(0.6 * 4)
        ([0.9], 0, 0.8, 1, 2),  # r = 1.125
        ([], 3, 5.0, 3, 3),  # nobody reports
        ([6.0], 9, 5.0, 10, 10),  # r = 1.2, with the missing 0.12: the direction turns
    ],
)
def test_hpa_pods_metric(values, missing, target, current, asked) -> None:
    assert pods_metric(values, missing, target, current) == asked


def test_hpa_average_value_ignores_a_tenth() -> None:
    assert average_value(11.0, 1.0, 10) == 10  # 10 % off: the edge keeps
    assert average_value(12.0, 1.0, 10) == 12
    assert average_value(21.0, 1.0, 20) == 20
    assert average_value(0.0, 5.0, 3) == 0


def test_hpa_behaviour_limits_growth_and_waits_to_shrink() -> None:
    behaviour = Behaviour()
    assert behaviour.apply(0.0, 1, 30) == 5  # max(1 + 4, 2 * 1)
    assert behaviour.apply(5.0, 5, 30) == 5  # the same 15 s
    assert behaviour.apply(15.0, 5, 30) == 10
    assert behaviour.apply(30.0, 10, 10) == 10
    assert behaviour.apply(45.0, 10, 2) == 10
    assert behaviour.apply(315.0, 10, 2) == 10  # the 30 of second 15 is 300 s old
    assert behaviour.apply(331.0, 10, 2) == 2
    slow = Behaviour(30.0, 180.0, Limit(4, 100.0, 60.0), Limit(1, 0.0, 120.0))
    assert slow.apply(0.0, 2, 9) == 2  # the 2 that were there count for 30 s
    assert slow.apply(30.0, 2, 9) == 6  # max(2 + 4, 2 * 2)
    other = Behaviour(30.0, 180.0, Limit(4, 100.0, 60.0), Limit(1, 0.0, 120.0))
    assert [other.apply(15.0 * k, 6, 6 if k == 0 else 1) for k in range(12)] == [6] * 12
    assert other.apply(180.0, 6, 1) == 5
    assert other.apply(195.0, 5, 1) == 5  # one in 120 s
    assert other.apply(300.0, 5, 1) == 4


def test_hpa_reads_a_scrape_of_half_a_period_ago_and_keeps_without_reports() -> None:
    busy = [(200.0, 20.0, 0.9)] * 2
    assert first("hpa-queue", 60, replicas=2, pods=busy) == (15.0, 6)  # ceil(20/5 * 2) = 8, at most 2 + 4
    assert first("hpa-kv:target=0.45", 60, replicas=2, pods=busy) == (15.0, 4)  # ceil(2 * 2)
    assert first("hpa-kv", 60, replicas=2, pods=busy) == (15.0, 3)  # 1.125: ceil(2.25)
    for name in ("hpa-queue", "hpa-kv"):
        assert first(name, 900, replicas=2, pods=busy, hidden=True) is None
        assert first(name, 900, replicas=2, pods=busy, report_age=301.0) is None
        assert first(name, 60, replicas=2, pods=busy, report_age=299.0) is not None
        assert first(name, 60, replicas=0, pods=[], waiting=5) == (0.0, 1)  # it cannot stay at zero
    # The gateway's line is shared out: (2 + 8/2) / 5 = 1.2, ceil(2.4).
    assert first("hpa-queue", 60, replicas=2, pods=[(9.0, 2.0, 0.1)] * 2, waiting=8) == (15.0, 3)
    # Down only when the 3 of second 0 are 300 s old.
    assert first("hpa-queue", 900, replicas=3, pods=[(9.0, 1.0, 0.1)] * 3) == (300.0, 1)


# ------------------------------------------------------------------ KEDA


def test_keda_goes_to_zero_and_back_one_at_a_time() -> None:
    assert first("keda", 900, replicas=1) == (0.0, 0)  # never active: at once
    served = make("keda", PLACE)
    served.look(Seen(0.0, 1, [(1.0, 0.0, 0.1)]))
    served.look(Seen(7.5, 1, [(1.0, 0.0, 0.1)], arrivals=1))
    asked = [served.look(Seen(7.5 * k, 1, [(0.0, 0.0, 0.0)], arrivals=1)) for k in range(2, 60)]
    # The request of 7.5 s is in the last minute until 60; 300 s later is 360, the poll after that 390.
    assert 7.5 * (asked.index(0) + 2) == 390.0
    assert first("keda", 900, replicas=0, pods=[], waiting=40) == (0.0, 1)  # one, never more
    rival = make("keda", PLACE)
    polled = [rival.look(Seen(7.5 * k, 0, waiting=min(k, 1))) for k in range(5)]
    assert polled == [0, 0, 0, 0, 1]  # the poll of 30 s
    busy = {"replicas": 2, "pods": [(9.0, 20.0, 0.1)] * 2, "grows": {"arrivals": 3}}
    assert first("keda", 60, after=1.0, **busy) == (15.0, 6)  # ceil(40/5) = 8, at most 2 + 4


def test_keda_reads_missing_metrics_as_nothing_unless_told() -> None:
    blind = {"replicas": 4, "pods": [(200.0, 20.0, 0.9)] * 4, "hidden": True, "grows": {"arrivals": 3}}
    # 0 of the queue, 1 for the requests that come: one, 300 s after the HPA began (at 15).
    assert first("keda", 900, after=1.0, **blind) == (315.0, 1)
    # With a fallback of 6: three errors (0, 15, 30 s), then 6.
    assert first("keda:fallback=6", 900, **blind) == (30.0, 6)


# ------------------------------------------------------------------ Knative


def test_knative_wakes_at_once_panics_and_goes_after_a_minute_and_a_half() -> None:
    rival = make("knative", PLACE)
    assert rival.look(Seen(0.0, 0)) == 0
    assert rival.look(Seen(0.7, 0, waiting=1)) == 1
    # 300 at once on one pod: the short mean of 6 s asks for ceil(225/70) = 4 after three of four samples.
    steady = make("knative", PLACE)
    asked = [steady.look(Seen(2.0 * k, 1, [(300.0 if k else 0.0, 0.0, 0.0)])) for k in range(3)]
    assert asked == [1, 3, 3]  # 150/70, 200/70 of the means so far: twice the ready pods, panic
    assert first("knative", 300, replicas=1) == (30.0, 0)  # silent from the start: the grace alone
    quiet = make("knative", PLACE)
    quiet.look(Seen(0.0, 1, [(7.0, 0.0, 0.0)]))
    last = [quiet.look(Seen(2.0 * k, 1, [(0.0, 0.0, 0.0)])) for k in range(1, 60)]
    assert last.index(0) + 1 == 45  # 60 s until the mean is 0, 30 s of grace
    # 280 requests over 5 ready pods: ceil(280/70) = 4, not below floor(5/2).
    assert first("knative", 10, replicas=5, pods=[(56.0, 0.0, 0.0)] * 5) == (0.0, 4)
    assert first("knative", 10, replicas=9, pods=[(1.0, 0.0, 0.0)] * 9) == (0.0, 4)  # floor(9/2), not 1


def test_knative_does_not_shrink_while_it_panics() -> None:
    rival = make("knative", PLACE)
    asked = rival.look(Seen(0.0, 1, [(300.0, 0.0, 0.0)]))
    assert asked == 5  # ceil(300/70)
    later = [rival.look(Seen(2.0 * k, 5, [(0.0, 0.0, 0.0)] * 5)) for k in range(1, 40)]
    # 300 over k+1 samples stays above twice the pods never again: panic ends 60 s after the last time.
    assert later[:29] == [5] * 29
    assert later[-1] < 5


# ------------------------------------------------------------------ in-flight rules


def test_kubeai_is_a_mean_of_ten_minutes_from_zero() -> None:
    # 400 active: after k decisions the mean is 400*k/60; above 100 with the 16th (106.7), at 150 s.
    assert first("kubeai", 900, replicas=1, pods=[(400.0, 0.0, 0.0)]) == (150.0, 2)
    assert first("kubeai", 900, replicas=0, pods=[], waiting=0) is None
    rival = make("kubeai", PLACE)
    assert rival.look(Seen(0.0, 0)) == 0
    assert rival.look(Seen(3.0, 0, waiting=1)) == 1
    assert first("kubeai", 900, replicas=3, pods=[(10.0, 0.0, 0.0)] * 3) == (20.0, 1)  # the third decision


def test_ray_serve_follows_what_lasts() -> None:
    # 9 ongoing over 2 is 5: from the decision at 0 on, 30 s later.
    assert first("ray-serve", 900, replicas=2, pods=[(4.0, 0.0, 0.0), (5.0, 0.0, 0.0)]) == (30.0, 5)
    assert first("ray-serve", 900, replicas=5, pods=[(1.0, 0.0, 0.0)] * 5) == (600.0, 3)  # ceil(5/2)
    assert first("ray-serve", 900, replicas=5) == (600.0, 1)  # to zero only from one
    assert first("ray-serve", 900, replicas=1) == (600.0, 0)
    rival = make("ray-serve", PLACE)
    assert rival.look(Seen(0.0, 0)) == 0
    assert rival.look(Seen(4.0, 0, waiting=5)) == 3  # ceil(5/2) at once


def test_skyserve_divides_the_rate_by_what_its_owner_knows() -> None:
    # 6 requests a second over 2: 3. Decisions every 20 s; 15 in a row are 300 s. The first minute counts
    # what it has seen: 120 of them at 20 s are 2/s (1), at 40 s 4/s (2), 60 s and later 6/s (3).
    grows = {"arrivals": 6.0}
    assert first("skyserve:target=2", 1500, replicas=2, grows=grows) == (60.0 + 14 * 20.0, 3)
    assert first("skyserve:target=2", 2000, replicas=5, grows=grows) == (59 * 20.0, 3)  # 1200 s: 60 in a row
    assert make("skyserve", PLACE).p["target"] == pytest.approx(0.8 * PLACE.rate)
    assert first("skyserve:target=2", 60, replicas=0, pods=[], grows=grows) == (5.0, 1)  # 30/60/2, at once


# ------------------------------------------------------------------ llm-d


LIMITS = {"kv": 0.8, "queue": 5.0, "kv_spare": 0.1, "queue_spare": 3.0}


@pytest.mark.parametrize(
    ("peaks", "change"),
    [
        ([(0.75, 0.0), (0.75, 0.0)], 1),  # spare cache 0.05
        ([(0.3, 2.5), (0.3, 2.5)], 1),  # spare queue 2.5
        ([(0.9, 9.0)], 1),  # all saturated
        ([(0.4, 0.0), (0.4, 0.0)], 0),  # over one less: 0.8 - 0.8 = 0
        ([(0.3, 0.0), (0.3, 0.0)], -1),  # 0.8 - 0.6 = 0.2
        ([(0.3, 0.0)], 0),  # the last one stays
        ([(0.6, 1.5), (0.6, 1.5), (0.6, 1.5)], 0),  # 0.8 - 0.9 < 0.1
    ],
)
def test_wva_saturation_moves_by_one(peaks, change) -> None:
    assert wva.saturation(peaks, len(peaks), LIMITS) - len(peaks) == change


def test_wva_waits_for_its_hpa_and_for_pending_replicas() -> None:
    full = [(200.0, 0.0, 0.79)] * 2
    # Scrape at 7.5, the loop at 30 asks for 3, the HPA's window holds the 2 of second 15 for 240 s.
    assert first("wva", 900, replicas=2, pods=full) == (255.0, 3)
    assert first("wva:hpa=0", 900, replicas=2, pods=full) == (30.0, 3)
    rival = make("wva:hpa=0", PLACE)
    asked = 2
    for step in range(100):
        asked = rival.look(Seen(7.5 * step, asked, full, starting=asked - 2))
    assert asked == 3  # one per cold start, however long
    assert first("wva", 900, replicas=1, pods=[(0.0, 0.0, 0.0)]) == (600.0, 0)
    assert make("wva", PLACE).look(Seen(0.0, 0)) == 0
    sleeping = make("wva", PLACE)
    sleeping.look(Seen(0.0, 0))
    assert sleeping.look(Seen(1.0, 0, waiting=9)) == 1
    assert first("wva:hpa=0", 900, replicas=2, pods=full, hidden=True) is None


def test_wva_balance_and_fit() -> None:
    assert wva.balance(100.0, 10.0, 8, 0.85, 0.70) == 4  # 117.6 - 80 = 37.6
    assert wva.balance(100.0, 10.0, 13, 0.85, 0.70) == 0  # 117.6 < 130 < 142.9
    assert wva.balance(100.0, 10.0, 17, 0.85, 0.70) == -2  # 170 - 142.9 = 27.1
    fit = wva.ItlFit()
    for place in range(10):
        fit.add(15.0 * place, 0.2 + 0.05 * place, 10 + 50 * (0.2 + 0.05 * place))
    assert fit.at(0.8) == pytest.approx(50.0)
    fit.reset()
    fit.add(500.0, 0.1, 14.0)  # outside the window's range; tier 2 through the base of 10
    assert fit.at(0.8) == pytest.approx(10 + 40 * 0.8)
    assert wva.ItlFit().at(0.8) == 6.0


def test_wva_throughput_asks_for_the_tokens_that_arrive() -> None:
    # ITL 14 ms at a cache share of 0.1 through 6 ms: A = 80, ITL(0.8) = 70 ms. N = 0.8*100000/1050 = 76.2:
    # 1088 tokens/s each. 20/s of 100 tokens / 0.85 = 2353: 1265 beyond one, two more.
    rival = make("wva-throughput:hpa=0", PLACE)
    asked = 1
    for step in range(13):
        now = 7.5 * step
        tokens = 2000 * now
        seen = Seen(
            now,
            1,
            [(28.0, 0.0, 0.1)],
            arrivals=int(20 * now),
            prompt_tokens=int(20_000 * now),
            output_tokens=int(tokens),
            decode=[(tokens, tokens * 0.014)],
        )
        asked = rival.look(seen)
    assert asked == 3


def test_llmd_law() -> None:
    assert slo_law.law(1.1, 4, 4, 0.55, 0.40) == 8  # 4 + ceil(4 * (2 - 1))
    assert slo_law.law(0.56, 4, 4, 0.55, 0.40) == 5
    assert slo_law.law(1.1, 4, 2, 0.55, 0.40) == 4  # two on their way are credited: D = 0.55
    assert slo_law.law(0.2, 4, 4, 0.55, 0.40) == 2  # 4 - floor(4 * 0.5)
    assert slo_law.law(0.39, 4, 4, 0.55, 0.40) == 4
    assert slo_law.law(0.0, 3, 3, 0.55, 0.40) == 1


def test_llmd_predicts_with_the_step_and_reads_silence_as_idle() -> None:
    # 100 running, cache empty, 12 requests/s of 1000 tokens: t = (10 + 0.1*100)/(1 - 0.05*12) = 50 ms, s = 1:
    # 4 + ceil(4 * (1/0.55 - 1)) = 8, the HPA's window of 30 s and 60 s of the law later.
    load = {"arrivals": 48.0, "prompt_tokens": 48_000.0}
    found = first("llmd-slo", 600, replicas=4, pods=[(100.0, 0.0, 0.0)] * 4, grows=load)
    assert found is not None
    assert found[1] == 8
    # No traffic: 0, so one per 120 s after 180 s.
    found = first("llmd-slo", 600, replicas=4, pods=[(0.0, 0.0, 0.0)] * 4)
    assert found is not None
    assert found[1] == 3
    assert 180 <= found[0] <= 240
    assert first("llmd-slo", 600, replicas=4, pods=[(100.0, 0.0, 0.0)] * 4, hidden=True, grows=load) == (
        found[0],
        3,
    )


# ------------------------------------------------------------------ Dynamo, AIBrix, static


def test_dynamo_load_moves_by_one_and_waits_while_replicas_start() -> None:
    load = {"arrivals": 1.0, "prompt_tokens": 1000.0}
    # 0.9 of the cache and 20 requests of 1000 tokens over 100,000: 1.1.
    full = [(50.0, 20.0, 0.9), (0.0, 0.0, 0.1)]
    assert first("dynamo-load", 60, replicas=2, pods=full, grows=load) == (5.0, 3)
    assert first("dynamo-load", 60, replicas=3, pods=full, starting=1, grows=load) is None
    assert first("dynamo-load", 60, replicas=2, pods=[(5.0, 0.0, 0.59)] * 2, grows=load) == (0.0, 1)
    assert first("dynamo-load", 60, replicas=2, pods=[(5.0, 0.0, 0.7)] * 2, grows=load) is None
    assert first("dynamo-load", 60, replicas=2, pods=[(5.0, 0.0, 0.1)] * 2, hidden=True, grows=load) is None
    assert first("dynamo-load", 60, replicas=1, grows=load) is None


def test_dynamo_load_by_objective_asks_for_all_and_for_one_less() -> None:
    load = {"arrivals": 26.0, "prompt_tokens": 26_000.0}
    # 13/s each: t = (10 + 0.1*100)/(1 - 0.65) = 57 ms > 50, of both; one alone is not enough.
    assert first("dynamo-load:sla=1", 60, after=1, replicas=2, pods=[(100.0, 0.0, 0.0)] * 2, grows=load) == (
        5.0,
        3,
    )
    uneven = [(100.0, 0.0, 0.0), (20.0, 0.0, 0.0)]
    assert first("dynamo-load:sla=1", 60, after=1, replicas=2, pods=uneven, grows=load) is None
    # 4/s each, 20 running: on one t = (10 + 4)/(1 - 0.4) = 23 ms < 40.
    light = {"arrivals": 8.0, "prompt_tokens": 8000.0}
    light_fleet = {"replicas": 2, "pods": [(20.0, 0.0, 0.0)] * 2, "grows": light}
    assert first("dynamo-load:sla=1", 60, after=1, **light_fleet) == (5.0, 1)


def test_dynamo_throughput_divides_by_the_profile_and_sleeps_through_silence() -> None:
    grows = {"arrivals": 40.0, "prompt_tokens": 40_000.0, "output_tokens": 4000.0}
    # 40/s of (1000, 100) over 13.104: ceil(3.05) = 4, at the end of 180 s.
    assert first("dynamo-throughput", 600, replicas=1, grows=grows) == (180.0, 4)
    assert first("dynamo-throughput:share=0.5", 600, replicas=1, grows=grows) == (180.0, 7)
    assert first("dynamo-throughput", 3600, replicas=6) is None  # a night keeps what the evening had
    assert dynamo.arima([1.0, 2.0]) == 2.0
    # Steps 1, 2, 4, 8: slope (2 + 8 + 32)/(1 + 4 + 16) = 2, cut to 0.99.
    assert dynamo.arima([0.0, 1.0, 3.0, 7.0, 15.0]) == pytest.approx(15 + 0.99 * 8)
    # Steps 4, -2, 1, -0.5: slope -0.5, so 0.25 more.
    assert dynamo.arima([0.0, 4.0, 2.0, 3.0, 2.5]) == pytest.approx(2.75)
    kalman = dynamo.Kalman()
    for value in range(200):
        said = kalman.next(10.0 * value)
    assert said == pytest.approx(2000.0, rel=0.01)


def test_aibrix_steps_and_takes_the_smallest_wish_on_the_way_down() -> None:
    assert aibrix.step(1.05, 4) == 4
    assert aibrix.step(1.3, 4) == 6  # ceil(5.2)
    assert aibrix.step(9.0, 4) == 8
    assert aibrix.step(0.8, 4) == 4  # ceil(3.2)
    assert aibrix.step(0.1, 4) == 2
    assert first("aibrix-apa", 60, replicas=2, pods=[(9.0, 0.0, 0.65)] * 2) == (0.0, 3)
    assert first("aibrix-apa", 60, replicas=4, pods=[(9.0, 0.0, 0.1)] * 4) == (0.0, 2)
    assert first("aibrix-apa", 60, replicas=4, pods=[(9.0, 0.0, 0.1)] * 4, hidden=True) is None
    rival = make("aibrix-apa", PLACE)
    assert rival.look(Seen(0.0, 4, [(9.0, 0.0, 0.1)] * 4)) == 2
    # A mean over the window that asks for 3 of 4 now: 300 s remember the wish for 2.
    assert rival.look(Seen(100.0, 4, [(9.0, 0.0, 0.6)] * 4)) == 2


def test_static_peak_is_the_peak() -> None:
    assert first("static-peak", 60, replicas=0, pods=[]) == (0.0, 7)
    assert first("static-peak:factor=0.5", 60, replicas=0, pods=[]) == (0.0, 4)


# ------------------------------------------------------------------ all of them


@pytest.mark.parametrize("name", RIVALS)
def test_every_rival_names_its_source_and_a_grid_of_at_most_eight(name: str) -> None:
    rival = RIVALS[name]
    assert rival.source
    grid = rival.grid(PLACE)
    assert 1 <= len(grid) <= 8
    for given_values in grid:
        text = f"{name}:" + ",".join(f"{key}={value}" for key, value in given_values.items())
        assert parse(text) == (name, given_values)
        assert make(text, PLACE).p == {**make(name, PLACE).p, **given_values}


@pytest.mark.parametrize("name", RIVALS)
def test_every_rival_serves_a_trace_and_does_the_same_twice(name: str) -> None:
    rows = [(second * 0.7, 200, 40) for second in range(900)]

    def once() -> list[tuple[float, int]]:
        rival = make(name, PLACE)
        return Simulation(trace(*rows), setup(look=rival.period, seed=4), rival).run().steps

    steps = once()
    assert steps == once()
    assert steps
    assert all(0 <= count <= PLACE.max_replicas for _, count in steps)


@pytest.mark.parametrize("name", RIVALS)
@given(
    looks=st.lists(
        st.tuples(
            st.integers(0, 6), st.integers(0, 3), st.integers(0, 5000), st.floats(0, 1), st.booleans(),
            st.floats(0, 400),
        ),
        min_size=1,
        max_size=40,
    )
)  # fmt: skip
@settings(max_examples=15, deadline=None)
def test_no_rival_asks_for_what_cannot_be(name: str, looks) -> None:
    rival = make(name, PLACE)
    asked = 0
    for place, (ready, starting, load, kv, hidden, age) in enumerate(looks):
        seen = Seen(
            rival.period * place,
            asked,
            [(float(load), load / 3, kv)] * ready,
            starting=starting,
            waiting=load if not ready else 0,
            arrivals=load * place,
            prompt_tokens=100 * load * place,
            output_tokens=10 * load * place,
            hidden=hidden,
            report_age=age,
        )
        asked = rival.look(seen)
        assert type(asked) is int
        assert rival.floor <= asked <= PLACE.max_replicas


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("magic", "unknown; choose one of torpor, static:N, hpa-queue"),
        ("", "unknown"),
        ("keda:", None),
        ("keda:target", "'target' is no parameter"),
        ("keda:colour=3", "'colour' is no parameter; write keda:KEY=VALUE,... with target, poll"),
        ("keda:target=x", "target=x: must be a number above 0"),
        ("keda:target=0", "target=0: must be a number above 0"),
        ("keda:target=nan", "must be a number"),
        ("keda:target=-1", "must be a number"),
        ("keda:target=1e99", "must be a number"),
        ("keda:down=0", None),
        ("keda:down=-1", "must be a number from 0"),
    ],
)
def test_what_is_no_rival_is_refused_in_one_line(text: str, said: str | None) -> None:
    if said is None:
        parse(text)
        return
    with pytest.raises(RivalError) as caught:
        parse(text)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
