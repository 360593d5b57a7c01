"""Arbitrary observations, policies and memories, the unlikely ones included."""

from hypothesis import strategies as st
from torpor.decide import Demand, Engine, Memory, Observation, Policy, Standing, Unknown
from torpor.decide.schedule import Limits, State

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


def engines(counts=counts, shares=shares):
    return st.lists(
        st.builds(
            Engine,
            name=st.uuids().map(str),
            ready=st.booleans(),
            age=st.floats(-10, 5000),
            failing=st.booleans(),
            running=counts,
            waiting=counts,
            kv=shares,
            max_num_seqs=st.one_of(st.none(), st.integers(1, 256)),
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
    )


def observations(counts=counts, shares=shares, complete=BOOLEANS, replicas=REPLICAS):
    return st.builds(
        Observation,
        replicas=replicas,
        engines=engines(counts, shares),
        demand=demands(counts, complete),
        rollout=st.booleans(),
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
        idle_seconds=float(draw(st.integers(0, 1000))),
        window_seconds=float(draw(st.integers(0, 300))),
        credit_seconds=float(draw(st.integers(30, 1800))),
        external=draw(external),
        max_num_seqs=draw(st.one_of(st.none(), st.integers(1, 256))),
        schedule=draw(schedule),
        schedule_ends_in=draw(st.one_of(st.none(), st.floats(0.1, 1e6))),
    )


@st.composite
def memories(draw):
    """A memory some leader may have at NOW: empty, broken off, or watched for long."""
    if draw(st.booleans()):
        return Memory()
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
    )
