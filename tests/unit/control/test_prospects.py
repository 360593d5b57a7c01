"""What would change the number: a sentence for each rule, and the limits of the others."""

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torpor.control.prospects import REMEDIES, prospects
from torpor.decide import CLAMPS, Demand, Engine, Memory, Observation, Policy, Standing, decide
from torpor.decide.decision import Basis
from torpor.decide.schedule import Limits, State
from torpor.decide.work import Need

from tests.unit.decide.strategies import NOW, memories, observations, policies, standings

QUIET = Demand(held=0.0, queued=0.0, in_flight=0.0, complete=True, gap="")
RULES = Policy(
    min_replicas=0,
    max_replicas=3,
    queue_target=4,
    kv_target=0.8,
    idle_seconds=600,
    window_seconds=60,
    credit_seconds=120,
)


def told(rules, replicas=1, waiting=0.0, memory=None):
    engines = tuple(Engine(str(n), True, 300.0, False, 1.0, waiting, 0.1) for n in range(replicas))
    return prospects(decide(Observation(replicas, engines, QUIET), rules, memory or Memory(), NOW)[0], rules)


def rules(**changes):
    return dataclasses.replace(RULES, **changes)


def test_every_rule_says_what_would_change_it():
    assert {clamp.name for clamp in CLAMPS} <= set(REMEDIES)


def test_a_steady_fleet_names_its_limits():
    assert told(RULES) == [
        "queueDepth above 4.4 per replica asks for more",
        "kvCacheUtilization above 88 % per replica asks for more",
        "600 s without any request take the last one away",
    ]


@pytest.mark.parametrize(
    ("changes", "more", "sentence"),
    [
        ({}, {"waiting": 40.0}, "a higher spec.scaling.maxReplicas lets it go up to 10"),
        ({"min_replicas": 2}, {}, "a lower spec.scaling.minReplicas lets it go down to 1"),
        ({}, {"replicas": 3}, "60 s in which no more than 1 are needed let 1 follow"),
        ({"mode": "Recommend"}, {"waiting": 8.0}, "spec.scaling.mode Auto makes it 2"),
        ({"mode": "Paused"}, {}, "spec.scaling.mode Auto or Recommend works out a number again"),
        ({"external": 3}, {}, "without spec.scaling.replicas it is 1"),
        ({"external": 3, "mode": "Recommend"}, {},
         "without spec.scaling.replicas it is 1, kept by the mode Recommend"),
        ({}, {"replicas": 0}, "a request wakes it"),
    ],
)  # fmt: skip
def test_the_first_sentence_is_about_the_last_word(changes, more, sentence):
    assert told(rules(**changes), **more)[0] == sentence


@pytest.mark.parametrize("changes", [{"mode": "Recommend"}, {"external": 2}])
def test_what_is_not_followed_promises_nothing(changes):
    awake, asleep = told(rules(**changes), replicas=2), told(rules(**changes), replicas=0)
    assert "600 s without any request make what is recommended 0" in awake
    assert "a request makes it recommend a wake" in asleep
    assert not any("wakes it" in sentence or "away" in sentence for sentence in (*awake, *asleep))


def test_the_schedule_is_told_with_its_time():
    after = State(("office",), Limits(2, 6))
    night = Standing(State(("outside",), Limits(ceiling=0)), None, after, None, "Mon 08:00 UTC")
    sentences = told(rules(schedule=night), replicas=0)
    assert sentences[0] == "a request wakes it in spite of the closed hours"
    assert sentences[-1] == ("from Mon 08:00 UTC on the schedule (office) asks for at least 2 and at most 6")
    strict = dataclasses.replace(night, refuse_when_closed=True)
    assert not any("wakes" in sentence for sentence in told(rules(schedule=strict), replicas=0))


def test_the_border_of_the_arriving_work_is_told_in_requests():
    decision, _ = decide(Observation(2, (), QUIET), RULES, Memory(), NOW)
    need = Need(replicas=2, work=1.0, burst=0.2, backlog=0.0, rho=0.8)
    basis = Basis(window=60, idle=600, floor=0, ceiling=3, need=need, requests=6.0)
    busy = dataclasses.replace(decision, replicas=2, clamps=(), basis=basis)
    sentence = "more than about 8 requests/s such as now ask for more than 2"
    assert sentence in prospects(busy, RULES)
    full = dataclasses.replace(busy, basis=dataclasses.replace(basis, ceiling=2))
    assert not any("requests/s" in told for told in prospects(full, RULES))


@settings(max_examples=50)
@given(
    observations(),
    policies(external=st.one_of(st.none(), st.integers(0, 9)), schedule=st.one_of(st.none(), standings)),
    memories(),
    st.sampled_from(["Auto", "Recommend", "Paused"]),
)
def test_every_decision_has_few_short_sentences(observation, policy, memory, mode):
    policy = dataclasses.replace(policy, mode=mode)
    sentences = prospects(decide(observation, policy, memory, NOW)[0], policy)
    assert len(sentences) <= 16
    assert all(sentence and len(sentence) < 200 for sentence in sentences)
    assert len(set(sentences)) == len(sentences)
