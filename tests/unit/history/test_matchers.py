"""Label values never end a query, whatever is in them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torpor.history import matchers


def test_a_fleet_is_looked_for_by_its_labels_then_by_its_pods_names() -> None:
    labels, pods = matchers.of_fleet("team", "chat-8b")
    assert labels == 'namespace="team",name="chat-8b"'
    assert pods == 'namespace="team",pod=~"chat-8b-[a-z0-9]+-[a-z0-9]+"'


@pytest.mark.parametrize("text", ["chat", "/chat", "team/", 'team/a"b', "Team/chat", "team/chat/x", ""])
def test_what_is_no_fleet_is_refused_with_the_way_to_find_one(text: str) -> None:
    with pytest.raises(ValueError, match=r"NAMESPACE/NAME.*kubectl get isvc"):
        matchers.fleet(text)


@pytest.mark.parametrize(
    ("given_text", "rendered"),
    [
        ('job="vllm"', 'job="vllm"'),
        ('{job=\'a"b\', pod =~ "x.*" ,}', 'job="a\\"b",pod=~"x.*"'),
        ("job=`a\\b`", 'job="a\\\\b"'),
        ('a!="1",b!~"2\\n"', 'a!="1",b!~"2\\n"'),
    ],
)
def test_matchers_are_read_and_written_anew(given_text: str, rendered: str) -> None:
    assert matchers.parse(given_text) == rendered


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "job",
        'job="a"} or vector(1) #',
        'job="a" b="c"',
        'job="a',
        ',job="a"',
        'job="a",,b="c"',
        '1a="b"',
    ],
)
def test_what_is_no_list_of_matchers_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="--selector"):
        matchers.parse(text)


def test_labels_that_the_questions_set_are_refused() -> None:
    with pytest.raises(ValueError, match="le: is set by torpor"):
        matchers.parse('le="1"')


@given(st.text())
def test_any_value_comes_back_as_it_went_in(value: str) -> None:
    written = matchers.matcher("job", "=", value)
    assert matchers.parse(written) == written
    assert "\n" not in written
