"""What the collector makes of a fleet's counts: each number once, under its name, with its labels."""

import asyncio
from bisect import bisect_right

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.core import CollectorRegistry
from prometheus_client.exposition import generate_latest
from torpor.api.names import FleetKey
from torpor_gateway.metrics import GatewayCollector
from torpor_gateway.policy import FleetSpec, Policy
from torpor_gateway.registry import Registry
from torpor_gateway.server import Server
from torpor_gateway.settings import Settings
from torpor_gateway.sketch import HOLD_BOUNDS, QUEUE_BOUNDS, SPEED_BOUNDS, TTFT_BOUNDS, Sketch

from tests.exposition import Exposition

PREFIX = "torpor_gateway_"
OURS, OTHER = {"namespace": "ns", "name": "llm"}, {"namespace": "ns", "name": "other"}


@pytest.fixture
def gateway():
    """A gateway that listens nowhere, with two fleets; gives a way to its page and the fleets."""
    loop = asyncio.new_event_loop()
    settings = Settings()
    registry = Registry(settings, loop)
    fleets = [
        registry.put(FleetSpec(FleetKey("ns", name), name, (name,), Policy()), managed=False)
        for name in ("llm", "other")
    ]
    collector = GatewayCollector(Server(settings, registry, loop), None)

    def page():
        of_it = CollectorRegistry()
        of_it.register(collector)
        return Exposition(generate_latest(of_it).decode())

    yield page, *fleets
    loop.close()


def test_every_histogram_is_there_before_anything_was_counted(gateway):
    """A rate needs a series that begins with 0, and a quantile all of its buckets."""
    page = gateway[0]()
    bounds = {
        "hold_seconds": HOLD_BOUNDS,
        "queue_seconds": QUEUE_BOUNDS,
        "stream_tokens_per_second": SPEED_BOUNDS,
        "time_to_first_token_seconds": TTFT_BOUNDS,
    }
    for name, limits in bounds.items():
        for fleet in (OURS, OTHER):
            told = [float(labels["le"]) for labels, _ in page.samples(f"{PREFIX}{name}_bucket", **fleet)]
            assert told == [*limits, float("inf")]
            assert (page.sum(f"{PREFIX}{name}_count", **fleet), page.sum(f"{PREFIX}{name}_sum", **fleet)) == (
                0,
                0,
            )
    page.histograms_are_sound()


def test_waits_and_speeds_are_told_under_their_own_names(gateway):
    read, fleet, _ = gateway
    fleet.waits.hold.observe(3.0)
    fleet.waits.queue.observe(0.02, 2)
    fleet.speed.stream((7, 31), 2.0)
    fleet.speed.stream((7, 1), 2.0)  # one token has no speed
    fleet.ttft.observe(0.4)
    fleet.itl.observe(0.01, 30)
    page = read()
    counted = {
        "hold_seconds": (1, 3.0),
        "queue_seconds": (2, 0.04),
        "stream_tokens_per_second": (1, 15.0),
        "time_to_first_token_seconds": (1, 0.4),
        "inter_token_latency_seconds": (30, 0.3),
    }
    for name, (count, total) in counted.items():
        assert page.sum(f"{PREFIX}{name}_count", **OURS) == count
        assert page.sum(f"{PREFIX}{name}_sum", **OURS) == pytest.approx(total)
        assert page.sum(f"{PREFIX}{name}_count", **OTHER) == 0, "of the fleet that it happened to"
    page.histograms_are_sound()


def test_cuts_judgements_and_retries_are_told_by_cause(gateway):
    read, fleet, _ = gateway
    fleet.cuts["drain"] += 2
    fleet.upstream_retries["draining"] += 1
    fleet.kept.judged, fleet.kept.missed = 5, 2
    fleet.answers[200, ""] += 3
    fleet.answers[503, "Waking"] += 1
    page = read()
    assert page.by(f"{PREFIX}cut_answers_total", "cause", **OURS) == {"drain": 2}
    causes = {labels["cause"] for labels, _ in page.samples(f"{PREFIX}cut_answers_total", **OTHER)}
    assert causes == {"drain", "engine", "gateway"}, "a rate needs the zero before the first one"
    assert page.by(f"{PREFIX}upstream_retries_total", "reason", **OURS) == {"draining": 1}
    assert page.by(f"{PREFIX}objectives_total", "result", **OURS) == {"kept": 3, "missed": 2}
    assert page.by(f"{PREFIX}requests_total", "code", **OURS) == {"200": 3, "503": 1}
    assert page.by(f"{PREFIX}requests_total", "reason", **OURS) == {"": 3, "Waking": 1}


@given(values=st.lists(st.floats(0, 3000, allow_nan=False), max_size=40))
def test_a_bucket_holds_what_is_at_most_its_bound(values):
    sketch = Sketch(QUEUE_BOUNDS)
    for value in values:
        sketch.observe(value)
    ordered = sorted(values)
    assert sketch.cumulative() == [(bound, bisect_right(ordered, bound)) for bound in QUEUE_BOUNDS]
    assert (sketch.count, sketch.sum) == (len(values), pytest.approx(sum(values)))
