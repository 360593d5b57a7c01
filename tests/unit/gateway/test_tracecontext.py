"""Trace context is read by the letter, and what goes on is well-formed whatever came."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torpor_gateway import tracecontext
from torpor_gateway.otel import Sampler
from torpor_gateway.tracecontext import Parent, parted

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
GOOD = f"00-{TRACE}-{SPAN}-01"


def parent_of(forward: bytes) -> Parent | None:
    return parted(forward)[0]


def lines(parent: str | None = GOOD, *states: str) -> bytes:
    text = "Content-Type: application/json\r\n"
    text += f"traceparent: {parent}\r\n" if parent is not None else ""
    return (text + "".join(f"tracestate: {state}\r\n" for state in states) + "x-other: 1\r\n").encode()


@pytest.mark.parametrize(
    ("value", "sampled"),
    [
        (GOOD, True),
        (f"00-{TRACE}-{SPAN}-00", False),
        (f"00-{TRACE}-{SPAN}-03", True),  # a flag that is not known
        (f"01-{TRACE}-{SPAN}-01", True),  # a later version
        (f"cc-{TRACE}-{SPAN}-01-what-will-be", True),
    ],
)
def test_a_parent_is_read(value, sampled) -> None:
    assert parent_of(lines(value)) == Parent(TRACE, SPAN, sampled)


@pytest.mark.parametrize(
    "value",
    [
        None,
        "",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE}-{SPAN}-01-more",
        f"ff-{TRACE}-{SPAN}-01",
        f"01-{TRACE}-{SPAN}-01more",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE[1:]}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-1",
        f"00_{TRACE}_{SPAN}_01",
        f"{GOOD},{GOOD}",
    ],
)
def test_what_is_not_by_the_letter_is_no_parent(value) -> None:
    assert parent_of(lines(value, "a=1")) is None


def test_two_parents_are_none_and_a_name_has_any_case() -> None:
    assert parent_of(lines() + f"TraceParent: {GOOD}\r\n".encode()) is None
    assert parent_of(f"TRACEPARENT:{GOOD}  \r\nTraceState: a=1\r\n".encode()) == Parent(
        TRACE, SPAN, True, "a=1"
    )
    assert parent_of(f"x-traceparent: {GOOD}\r\n".encode()) is None


@pytest.mark.parametrize(
    ("states", "kept"),
    [
        (["rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"], "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"),
        (["a=1", " b=2 , c=3"], "a=1,b=2,c=3"),
        (["a=1,,"], "a=1"),
        (["0tenant@sys=x y"], "0tenant@sys=x y"),
        (["a=1,a=2"], ""),
        (["A=1"], ""),
        (["a=1=2"], ""),
        (["a"], ""),
        ([",".join(f"k{n}=v" for n in range(33))], ""),
        (["a=" + "x" * 257], ""),
    ],
)
def test_a_state_goes_on_whole_or_not_at_all(states, kept) -> None:
    parent = parent_of(lines(GOOD, *states))
    assert parent is not None
    assert parent.state == kept


HEADERS = st.lists(
    st.tuples(
        st.sampled_from([b"traceparent", b"TRACESTATE", b"x-a", b"tracepar"]),
        st.binary(max_size=80).map(lambda value: value.translate(None, b"\r\n")) | st.just(GOOD.encode()),
    ),
    max_size=6,
)


@given(headers=HEADERS, sampled=st.booleans())
def test_what_goes_on_is_one_parent_and_every_other_line(headers, sampled) -> None:
    forward = b"".join(b"%b: %b\r\n" % header for header in headers)
    parent, kept = parted(forward)
    others = [b"%b: %b\r\n" % header for header in headers if header[0] in (b"x-a", b"tracepar")]
    assert kept == b"".join(others)
    trace, span = parent.trace if parent else tracecontext.new_trace(), tracecontext.new_span()
    state = parent.state if parent else ""
    sent = kept + tracecontext.lines(trace, span, sampled=sampled, state=state)
    assert parted(sent) == (Parent(trace, span, sampled, state), kept)


def test_ids_are_well_formed() -> None:
    assert re.fullmatch("[0-9a-f]{32}", tracecontext.new_trace())
    assert re.fullmatch("[0-9a-f]{16}", tracecontext.new_span())


@given(low=st.integers(0, 2**64 - 1), ratio=st.floats(0, 1))
def test_a_ratio_is_of_the_second_half_of_the_id(low, ratio) -> None:
    trace = f"{'f' * 16}{low:016x}"
    sampler = Sampler(by_parent=True, bound=round(ratio * 2**64))
    assert sampler.samples(trace, None) is (low < round(ratio * 2**64))
    assert sampler.samples(trace, True)
    assert not sampler.samples(trace, False)
    assert Sampler(by_parent=False, bound=0).samples(trace, True) is False
