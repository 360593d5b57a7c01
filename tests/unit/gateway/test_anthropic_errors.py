"""Errors on Anthropic's paths, as its clients read them: a type that they know, a cause, an id to quote."""

import json
from typing import get_args

import pytest
from anthropic.types.shared.error_type import ErrorType
from hypothesis import given
from hypothesis import strategies as st
from torpor_gateway.answers import _TYPES, Refusal, body, error_of, event, refuse
from torpor_gateway.surface import Shape, shape_of

KNOWN = set(get_args(ErrorType))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=3,
)


def said(refusal, request_id=b""):
    return json.loads(body(refusal, Shape.ANTHROPIC, request_id))


@pytest.mark.parametrize("status", sorted(_TYPES))
def test_every_status_has_a_type_that_clients_know(status):
    value = said(Refusal(status, "some_code", "text"))
    assert value["type"] == "error"
    assert value["error"]["type"] in KNOWN
    assert value["error"]["message"] == "text"
    assert value["error"]["details"] == {"error_code": "some_code"}


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, "above_maximum", "invalid_request_error"),
        (401, "invalid_api_key", "authentication_error"),
        (404, "model_not_found", "not_found_error"),
        (429, "QueueFull", "rate_limit_error"),
        (502, "EngineGone", "api_error"),
        (503, "Waking", "overloaded_error"),
        (504, "RequestTimeout", "timeout_error"),
    ],
)
def test_the_type_says_what_happened(status, code, kind):
    assert said(Refusal(status, code, "text"))["error"]["type"] == kind


def test_the_id_of_the_request_is_where_clients_look():
    refusal = Refusal(503, "Waking", "text")
    answer = refuse(refusal, Shape.ANTHROPIC, close=False, request_id=b"abc")
    assert b"\r\nx-request-id: abc\r\nrequest-id: abc\r\n" in answer
    assert said(refusal, b"abc")["request_id"] == "abc"
    assert "request_id" not in said(refusal)
    assert b"\r\nrequest-id:" not in refuse(refusal, Shape.OPENAI, close=False, request_id=b"abc")


@pytest.mark.parametrize(
    ("content", "status", "kind"),
    [
        (b'{"type":"error","error":{"type":"NotFoundError","message":"m"}}', 404, "not_found_error"),
        (
            b'{"error":{"type":"BadRequestError","message":"m","param":null,"code":400}}',
            400,
            "invalid_request_error",
        ),
        (b'{"error":{"type":"x","message":"m","code":503}}', 503, "overloaded_error"),
        (b"<html>", 500, "api_error"),
    ],
)
def test_an_engines_error_in_a_held_stream_gets_a_type_that_clients_know(content, status, kind):
    text = event(error_of(content, status), Shape.ANTHROPIC)
    value = json.loads(text.partition(b"data: ")[2])
    assert text.startswith(b"event: error\n")
    assert (value["type"], value["error"]["type"]) == ("error", kind)
    assert value["error"]["message"]


@given(st.dictionaries(st.sampled_from(["type", "code", "message", "param"]), JSON))
def test_whatever_an_engine_says_becomes_an_event(error):
    value = json.loads(event(error, Shape.ANTHROPIC).partition(b"data: ")[2])
    assert value["error"]["type"] in KNOWN


@pytest.mark.parametrize(
    ("path", "shape"),
    [
        ("/v1/messages", Shape.ANTHROPIC),
        ("/v1/messages/count_tokens", Shape.ANTHROPIC),
        ("/v1/messages/batches", Shape.ANTHROPIC),
        ("/v1/messagesx", Shape.OPENAI),
        ("/v1/nothing", Shape.OPENAI),
        ("/v1/responses", Shape.RESPONSES),
    ],
)
def test_a_path_below_anthropics_fails_in_its_shape(path, shape):
    assert shape_of(path) is shape
