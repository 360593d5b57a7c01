"""What a status says, as sentences: pages compared with ones written by hand, and nothing left out."""

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torpor.api import constants as c
from torpor.cli.account import NoAccountError, account
from torpor.cli.manners import LONGEST_LINE
from torpor.control.cold_start import ColdStarts
from torpor.control.findings import Facts, findings
from torpor.control.rollout import Rollout
from torpor.control.status import status_of
from torpor.decide import decide

from tests.unit.control.test_status import status
from tests.unit.control.worlds import demand, fleet, pod, report, world
from tests.unit.decide.strategies import NOW as CLOCK
from tests.unit.decide.strategies import memories, observations, policies, standings

ASLEEP = """\
team/llm
  0 replicas wanted, 0 pods there, 0 ready.

Why 0
  Asleep, since 2026-11-21T12:00:00Z: no request wants the fleet.
  queueDepth is 0.00, target 4; it asks for 0 replicas.
  kvCacheUtilization is 0.00 %, target 80 %; it asks for 0 replicas.
  So the signals leave it at 0.

What would change it
  - a request wakes it

Conditions
  Ready is True since 2026-11-21T12:00:00Z (Asleep): asleep; the next request wakes it."""

BUSY = """\
team/llm
  1 replica wanted, 1 pod there, 1 ready.
  The mode is Recommend: Torpor does not change the number.
  Torpor alone would ask for 3.

Why 1
  Recommend, since 2026-11-21T12:00:00Z: queueDepth is 20.00 per replica, target 4; 5 needed; \
spec.scaling.mode is Recommend; the number stays at 1 (3 -> 1).
  queueDepth is 20.00 (0 s old), target 4; it asks for 5 replicas; it may be more: gateway b is silent.
  kvCacheUtilization is 12.50 % (0 s old), target 80 %; it asks for 1 replica.
  So the signals leave it at 5.
  1. MaxReplicas lowers 5 to 3: spec.scaling.maxReplicas is 3.
  2. Recommend lowers 3 to 1: spec.scaling.mode is Recommend; the number stays at 1.

What would change it
  - spec.scaling.mode Auto makes it 3
  - a higher spec.scaling.maxReplicas lets it go up to 5
  - queueDepth above 4.4 per replica asks for more
  - kvCacheUtilization above 88 % per replica asks for more
  - 60 s in which fewer are needed lower what is recommended
  - 600 s without any request make what is recommended 0

Conditions
  Ready is True since 2026-11-21T12:00:00Z (Serving): 1 replica answering.
  SignalsAvailable is False since 2026-11-21T12:00:00Z (PartlyUnknown): queueDepth: gateway b is silent.
  ScalingActive is False since 2026-11-21T12:00:00Z (Recommend): spec.scaling.mode is Recommend: \
status.decision has the number that Auto would follow."""

NIGHT: dict[str, Any] = {
    "replicas": 0,
    "readyReplicas": 0,
    "desiredReplicas": 0,
    "decision": {
        "mode": "Paused",
        "desiredReplicas": 0,
        "reason": "Paused",
        "message": "spec.scaling.mode is Paused, so no number is worked out; the number stays at 0",
        "time": "2026-11-21T22:00:00Z",
        "wouldChange": ["spec.scaling.mode Auto or Recommend works out a number again"],
    },
    "schedule": {
        "active": {"name": "outside", "maxReplicas": 0},
        "next": {"time": "2026-11-23T08:00:00Z", "name": "office", "minReplicas": 1, "maxReplicas": 6},
        "opensTime": "2026-11-23T08:00:00Z",
    },
    "coldStart": {
        "lastSeconds": "42.5",
        "p95Seconds": "50.0",
        "phases": [{"name": "download", "seconds": "30.00"}, {"name": "load", "seconds": "9.25"}],
    },
    "engine": {
        "hardware": "70B fp8 TP4 H100",
        "hardwareSource": "table",
        "maxNumBatchedTokens": 512,
        "maxNumSeqs": 256,
        "stepMilliseconds": "49.1",
        "message": "the largest step within 50 ms",
        "tunedReplicas": 0,
    },
    "conditions": [
        {
            "type": "Ready",
            "status": "False",
            "reason": "Paused",
            "message": "no replicas",
            "lastTransitionTime": "2026-11-21T22:00:00Z",
        },
        {
            "type": "Awake",
            "status": "False",
            "reason": "NoReplicas",
            "lastTransitionTime": "2026-11-21T21:00:00Z",
        },
        {
            "type": "Progressing",
            "status": "False",
            "reason": "Stable",
            "lastTransitionTime": "2026-11-21T21:00:00Z",
        },
    ],
}
PAUSED = """\
team/llm
  0 replicas wanted, 0 pods there, 0 ready.
  The mode is Paused: Torpor does not change the number.
  No number was worked out.

Why 0
  Paused, since 2026-11-21T22:00:00Z: spec.scaling.mode is Paused, so no number is worked out; \
the number stays at 0.

What would change it
  - spec.scaling.mode Auto or Recommend works out a number again

Schedule
  outside: at most 0 now.
  From 2026-11-23T08:00:00Z office: at least 1 and at most 6.
  It opens at 2026-11-23T08:00:00Z.

Cold start
  The last one took 42.5 s.
  95 of 100 take at most 50.0 s.
  Its parts: download 30.00 s, load 9.25 s.

Engine
  A replica is taken for 70B fp8 TP4 H100 (table).
  Engines start with 512 tokens per step and 256 sequences at once, a step of 49.1 ms.
  Because: the largest step within 50 ms.
  0 of 0 ready replicas run so.

Conditions
  Ready is False since 2026-11-21T22:00:00Z (Paused): no replicas."""


def busy():
    seen = demand("gateway b is silent", pods={"llm-0": report(waitingCapacity=20, kvUtilization=0.125)})
    raw = fleet(scaling={"mode": "Recommend", "maxReplicas": 3})
    return raw | {"status": status(world(raw, replicas=1, pods=[pod(ready=True)], seen=seen))}


@pytest.mark.parametrize(
    ("raw", "page"),
    [
        (lambda: fleet(status=status(world())), ASLEEP),
        (busy, BUSY),
        (lambda: fleet(status=NIGHT), PAUSED),
    ],
)
def test_the_page(raw, page):
    assert account(raw()).text() == page


def test_the_document_has_the_facts_and_the_sentences():
    found = account(busy()).document()
    assert found["name"] == "team/llm"
    assert found["decision"]["recommendedReplicas"] == 3
    assert [part["title"] for part in found["sentences"]] == [
        "team/llm",
        "Why 1",
        "What would change it",
        "Conditions",
    ]
    json.dumps(found)


@settings(max_examples=60)
@given(
    observations(),
    policies(external=st.one_of(st.none(), st.integers(0, 9)), schedule=st.one_of(st.none(), standings)),
    memories(),
    st.sampled_from(["Auto", "Recommend", "Paused"]),
)
def test_every_signal_and_every_rule_is_told(observation, policy, memory, mode):
    rules = dataclasses.replace(policy, mode=mode)
    decision, _ = decide(observation, rules, memory, CLOCK)
    facts = Facts(world(), decision, Rollout(), policy.external, rules=rules)
    raw = fleet(status=status_of(facts, findings(facts), ColdStarts(), cluster_domain="x"))
    text = account(raw).text()
    for line in decision.clamps:
        verb = "raises" if line.after > line.before else "lowers"
        assert f". {line.name} {verb} {line.before} to {line.after}: " in text
    for reading in decision.signals:
        assert f"  {reading.name} is " in text
        if reading.raw is not None:
            assert f"; it asks for {reading.raw} replica" in text
    for sentence in raw["status"]["decision"]["wouldChange"]:
        assert sentence in text
    assert f"\nWhy {decision.replicas}\n" in text
    if decision.recommended is not None and decision.recommended != decision.replicas:
        assert f"Torpor alone would ask for {decision.recommended}." in text


def test_every_condition_out_of_the_ordinary_is_told():
    for type_ in c.CONDITION_TYPES:
        for truth in ("True", "False", "Unknown"):
            told = {"type": type_, "status": truth, "reason": "Odd", "message": "so it is"}
            raw = fleet(
                status=NIGHT | {"conditions": [told | {"lastTransitionTime": "2026-11-21T22:00:00Z"}]}
            )
            ordinary = {
                c.AWAKE: ("True", "False", "Unknown"),  # Ready and the numbers say it
                c.RECONCILING: ("True", "False", "Unknown"),  # it repeats another one
                c.STALLED: ("True", "False", "Unknown"),
                c.READY: (),
                c.EXTERNALLY_SCALED: ("False",),
                c.PROGRESSING: (),  # for another reason than Stable
            }.get(type_, ("True",))
            assert (f"{type_} is {truth}" in account(raw).text()) is (truth not in ordinary), (type_, truth)


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        ({}, "no InferenceService"),
        ({"kind": "Deployment", "metadata": {"name": "x"}}, "no InferenceService"),
        ({"kind": "InferenceService", "metadata": "x"}, "no InferenceService"),
        (fleet(), "team/llm has no status yet: no operator has looked at it; see that one runs"),
        (fleet(status=["x"]), "has no status yet"),
        (fleet(status={"observedGeneration": 0}), "has no status yet"),
        (fleet(status={"decision": 3}), "team/llm: status.decision: 3 must be an object"),
        (
            fleet(status={"decision": NIGHT["decision"] | {"clamps": [{"name": "X", "from": "1", "to": 2}]}}),
            'status.decision.clamps[0].from: "1" must be an integer',
        ),
    ],
)  # fmt: skip
def test_what_gives_no_account_says_why(raw, words):
    with pytest.raises(NoAccountError) as error:
        account(raw)
    assert words in str(error.value)


def test_texts_of_an_object_neither_drive_the_terminal_nor_fill_it():
    evil = f"\x1b[2J\nReady is True{'x' * 3000}"
    decision = NIGHT["decision"] | {"message": evil}
    raw = fleet(status=NIGHT | {"decision": decision, "engine": {"message": evil}})
    raw["metadata"]["name"] = "llm\x1b[2J"
    lines = account(raw).text().splitlines()
    assert not any("\x1b" in line for line in lines)
    assert not any(line.strip().startswith("Ready is True") for line in lines)
    assert max(map(len, lines)) <= LONGEST_LINE + 2


def test_a_reading_tells_its_age():
    told = {"llm-0": report(age=4.0, kvUtilization=0.5)}
    seen = world(replicas=1, pods=[pod(ready=True)], seen=demand(pods=told, age=6.0))
    page = account(fleet(status=status(seen))).text()
    assert "queueDepth is 0.00 (6 s old), target 4;" in page
    assert "kvCacheUtilization is 50.00 % (4 s old), target 80 %;" in page


def test_a_long_trace_is_a_page_and_not_a_book():
    many = [pod(f"llm-engines-5d8c7f9b6d-{number:05}", ready=True) for number in range(300)]
    raw = fleet(status=status(world(replicas=300, pods=many)))
    text = account(raw).text()
    assert len(text) < 16 * 1024
    assert len(text.splitlines()) < 60
