"""Tokens, words and the exposition format."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torpor_sim.answers import Writer
from torpor_sim.exposition import Counter, Family, Gauge, Histogram, number
from torpor_sim.requests import read_ask
from torpor_sim.text import Prose, detokenize, piece_of, token_id, tokenize


@settings(deadline=None)
@given(st.text(max_size=300))
def test_text_survives_cutting_and_joining(text: str) -> None:
    pieces = tokenize(text)
    clean = text.encode("utf-8", "replace")
    assert b"".join(pieces) == clean
    assert detokenize(map(token_id, pieces)) == clean.decode()


@settings(deadline=None)
@given(st.lists(st.integers(-(2**70), 2**70), max_size=20))
def test_any_number_is_a_token_or_nothing(tokens: list[int]) -> None:
    assert isinstance(detokenize(tokens), str)
    assert all(piece_of(token) == b"" or token_id(piece_of(token)) == token for token in tokens)


def test_the_words_are_one_token_each() -> None:
    prose = Prose(3)
    text = "".join(prose.piece(0, index) for index in range(200))
    assert len(tokenize(text)) == 200


PROSE = Prose(0)


@settings(deadline=None)
@given(st.integers(1, 60), st.lists(st.sampled_from([" the", "e", "zz", ". ", "t"]), max_size=3))
def test_no_stop_string_gets_out(limit: int, stop: list[str]) -> None:
    ask = read_ask({"prompt": "x", "max_tokens": limit, "stop": stop, "ignore_eos": True}, chat=False)
    plan = Writer(PROSE, 20, 100, 0).plan(ask, [b"x"])
    text = plan.span(0, plan.length)
    assert not any(word in text for word in stop)
    assert (plan.reason == "stop") == (plan.stop is not None)
    assert plan.length <= limit


def test_an_answer_ends_with_a_sentence_and_a_token_without_text() -> None:
    ask = read_ask({"prompt": "x", "max_tokens": 4000}, chat=False)
    plan = Writer(PROSE, 20, 5000, 0).plan(ask, [b"x"])
    assert plan.reason == "stop"
    assert plan.text(plan.length - 1) == ""
    assert plan.text(plan.length - 2) == "."


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0.0"),
        (1, "1.0"),
        (0.25, "0.25"),
        (1e6, "1e+06"),
        (123456789.5, "1.234567895e+08"),
        (math.inf, "+Inf"),
        (math.nan, "NaN"),
        (1e21, "1e+21"),
    ],
)
def test_numbers_look_like_prometheus_clients(value: float, text: str) -> None:
    from prometheus_client.utils import floatToGoString

    assert number(value) == floatToGoString(value) == text  # type: ignore[no-untyped-call]


def test_the_exposition_is_the_one_of_prometheus_client() -> None:
    import prometheus_client as real

    registry, names, bounds = real.CollectorRegistry(), ["model_name", "engine"], (0.5, 1, 10)
    gauge = real.Gauge("a:g", "Help.", names, registry=registry).labels('m"\n', "0")
    counter = real.Counter("a:c", "Help.", names, registry=registry).labels('m"\n', "0")
    histogram = real.Histogram("a:h", "Help.", names, registry=registry, buckets=bounds).labels('m"\n', "0")
    labels = {"model_name": 'm"\n', "engine": "0"}
    ours = (Gauge(labels), Counter(labels, 5.0), Histogram(labels, bounds, 5.0))
    gauge.set(3)
    ours[0].value = 3
    for value in (0.5, 0.7, 99):
        counter.inc(value)
        ours[1].inc(value)
        histogram.observe(value)
        ours[2].observe(value)
    families = (
        Family("a:g", "Help.", [ours[0]]),
        Family("a:c", "Help.", [ours[1]]),
        Family("a:h", "Help.", [ours[2]]),
    )
    text = "".join(family.render() for family in families)

    def lines(source: str) -> list[str]:
        dated = ("a:c_created", "a:h_created")
        return sorted(line for line in source.splitlines() if not line.startswith(dated))

    assert lines(text) == lines(real.generate_latest(registry).decode())
