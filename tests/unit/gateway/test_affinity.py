"""How a prompt begins, out of a request's body, and what holds a session together."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torpor.dispatch.prefix import LIMIT, identity
from torpor_gateway.affinity import Affinity
from torpor_gateway.beginning import beginning
from torpor_gateway.request import RequestHead

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)
NAMES = st.sampled_from(["system", "tools", "messages", "prompt", "input", "instructions", "documents", "x"])


def say(*contents: object) -> dict:
    return {"messages": [{"role": "user", "content": content} for content in contents]}


TEXTS = st.one_of(st.text(max_size=20), st.sampled_from(["x" * 40_000, "\ud800", "é" * 33_000]))
MESSAGES = st.lists(
    st.fixed_dictionaries({"role": TEXTS, "content": TEXTS | st.none() | st.lists(TEXTS, max_size=2)})
    | st.fixed_dictionaries({"role": TEXTS, "content": TEXTS}, optional={"name": TEXTS})
    | TEXTS,
    max_size=5,
)


@settings(derandomize=True, deadline=None)
@given(MESSAGES)
def test_plain_messages_begin_as_all_others_do(messages):
    # With another member of a prompt's, even an empty one, the general way is taken.
    assert beginning({"messages": messages}) == beginning({"messages": messages, "system": None})


@given(st.dictionaries(NAMES, JSON, max_size=5))
def test_any_object_has_a_beginning(request_):
    assert len(beginning(request_)) <= LIMIT


def test_a_longer_conversation_begins_like_the_shorter():
    assert beginning(say("one", "two", "three")).startswith(beginning(say("one", "two"))[:-1])


def test_tools_and_system_prompt_stand_before_the_messages_in_any_order_of_members():
    tools = [{"type": "function", "function": {"name": "f"}}]
    one = beginning({"tools": tools, "system": "be kind", **say("hello")})
    other = beginning({**say("hello"), "system": "be kind", "tools": tools})
    assert one == other
    assert one.index(b"be kind") < one.index(b'"f"') < one.index(b"hello")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (say("ab", "c"), say("a", "bc")),
        (
            {"messages": [{"role": "user", "content": "x"}]},
            {"messages": [{"role": "system", "content": "x"}]},
        ),
        ({"prompt": "a"}, {"prompt": "b"}),
        ({"prompt": [1, 2]}, {"prompt": [1, 3]}),
        ({"input": ["a", "b"]}, {"input": ["ab"]}),
        ({**say("x"), "tools": [{"a": 1}]}, {**say("x"), "tools": [{"a": 2}]}),
        (say([{"type": "text", "text": "a"}]), say([{"type": "text", "text": "b"}])),
    ],
)
def test_other_prompts_begin_otherwise(one, other):
    assert beginning(one) != beginning(other)


def test_what_does_not_reach_the_model_makes_no_difference():
    assert beginning({**say("x"), "temperature": 1, "stream": True}) == beginning(say("x"))


def test_a_deep_part_and_a_large_picture_are_cut():
    deep: object = "end"
    for _ in range(900):
        deep = {"a": deep}
    assert beginning(say([deep])) == beginning(say([{"b": {}}]))
    picture = {"type": "image_url", "image_url": {"url": "data:" + "A" * 4_000_000}}
    assert len(beginning(say([picture]))) == LIMIT


def head(forward: bytes) -> RequestHead:
    found = RequestHead()
    found.forward = forward
    return found


def test_a_session_beats_the_prompt_and_is_found_by_its_name_alone():
    affinity = Affinity("x-session-id")
    asked = say("word " * 200)
    plain = affinity.of(head(b"Accept: */*\r\n"), asked, "m")
    assert plain == identity(beginning(asked), affinity._salts["m"])
    named = affinity.of(head(b"Accept: */*\r\nX-Session-Id:  s1 \r\nA: b\r\n"), asked, "m")
    assert len(named) == 1
    assert named == affinity.of(head(b"x-session-id: s1\r\n"), say("other " * 99), "m")
    assert named != affinity.of(head(b"x-session-id: s2\r\n"), asked, "m")
    assert affinity.of(head(b"y-x-session-id: s1\r\nNote: x-session-id: s1\r\n"), asked, "m") == plain
    assert affinity.of(head(b"x-session-id: s1\r\n"), asked, "other") != named


def test_without_a_header_name_there_are_no_sessions_and_without_json_no_identity():
    assert len(Affinity("").of(head(b"x-session-id: s1\r\n"), say("word " * 200), "m")) > 1
    assert Affinity("x-session-id").of(head(b""), None, "m") == ()
