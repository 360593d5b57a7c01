"""Bounds of one request: what is written into a body, what is refused, and that nothing else changes."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torpor_gateway.answers import Refusal
from torpor_gateway.bounds import FIELDS, MOST_ADDED, Bounds, bounded, read_bounds, time_limit

CHAT, TEXT = "/v1/chat/completions", "/v1/completions"
BOTH = Bounds(output_default=100, output_maximum=500)


def sent(body: bytes, path: str = CHAT, bounds: Bounds = BOTH) -> bytes:
    return bounded(body, path, bounds, "ns/llm")


@pytest.mark.parametrize(
    ("path", "body", "becomes"),
    [
        (CHAT, b'{"model":"m"}', b'{"max_completion_tokens":100,"model":"m"}'),
        (TEXT, b'{"model":"m"}', b'{"max_tokens":100,"model":"m"}'),
        ("/v1/responses", b'{"input":"x"}', b'{"max_output_tokens":100,"input":"x"}'),
        ("/v1/messages", b' \n{ "model": "m"}', b' \n{"max_tokens":100, "model": "m"}'),
        (CHAT, b"{ }", b'{"max_completion_tokens":100 }'),
        (CHAT, b'{"max_tokens":null}', b'{"max_completion_tokens":100,"max_tokens":null}'),
        (
            CHAT,
            b'{"max_completion_tokens":null,"a":{}} ',
            b'{"max_completion_tokens":null,"a":{},"max_completion_tokens":100} ',
        ),
        # A name inside of a text or of another object is none.
        (
            CHAT,
            b'{"messages":[{"max_tokens":7}],"a":"\\"max_tokens\\":7"}',
            b'{"max_completion_tokens":100,"messages":[{"max_tokens":7}],"a":"\\"max_tokens\\":7"}',
        ),
    ],
)
def test_a_default_is_written_where_the_client_says_nothing(path, body, becomes):
    assert sent(body, path) == becomes
    assert json.loads(becomes)  # the last of two members counts, as in the engines' parsers


@pytest.mark.parametrize(
    "body",
    [
        b'{"max_tokens":500}',
        b'{"max_completion_tokens":1}',
        b'{"max_tokens":"12"}',
        b'{"m\\u0061x_tokens":7}',
        b'{"max_tokens":9000,"max_tokens":9}',
        b'{"max_tokens":[]}',  # the engine's to refuse
    ],
)
def test_what_the_client_says_stays_as_it_is(body):
    assert sent(body) == body


@pytest.mark.parametrize("path", ["/v1/embeddings", "/v1/audio/transcriptions", "/tokenize"])
def test_where_nothing_is_generated_nothing_is_written(path):
    assert sent(b'{"max_tokens":9000}', path) == b'{"max_tokens":9000}'


@pytest.mark.parametrize(
    ("body", "name", "value"),
    [
        (b'{"max_tokens":501}', "max_tokens", "501"),
        (b'{"max_completion_tokens":501,"max_tokens":5}', "max_completion_tokens", "501"),
        (b'{"max_tokens":500.5}', "max_tokens", "500.5"),
        (b'{"max_tokens":"501"}', "max_tokens", "501"),
        (b'{"max\\u005ftokens":501}', "max_tokens", "501"),
        (b'{"max_tokens":99999999999999999999999999}', "max_tokens", "1e+26"),
        (b'{"max_tokens":9,"max_tokens":9000}', "max_tokens", "9000"),
    ],
)
def test_above_the_ceiling_is_refused_with_field_value_and_limit(body, name, value):
    with pytest.raises(Refusal) as raised:
        sent(body)
    refusal = raised.value
    assert (refusal.status, refusal.code, refusal.param) == (400, "above_maximum", name)
    assert refusal.message == (
        f"{name}: {value}: must be at most 500 tokens (traffic.maxOutputTokens.maximum of ns/llm); "
        "ask for less"
    )


def test_a_ceiling_alone_is_the_default_except_where_the_engine_has_a_smaller_one():
    ceiling = Bounds(output_maximum=500)
    assert sent(b'{"a":1}', CHAT, ceiling) == b'{"max_completion_tokens":500,"a":1}'
    assert sent(b'{"a":1}', TEXT, ceiling) == b'{"a":1}'
    assert sent(b'{"a":1}', TEXT, Bounds(output_maximum=9)) == b'{"max_tokens":9,"a":1}'
    assert sent(b'{"max_tokens":9000}', TEXT, Bounds(output_default=5)) == b'{"max_tokens":9000}'
    assert sent(b'{"a":1}', TEXT, Bounds()) == b'{"a":1}'


values = st.recursive(
    st.none() | st.booleans() | st.integers(-9999, 9999) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["max_tokens", "a", 'b"', "{"]), inner, max_size=3)
    ),
    max_leaves=8,
)
bodies = st.dictionaries(
    st.sampled_from(["max_tokens", "max_completion_tokens", "max_output_tokens", "model", "é", "}"]), values
)


@given(bodies, st.sampled_from(sorted(FIELDS)), st.booleans(), st.sampled_from([None, 1, 4]))
def test_an_engine_reads_what_the_client_wrote_and_never_more_tokens_than_the_ceiling(
    body, path, ascii_only, indent
):
    raw = json.dumps(body, ensure_ascii=ascii_only, indent=indent).encode()
    try:
        after = sent(raw, path)
    except Refusal:
        assert any(str(body.get(name.decode())) > "" for name in FIELDS[path])
        return
    assert len(after) <= len(raw) + MOST_ADDED
    read = json.loads(after)
    names = [name.decode() for name in FIELDS[path]]
    said = [name for name in names if body.get(name) is not None]
    if said:
        assert after == raw
        for name in said:
            if isinstance(read[name], int):
                assert read[name] <= 500
    else:
        assert read.pop(names[0]) == 100
    assert {k: v for k, v in read.items() if k != names[0] or said} == {
        k: v for k, v in body.items() if k != names[0] or said
    }


@pytest.mark.parametrize(
    ("lines", "seconds"),
    [
        (b"", 30),
        (b"accept: */*\r\nX-Request-Timeout: 12.5\r\n", 12.5),
        (b"x-request-timeout:60\r\n", 60),
        (b"a: x-request-timeout: 5\r\n", 30),
    ],
)
def test_a_time_out_is_the_clients_else_the_default(lines, seconds):
    assert time_limit(lines, Bounds(timeout_default=30, timeout_maximum=60), "ns/llm") == seconds


@pytest.mark.parametrize("text", [b"", b"abc", b"0", b"-1", b"nan", b"inf", b"1e999"])
def test_a_time_out_that_is_none_is_refused(text):
    with pytest.raises(Refusal) as raised:
        time_limit(b"x-request-timeout: %b\r\n" % text, Bounds(timeout_default=30), "ns/llm")
    assert (raised.value.status, raised.value.code) == (400, "invalid_timeout")


def test_a_time_out_above_the_ceiling_is_refused_and_without_bounds_none_is_read():
    with pytest.raises(Refusal) as raised:
        time_limit(b"x-request-timeout: 61\r\n", Bounds(timeout_maximum=60), "ns/llm")
    assert raised.value.message == (
        "x-request-timeout: 61: must be at most 60 seconds (traffic.timeoutSeconds.maximum of ns/llm); "
        "ask for less"
    )
    assert time_limit(b"", Bounds(timeout_maximum=60), "ns/llm") == 60
    assert time_limit(b"x-request-timeout: abc\r\n", Bounds(), "ns/llm") is None


@pytest.mark.parametrize(
    ("traffic", "bounds"),
    [
        ({}, Bounds()),
        ({"maxOutputTokens": {"default": 5, "maximum": 9}}, Bounds(5, 9)),
        ({"timeoutSeconds": {"maximum": 9}}, Bounds(None, None, None, 9)),
        ({"maxOutputTokens": {"default": 9, "maximum": 5}}, Bounds(5, 5)),
        ({"maxOutputTokens": {"default": True, "maximum": "9"}, "timeoutSeconds": 5}, Bounds()),
        ({"maxOutputTokens": {"default": 0}, "timeoutSeconds": {"maximum": 86_401}}, Bounds()),
    ],
)
def test_the_spec_is_read_and_what_is_no_bound_bounds_nothing(traffic, bounds):
    assert read_bounds(traffic) == bounds
