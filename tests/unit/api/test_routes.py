"""
Who owns a name: the oldest, whatever the order of arrival; and a namespace's own names before strangers'
bare ones.
"""

import random

from hypothesis import given
from hypothesis import strategies as st
from torpor.api.names import FleetKey
from torpor.api.routes import BareNames, Claim, routes

EVERYWHERE = BareNames.parse("*")


def claim(namespace: str, name: str, model: str, created: str = "2026-01-01T00:00:00Z") -> Claim:
    return Claim(namespace, name, f"uid-{namespace}-{name}", created, model)


def test_the_oldest_claimant_keeps_the_bare_name_and_the_other_its_qualified_one() -> None:
    old, new = claim("b", "x", "llm", "2026-01-01T00:00:00Z"), claim("a", "y", "llm", "2026-01-02T00:00:00Z")
    table = routes([new, old], EVERYWHERE)
    assert table.owner("llm") == FleetKey("b", "x")
    assert table.owner("a/llm") == FleetKey("a", "y")
    assert table.owner("b/llm") == FleetKey("b", "x")
    (conflict,) = table.conflicts[FleetKey("a", "y")]
    assert conflict.model == "llm"
    assert "b/x" in conflict.message
    assert FleetKey("b", "x") not in table.conflicts


def test_equal_age_is_decided_by_namespace_then_name() -> None:
    table = routes([claim("b", "a", "llm"), claim("a", "z", "llm"), claim("a", "y", "llm")], EVERYWHERE)
    assert table.owner("llm") == FleetKey("a", "y")
    assert table.owner("a/llm") == FleetKey("a", "y")
    assert [conflict.model for conflict in table.conflicts[FleetKey("a", "z")]] == ["a/llm", "llm"]


def test_a_fleet_without_a_birthday_takes_nothing() -> None:
    table = routes([claim("a", "new", "llm", ""), claim("b", "old", "llm")], EVERYWHERE)
    assert table.owner("llm") == FleetKey("b", "old")


def test_bare_names_only_where_the_policy_allows() -> None:
    policy = BareNames.parse("prod, staging")
    table = routes([claim("dev", "x", "llm", "2020-01-01T00:00:00Z"), claim("prod", "x", "llm")], policy)
    assert table.owner("llm") == FleetKey("prod", "x")
    assert table.owner("dev/llm") == FleetKey("dev", "x")
    assert not table.conflicts
    assert routes([claim("prod", "x", "llm")], BareNames.parse("")).owner("llm") is None


def test_a_namespaces_own_name_beats_an_older_bare_one_of_the_same_spelling() -> None:
    squatter = claim("evil", "x", "team/llm", "2020-01-01T00:00:00Z")
    table = routes([squatter, claim("team", "x", "llm")], EVERYWHERE)
    assert table.owner("team/llm") == FleetKey("team", "x")
    assert [conflict.model for conflict in table.conflicts[squatter.key]] == ["team/llm"]
    assert table.owner("evil/team/llm") == squatter.key


CLAIMS = st.lists(
    st.builds(
        claim,
        st.sampled_from(["a", "b", "c"]),
        st.sampled_from(["x", "y", "z"]),
        st.sampled_from(["llm", "a/llm", "b/llm", "org/model"]),
        st.sampled_from(["", "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"]),
    ),
    unique_by=lambda it: it.key,
)


@given(claims=CLAIMS, seed=st.integers(0, 2**16), policy=st.sampled_from(["*", "a", "a,b", ""]))
def test_every_name_has_one_owner_who_asked_for_it_in_any_order(
    claims: list[Claim], seed: int, policy: str
) -> None:
    bare = BareNames.parse(policy)
    table = routes(claims, bare)
    mixed = claims[:]
    random.Random(seed).shuffle(mixed)
    assert routes(mixed, bare) == table
    asked = {
        it.key: {f"{it.namespace}/{it.model}"} | ({it.model} if bare.allows(it.namespace) else set())
        for it in claims
    }
    for key, wanted in asked.items():
        lost = {conflict.model: conflict.owner for conflict in table.conflicts.get(key, ())}
        got = {name for name, owner in table.owners.items() if owner == key}
        assert got | set(lost) == wanted
        assert not got & set(lost)
        assert all(table.owner(name) == owner != key for name, owner in lost.items())
