"""Arbitrary observations, policies and memories, the unlikely ones included."""

import dataclasses
import functools

from hypothesis import strategies as st
from torpor.decide import Demand, Engine, Memory, Observation, Policy, Standing, Tally, Unknown
from torpor.decide.hardware import conservative
from torpor.decide.samples import Counters
from torpor.decide.schedule import Limits, State
from torpor.decide.work import Objectives

from tests.unit.decide.fleets import HARDWARE, MONDAY, Office

NOW = 10_000.0
BOOLEANS = st.booleans()
REPLICAS = st.integers(0, 10)
NOBODY = st.none()

known_counts = st.integers(0, 500).map(float)
garbage = st.one_of(
    st.sampled_from([float("nan"), float("inf"), float("-inf"), -1.0, -0.5, 1e308, 2**80, None, "12", True]),
    st.builds(Unknown, st.just("stale"), st.floats(0, 1000)),
)
counts = st.one_of(known_counts, known_counts, garbage)
shares = st.one_of(st.floats(0, 1), st.floats(0, 1), garbage, st.just(85.0))


NAN, INFINITE = float("nan"), float("inf")


def report(number, boot="boot", age=12.0, **changes):
    """What an engine counted that goes on from where `trained` left it, with changes."""
    values = {"running": 9.0, "waiting": 0.0, "kv_tokens": 1e4, "generated": 5e7, "prompts": 2e8, "gaps": 5e7}
    return Counters(str(number), boot, NOW - age, **values | {"gap_seconds": 9e5} | changes)


# Prepared ones: drawing each number of them would take longer than deciding a hundred times.
reports = st.sampled_from(
    [
        None,
        report(1),
        report(2),
        report(3, running=0.0),
        report(1, boot="other", age=0.0),
        report(1, age=-5.0),
        report(2, generated=NAN, gaps=INFINITE),
        report(2, generated=-1.0, prompts=2**80, kv_tokens="12"),
        report(3, gap_seconds=NAN, running=None),
        report(3, generated=Unknown("stale", 40.0), prompts=Unknown("stale", 40.0)),
    ]
)
tallies = st.sampled_from(
    [
        None,
        Tally(),
        Tally(1e6, 1e9, 1e6, 2e8, 2e12, 8e10, 2e11),
        Tally(2e6, 2e9, 2e6, 4e8),
        Tally(NAN, 1.0, 1.0, 1.0),
        Tally(1e6, INFINITE, 1e6, 1e8),
        Tally(-1.0, 1.0, 1.0, 1.0, 1.0, NAN, 1.0),
    ]
)


def engines(counts=counts, shares=shares):
    return st.lists(
        st.builds(
            Engine,
            name=st.one_of(st.uuids().map(str), st.sampled_from(["1", "2", "3"])),
            counters=reports,
            ready=st.booleans(),
            age=st.floats(-10, 5000),
            failing=st.booleans(),
            running=counts,
            waiting=counts,
            kv=shares,
            max_num_seqs=st.one_of(st.none(), st.integers(1, 256)),
            report_age=st.sampled_from([None, 0.0, 14.0]),
        ),
        max_size=5,
    ).map(tuple)


def demands(counts=counts, complete=BOOLEANS):
    return st.builds(
        Demand,
        held=counts,
        queued=counts,
        in_flight=counts,
        arrivals=st.integers(0, 3),
        complete=complete,
        gap=st.just("gateway b is silent"),
        tally=tallies,
        waiting_prompt_tokens=st.one_of(st.floats(0, 1e7), garbage),
    )


def observations(counts=counts, shares=shares, complete=BOOLEANS, replicas=REPLICAS):
    return st.builds(
        Observation,
        replicas=replicas,
        engines=engines(counts, shares),
        demand=demands(counts, complete),
        rollout=st.booleans(),
        wall=st.one_of(NOBODY, st.floats(MONDAY, MONDAY + 7 * 86_400), st.just(float("nan"))),
        offset=st.sampled_from([0.0, 3600.0, -37_800.0]),
    )


limits = st.builds(Limits, st.one_of(NOBODY, st.integers(0, 6)), st.one_of(NOBODY, st.integers(0, 6)))
standings = st.builds(
    Standing,
    state=st.builds(State, st.just(("office",)), limits),
    until=NOBODY,
    after=NOBODY,
    opens=NOBODY,
    refuse_when_closed=st.booleans(),
    closed_ceiling=st.integers(1, 3),
)


@st.composite
def policies(draw, external=NOBODY, schedule=NOBODY):
    low = draw(st.integers(0, 5))
    return Policy(
        min_replicas=low,
        max_replicas=draw(st.integers(max(1, low), 12)),
        queue_target=float(draw(st.integers(1, 100))),
        kv_target=draw(st.integers(1, 100)) / 100,
        idle_seconds=draw(st.one_of(st.none(), st.integers(0, 1000).map(float))),
        window_seconds=float(draw(st.integers(0, 300))),
        credit_seconds=float(draw(st.integers(30, 1800))),
        external=draw(external),
        max_num_seqs=draw(st.one_of(st.none(), st.integers(1, 256))),
        schedule=draw(schedule),
        schedule_ends_in=draw(st.one_of(st.none(), st.floats(0.1, 1e6))),
        objectives=draw(st.sampled_from([Objectives(), Objectives(2000, 50), Objectives(itl_ms=20)])),
        hardware=draw(st.sampled_from([None, HARDWARE, conservative(None, None)])),
        cold_start=draw(st.one_of(st.none(), st.floats(0, 900))),
        revision=draw(st.sampled_from(["", "a", "b"])),
        queue_target_given=draw(st.booleans()),
    )


@functools.cache
def trained():
    """What a fleet knows after a day and a half of office hours, its last look at NOW."""
    office = Office()
    office.live(36 * 3600)
    later = NOW - office.clock
    known = office.memory.known
    return dataclasses.replace(
        known,
        tally_at=known.tally_at + later,
        whole=known.whole._replace(at=known.whole.at + later),
        model_at=known.model_at + later,
        counters=tuple(dataclasses.replace(old, at=old.at + later) for old in known.counters),
        pauses=dataclasses.replace(
            known.pauses, steps=tuple((at + later, need) for at, need in known.pauses.steps)
        ),
        kept=dataclasses.replace(known.kept, at=known.kept.at + later),
        watch=known.watch.__class__(),
    )


@st.composite
def memories(draw):
    """A memory some leader may have at NOW: empty, broken off, or watched for long."""
    known = draw(st.sampled_from([Memory().known, trained()]))
    if draw(st.booleans()):
        return Memory(known=known)
    recent = NOW - draw(st.floats(0, 60))
    since = recent - draw(st.floats(0, 2000))
    return Memory(
        seen_at=recent,
        watched_since=since,
        recommendations=tuple((since, number) for number in draw(st.lists(st.integers(0, 12), max_size=3))),
        idle_since=draw(st.one_of(st.none(), st.just(since))),
        arrivals=draw(st.one_of(st.none(), st.integers(0, 3))),
        short_since=draw(st.one_of(st.none(), st.just(since))),
        closed=draw(st.booleans()),
        closed_demand=draw(st.one_of(st.none(), st.just(since), st.just(recent))),
        overslept=draw(st.booleans()),
        known=known,
    )
