"""Whatever a client sends: nothing breaks, everything ends, and no engine gets a request that none sent.

The last is judged by a second parser. What the gateway hands to an engine must be, in this order, among the
messages that the other one finds in the same bytes: a request that only one of the two sees is how requests
are smuggled. `make fuzz` draws other examples, and ten times as many.
"""

import os

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.unit.gateway.grammar import (
    EXAMPLES,
    answers,
    bodies,
    cut,
    good_messages,
    numbers,
    reference,
    streams,
)
from tests.unit.gateway.wire import World

pytestmark = pytest.mark.timeout(1800)  # what `make fuzz` takes; a slow machine does not make it fail
TIMES = 10 if os.environ.get("TORPOR_FUZZ") else 1
LIMITS = {"max_body_bytes": 4096, "max_header_bytes": 2048, "max_headers": 12}
cuts = st.lists(numbers, max_size=6)


def bounded(count: int) -> settings:
    slow = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
    return settings(max_examples=count * TIMES, suppress_health_check=slow)


def judge(data: bytes, pieces: list[bytes], together: bool) -> World:
    """Send, let the client wait until it is alone, and hold everything against what must be."""
    world = World(**LIMITS)
    world.send(*pieces, together=together)
    assert world.until_closed(), "the connection did not end"
    world.loop.turn(10.0)  # and what engines were still told
    assert not any(world.leftovers()), world.leftovers()
    told = answers(bytes(world.said), world.server.methods)
    assert len(told) <= len(world.server.methods) + 1
    seen = iter([(target, body) for method, target, body in reference(data) if method == b"POST"])
    for target, body in world.engine.requests:
        assert any(
            (theirs.removeprefix(b"http://a").partition(b"#")[0], content) == (target, body)
            for theirs, content in seen
        ), f"{target!r} {body!r} was sent by nobody"
    return world


def written_down(test):
    for data in EXAMPLES:
        test = example(data, [], True)(example(data, [len(data) - 95, len(data) - 90], False)(test))
    return test


@written_down
@bounded(300)
@given(streams(), cuts, st.booleans())
def test_no_grammar_gets_more_to_an_engine_than_was_sent(data, places, together):
    judge(data, cut(data, places), together)


@bounded(120)
@given(
    st.binary(max_size=200),
    st.sampled_from([b"", b"POST ", b"GET /healthz HTTP/1.1\r\n"]),
    cuts,
    st.booleans(),
)
def test_no_bytes_do_harm(data, before, places, together):
    judge(before + data, cut(before + data, places), together)


@bounded(120)
@given(st.lists(good_messages(), min_size=1, max_size=4), cuts, st.booleans())
def test_what_is_well_said_is_answered_in_order(sent, places, together):
    data = b"".join(message for message, _ in sent)
    world = judge(data, cut(data, places), together)
    known = [content for _, content in sent if b'"none"' not in content]
    assert [body for _, body in world.engine.requests] == known
    told = answers(bytes(world.said), world.server.methods)
    assert [status for status, _ in told] == [404 if b'"none"' in content else 200 for _, content in sent]
    counted = [int(content[6:-1]) for status, content in told if status == 200 and content[:1] == b"{"]
    assert counted == sorted(counted)


@bounded(60)
@given(bodies, st.integers(0, 400), st.booleans())
def test_who_leaves_at_any_moment_leaves_nothing_behind(content, place, together):
    world = World(**LIMITS)
    data = b"POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(content) + content
    world.wire.deliver(data[: place + 1])
    if not together:
        world.loop.run()
    world.wire.close()
    world.loop.turn(10.0)
    assert not any(world.leftovers())
