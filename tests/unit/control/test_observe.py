"""What reaches `decide` of the numbers that launchers and gateways tell: fresh and dated, or not at all."""

from datetime import UTC, datetime
from itertools import pairwise

import pytest
from torpor.api import constants as c
from torpor.api import zones
from torpor.cluster.gateway_view import GatewayView, merge
from torpor.cluster.ledger import Ledger
from torpor.control.observe import observe
from torpor.decide import Unknown
from torpor.decide.observation import Tally
from torpor.decide.samples import Sample, between

from tests.unit.control.worlds import KEY, NOW, UID, demand, fleet, pod, report, world

COUNTED = {
    "bootId": "launcher-1",
    "maxNumSeqs": 256,
    "kvCapacityTokens": 100_000,
    "promptTokensTotal": 5000,
    "generationTokensTotal": 2000,
    "cachedPromptTokensTotal": 640,
    "prefixHitsTotal": 900,
    "interTokenCount": 1900,
    "interTokenSeconds": 38.0,
    "firstTokensTotal": 100,
}


def seen(told, **more):
    return observe(
        world(replicas=1, pods=[pod("a", ready=True)], seen=demand(pods={"a": told}), **more), rollout=False
    )


def counters(told):
    return seen(told).engines[0].counters


def test_an_engines_counters_and_its_cache_in_tokens():
    found = counters(report(running=3, waitingCapacity=2, kvUtilization=0.25, **COUNTED))
    assert (found.replica, found.boot) == ("a", "launcher-1")
    assert (found.running, found.waiting, found.kv_tokens) == (3, 2, 25_000)
    assert (found.prompts, found.generated, found.cached) == (5000, 2000, 640)
    assert (found.gaps, found.gap_seconds) == (1900, 38.0)


def test_hits_of_the_prefix_cache_stand_in_where_cached_tokens_are_not_counted():
    assert counters(report(**COUNTED | {"cachedPromptTokensTotal": None})).cached == 900
    neither = COUNTED | {"cachedPromptTokensTotal": None, "prefixHitsTotal": None}
    assert isinstance(counters(report(**neither)).cached, Unknown)


def test_outputs_of_several_tokens_are_as_many_gaps():
    """Speculative decoding: 1900 tokens after the first ones came in 760 outputs, 50 ms apart."""
    found = counters(report(**COUNTED | {"interTokenCount": 760}))
    assert found.gaps == 1900
    assert counters(report(**COUNTED | {"interTokenCount": 760, "firstTokensTotal": None})).gaps == 760
    assert isinstance(counters(report(**COUNTED | {"interTokenCount": None})).gaps, Unknown)


@pytest.mark.parametrize("missing", ["kvUtilization", "kvCapacityTokens"])
def test_a_cache_of_unknown_size_or_use_is_unknown_in_tokens(missing):
    assert isinstance(counters(report(**COUNTED | {missing: None})).kv_tokens, Unknown)


@pytest.mark.parametrize(
    "stale",
    [
        report(age=c.STATS_FRESH_SECONDS + 1, **COUNTED),
        report(**COUNTED | {"metricsAgeSeconds": c.STATS_FRESH_SECONDS + 1}),
        report(**COUNTED | {"bootId": None}),
        report(**COUNTED | {"bootId": ""}),
        report(**COUNTED | {"generationTokensTotal": None, "promptTokensTotal": None}),
    ],
)
def test_what_is_stale_or_of_nobody_is_not_passed_on(stale):
    engine = seen(stale).engines[0]
    assert engine.counters is None
    assert engine.max_num_seqs == 256


def test_a_pod_without_a_report_has_no_counters():
    looked = observe(world(replicas=1, pods=[pod("a")]), rollout=False)
    assert looked.engines[0].counters is None


@pytest.mark.parametrize("value", [float("nan"), -1, "7", True, 1e16])
def test_impossible_counters_are_unknown(value):
    assert isinstance(counters(report(**COUNTED | {"interTokenSeconds": value})).gap_seconds, Unknown)


class Pod:
    """An engine that generates 100 tokens a second in gaps of 20 ms, and what a gateway tells of it."""

    def __init__(self):
        self.view, self.ledger = GatewayView("10.0.0.1:8081"), Ledger()

    def hear(self, at, read, age):
        """At `at` comes a line; the launcher's word in it is `age` seconds old, its numbers are of `read`."""
        numbers = {
            "state": c.STATE_READY,
            "running": 2,
            "waitingCapacity": 0,
            "kvUtilization": 0.5,
            "metricsAgeSeconds": at - age - read,
            "generationTokensTotal": round(100 * read),
            "promptTokensTotal": 0,
            "interTokenCount": round(100 * read),
            "interTokenSeconds": 2 * read,
        }
        pods = {"a": {"ageSeconds": age, "matched": True, "stats": COUNTED | numbers}}
        who = {"bootId": "g", "gateway": "gw"}
        line = {"type": "fleet", "namespace": KEY.namespace, "name": KEY.name, "uid": UID, "pods": pods}
        self.view.take(who | line, at, self.ledger)

    def beat(self, at):
        self.view.take({"type": "heartbeat", "bootId": "g", "gateway": "gw"}, at, self.ledger)

    def look(self, at):
        told = merge([self.view], KEY, UID, self.ledger, at)
        looked = observe(world(replicas=1, pods=[pod("a", ready=True)], seen=told, clock=at), rollout=False)
        return looked.engines[0].counters


def test_counters_are_dated_when_they_were_read_and_not_when_somebody_looked():
    """Lines come late, numbers are older than lines, heartbeats lie between and looks come at any time: the
    rate is that of the engine.
    """
    source, found = Pod(), []
    for read, age, delay, look in [(100.0, 0.2, 0.1, 0.9), (103.0, 0.0, 0.0, 0.0), (106.0, 0.9, 0.4, 1.4)]:
        at = read + age + delay
        source.hear(at, read, age)
        source.beat(at + look / 2)
        found.append(source.look(at + look))
        assert source.look(at + look + 0.5).at == pytest.approx(found[-1].at)  # the same report
    assert [report.at for report in found] == pytest.approx([100.0, 103.0, 106.0])
    for before, after in pairwise(found):
        sample = between(before, after)
        assert isinstance(sample, Sample)
        assert sample.step_ms == pytest.approx(20.0)
        assert sample.running == pytest.approx(2.0)


def test_numbers_have_their_age_and_old_ones_are_unknown_in_words_that_stay():
    """The launcher's word is as old as its way to here, and the engine's numbers in it are older still."""
    fresh = seen(report(age=2.5, metricsAgeSeconds=1.5)).engines[0]
    assert fresh.report_age == 4.0
    old, older = (seen(report(age=age, metricsAgeSeconds=1.5)).engines[0] for age in (14.0, 40.0))
    assert old.report_age is None
    assert old.running.reason == older.running.reason
    assert (old.running.age, older.running.age) == (15.5, 41.5)
    looked = observe(world(seen=demand(age=3.0)), rollout=False)
    assert looked.demand.age == 3.0


def test_sums_of_the_gateways_are_passed_on_while_they_report():
    sums = Tally(10, 900.0, 8, 70.0, 1e5, 1e3, 1e4)
    looked = observe(world(seen=demand(tally=sums, waiting_prompt_tokens=450)), rollout=False)
    assert looked.demand.tally == sums
    assert looked.demand.waiting_prompt_tokens == 450
    assert isinstance(observe(world(), rollout=False).demand.waiting_prompt_tokens, Unknown)
    silent = observe(world(seen=demand(reporting=0, gap="no gateway reports", tally=sums)), rollout=False)
    assert silent.demand.tally is None
    assert isinstance(silent.demand.waiting_prompt_tokens, Unknown)


def scheduled(zone):
    return fleet(scaling={"schedule": {"timeZone": zone, "windows": [WINDOW]}})


WINDOW = {"name": "office", "days": ["Mon"], "start": "08:00", "end": "20:00", "minReplicas": 1}


@pytest.mark.parametrize(
    ("zone", "now", "hours"),
    [
        ("Europe/Berlin", NOW, 1.0),
        ("Europe/Berlin", datetime(2026, 7, 1, tzinfo=UTC), 2.0),
        ("America/St_Johns", NOW, -3.5),
        ("Asia/Kathmandu", NOW, 5.75),
        ("UTC", NOW, 0.0),
    ],
)
def test_the_time_of_day_is_that_of_the_schedules_zone(zone, now, hours):
    looked = observe(world(scheduled(zone), now=now), rollout=False)
    assert looked.wall == now.timestamp()
    assert looked.offset == hours * 3600


def test_without_a_schedule_or_zone_data_the_time_of_day_is_utc(monkeypatch):
    assert observe(world(), rollout=False).offset == 0.0
    assert observe(world(service=None), rollout=False).offset == 0.0
    broken = world(scheduled("Europe/Berlin"))
    monkeypatch.setattr(zones, "known", frozenset)
    assert observe(broken, rollout=False).offset == 0.0
