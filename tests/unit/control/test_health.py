"""Reconciling and Stalled: what ends by itself, what does not, and never both."""

import pytest
from torpor.api import constants as c

from tests.unit.control.lives import CURRENT, FAILED, IN_PROGRESS, LIVES

LOOKED = [life for life in LIVES if life.reason]


def conditions(life):
    return {it["type"]: it for it in life.item["status"]["conditions"]}


@pytest.mark.parametrize("life", LOOKED, ids=lambda life: life.name)
def test_at_most_one_is_true_and_it_repeats_what_another_condition_says(life):
    found = conditions(life)
    truths = {type_: found[type_]["status"] == "True" for type_ in (c.RECONCILING, c.STALLED)}
    assert sum(truths.values()) <= 1
    for type_ in (type_ for type_, true in truths.items() if true):
        told = (found[type_]["reason"], found[type_]["message"])
        others = [it for kind, it in found.items() if kind not in truths]
        assert told in [(it["reason"], it["message"]) for it in others]
        assert told[0] == life.reason
    if not any(truths.values()):
        assert found[c.READY]["reason"] == life.reason
        assert (found[c.RECONCILING]["reason"], found[c.STALLED]["reason"]) == (c.SETTLED, c.NO_FAULT)


@pytest.mark.parametrize("life", LOOKED, ids=lambda life: life.name)
def test_a_failure_is_stalled_and_nothing_else_is(life):
    assert (conditions(life)[c.STALLED]["status"] == "True") is (life.status == FAILED)


def test_every_outcome_is_among_the_lives():
    assert {life.status for life in LOOKED} == {CURRENT, FAILED, IN_PROGRESS}
    reasons = {life.reason for life in LOOKED}
    assert reasons >= {
        c.SERVING,
        c.ASLEEP,
        c.WAKING,
        c.CLOSED,
        c.SPEC_INVALID,
        c.WAKE_FAILED,
        c.ROUTE_CONFLICT,
    }
    assert reasons >= {c.NAME_TAKEN, c.CONFIG_ERROR, c.ROLLOUT_FAILED, c.SURGE_ROLLOUT, c.IN_PLACE_ROLLOUT}
    assert reasons >= {c.PAUSED, c.RECOMMEND, c.SCALED_TO_ZERO_EXTERNALLY}
