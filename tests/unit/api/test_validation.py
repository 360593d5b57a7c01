"""Each rule finds its bad object, names the field, and leaves good objects alone."""

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torpor.api import validation
from torpor.api.engine_rules import OUR_FLAGS

from tests.unit.api.examples import BAD, FULL, PLACEMENT, Bad, fleet


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: bad.id)
def test_each_rule_finds_its_bad_object(bad: Bad) -> None:
    checked = validation.check(bad.object)
    assert not checked.valid
    assert any(problem.path.startswith(bad.path) for problem in checked.problems), checked.message()
    assert bad.words in checked.message()


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: bad.id)
def test_problems_say_rule_and_next_step(bad: Bad) -> None:
    for problem in validation.check(bad.object).problems:
        assert problem.rule
        assert problem.next_step
        assert len(str(problem)) < 600
        assert str(problem).isprintable(), "control characters must not reach a condition or a terminal"


@pytest.mark.parametrize(
    "spec",
    [{}, FULL, PLACEMENT, {"engine": {"type": "Simulated"}}],
    ids=["least", "full", "placement", "simulated"],
)
def test_good_objects_are_valid(spec: dict[str, Any]) -> None:
    checked = validation.check(fleet(spec))
    assert checked.valid, checked.message()


@pytest.mark.parametrize(
    "uri", ["hf://gpt2", "hf://org/Model-7B.v1", "pvc://claim", "pvc://claim/a/b/", "image:///m/x"]
)
def test_good_uris_are_valid(uri: str) -> None:
    assert validation.check(fleet({"model": {"uri": uri}})).valid


@pytest.mark.parametrize(
    "arg", ["--max-num-seqs=8", "--max_model_len", "--portable", "--model-impl=vllm", "-O3", "--hosts"]
)
def test_the_users_flags_are_allowed(arg: str) -> None:
    assert validation.check(fleet({"engine": {"args": [arg]}})).valid


@pytest.mark.parametrize("flag", OUR_FLAGS)
def test_our_flags_are_refused_in_every_spelling_with_their_own_hint(flag: str) -> None:
    for spelling in (f"--{flag}", f"--{flag}=x", f"--{flag.replace('-', '_')}=x\ty"):
        checked = validation.check(fleet({"engine": {"args": [spelling]}}))
        assert not checked.valid
    assert OUR_FLAGS[flag] in validation.check(fleet({"engine": {"args": [f"--{flag}"]}})).message()


def test_message_shows_the_first_problems_and_counts_the_rest() -> None:
    checked = validation.check(fleet({"engine": {"args": ["--port=1"] * 9}}))
    assert checked.message(limit=2).endswith("and 7 more")


def test_a_stored_object_with_unknown_fields_still_parses() -> None:
    spec = copy.deepcopy(FULL) | {"fromTheFuture": {"x": 1}}
    assert validation.check(fleet(spec)).valid


def test_unknown_fields_are_named_with_the_nearest_known_one() -> None:
    raw = fleet({"scaling": {"min_replicas": 1}, "engine": {"podTemplate": {"tolerations": [{"kee": "a"}]}}})
    found = {problem.path: problem.next_step for problem in validation.unknown_fields(raw)}
    assert found == {
        "spec.scaling.min_replicas": "did you mean minReplicas?",
        "spec.engine.podTemplate.tolerations[0].kee": "did you mean key?",
    }


def test_no_known_field_is_called_unknown() -> None:
    assert validation.unknown_fields(fleet(FULL) | {"status": {"conditions": []}}) == ()


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=True) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
PATHS = [
    (),
    ("spec",),
    ("spec", "model"),
    ("spec", "model", "cache"),
    ("spec", "engine"),
    ("spec", "engine", "env"),
    ("spec", "engine", "resources", "limits"),
    ("spec", "engine", "podTemplate"),
    ("spec", "engine", "podTemplate", "volumes"),
    ("spec", "scaling"),
    ("spec", "drainSeconds"),
    ("metadata",),
]


@given(path=st.sampled_from(PATHS), junk=ANYTHING)
def test_junk_anywhere_is_reported_and_never_raised(path: tuple[str, ...], junk: Any) -> None:
    raw: Any = fleet(copy.deepcopy(FULL))
    if not path:
        raw = junk if isinstance(junk, dict) else {}
    else:
        target = raw
        for step in path[:-1]:
            target = target[step]
        target[path[-1]] = junk
    checked = validation.check(raw)
    assert checked.valid != bool(checked.problems)
    assert all(str(problem).isprintable() for problem in checked.problems)
    validation.unknown_fields(raw)


def test_a_problem_with_a_key_names_the_key() -> None:
    resources = {"limits": {"memory": "1Gi", "gpu": 1}}
    message = validation.check(fleet({"engine": {"resources": resources}})).message()
    assert message.startswith('spec.engine.resources.limits: {"memory": "1Gi", "gpu": 1} has a resource')
    assert validation.shown({}) == "(an empty object)"
    assert len(validation.shown({f"key{number}": 1 for number in range(10_000)})) < 200
