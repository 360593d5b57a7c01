"""What the API server refuses, and that it agrees with Python's validation.

The rules exist in two languages. Here both judge the same objects: a table of bad ones, and random specs of
which some are broken at random. Where they differ, a user is told one thing by kubectl and another by the
status.
"""

import copy
import re
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torpor.api import validation

from tests.integration.kube import Kube, refusal
from tests.unit.api.examples import BAD, FULL, Bad, fleet
from tests.unit.api.strategies import SPECS

BAD_FOR_SERVER = [bad for bad in BAD if bad.server]


def stripped(manifest: dict[str, Any], namespace: str) -> dict[str, Any]:
    """Return the object as a user writes it."""
    meta = {"name": manifest["metadata"]["name"], "namespace": namespace}
    return manifest | {"metadata": meta}


@pytest.mark.parametrize("bad", BAD_FOR_SERVER, ids=lambda bad: bad.id)
def test_bad_objects_are_refused_with_field_and_words(kube: Kube, namespace: str, bad: Bad) -> None:
    message, causes = refusal(kube.create(stripped(bad.object, namespace), dry_run=True))
    said = [
        (field, text) for field, text in causes if field.startswith(bad.path) or bad.path == "metadata.name"
    ]
    assert said, f"no cause at {bad.path} in {causes}"
    assert not re.search(r"panic|nil pointer|cost|no such key", message), message


@pytest.mark.parametrize("bad", [bad for bad in BAD if not bad.server], ids=lambda bad: bad.id)
def test_what_only_python_can_judge_is_taken_by_the_server(kube: Kube, namespace: str, bad: Bad) -> None:
    """These are the objects whose fleets say SpecValid=False. One that the server refuses belongs above."""
    answer = kube.create(stripped(bad.object, namespace), dry_run=True)
    assert answer.status_code == 201, answer.text


@pytest.mark.parametrize(
    ("identity", "words"),
    [
        ("min-above-max", "must not exceed maxReplicas; lower minReplicas or raise maxReplicas"),
        ("zero-max", "should be greater than or equal to 1"),
        ("negative-min", "should be greater than or equal to 0"),
        ("huge-max", "should be less than or equal to 1000"),
        ("nul-in-name", "must be letters, digits and"),
        ("newline-in-name", "must be letters, digits and"),
        ("nul-in-arg", "must not contain control characters"),
        ("newline-in-arg", "must not contain control characters"),
        ("our-flag", "is set by Torpor and must not be given; remove it"),
        ("unknown-scheme", "has an unknown scheme; use hf://ORG/NAME, pvc://CLAIM/PATH or image:///PATH"),
        ("64-kib-args", "must have at most 32768 characters together"),
        ("64-kib-arg", "may not be more than 8192"),
        ("long-name", "must be a DNS-1035 label of at most 45 characters"),
        ("46-characters", "must be a DNS-1035 label of at most 45 characters"),
        ("env-twice", "Duplicate value"),
    ],
)
def test_the_message_is_for_people(kube: Kube, namespace: str, identity: str, words: str) -> None:
    bad = next(it for it in BAD if it.id == identity)
    message, _ = refusal(kube.create(stripped(bad.object, namespace), dry_run=True))
    assert words in message


@pytest.mark.parametrize("spec", [{}, FULL], ids=["least", "full"])
def test_good_objects_are_accepted(kube: Kube, namespace: str, spec: dict[str, Any]) -> None:
    answer = kube.create(stripped(fleet(spec), namespace), dry_run=True)
    assert answer.status_code == 201, answer.text


# Places to break in a random spec, and what to put there. Values are chosen around the bounds.
BREAKS: list[tuple[tuple[str, ...], Any]] = [
    (("scaling", "minReplicas"), -1),
    (("scaling", "minReplicas"), 1000),
    (("scaling", "minReplicas"), 1001),
    (("scaling", "maxReplicas"), 0),
    (("scaling", "idleSeconds"), 0),
    (("drainSeconds",), 86_401),
    (("engine", "startupSeconds"), 9),
    (("engine", "args"), ["--Port=1"]),
    (("engine", "args"), ["--port"]),
    (("engine", "args"), ["a" * 8192] * 4),
    (("engine", "args"), ["a" * 8192] * 4 + ["b"]),
    (("engine", "args"), ["\x7f"]),
    (("engine", "args"), [""]),
    (("engine", "env"), [{"name": "VLLM_PORTS"}]),
    (("engine", "env"), [{"name": "TORPOR_"}]),
    (("engine", "env"), [{"name": "A", "value": "line\nline"}]),
    (("engine", "resources"), {"limits": {"cpu": "1"}, "requests": {"cpu": "1001m"}}),
    (("engine", "resources"), {"limits": {"cpu": "1"}, "requests": {"cpu": "1000m"}}),
    (("engine", "resources"), {"limits": {"cpu": "1e1"}, "requests": {"cpu": 11}}),
    (("model", "uri"), "hf://a/b/"),
    (("model", "uri"), "pvc://a/./b"),
    (("model", "uri"), "image:///a/..b"),
    (("model", "uri"), "image:///a/.."),
    (("model", "name"), "a/b"),
    (("model", "name"), "a/"),
    (("model", "revision"), "-x"),
    (("model", "cache"), {"claimName": "a", "accessMode": "ReadWriteOnce"}),
    (("model", "cache"), {"accessMode": "ReadWriteOnce"}),
    (("rollout", "strategy"), "Recreate"),
    (("traffic", "coldStart"), {"holdSeconds": 0}),
]


def broken(spec: dict[str, Any], breaks: list[tuple[tuple[str, ...], Any]]) -> dict[str, Any]:
    spec = copy.deepcopy(spec)
    for (*steps, last), value in breaks:
        target = spec
        for step in steps:
            target = target.setdefault(step, {})
        target[last] = value
    return spec


def assert_same_verdict(kube: Kube, manifest: dict[str, Any]) -> None:
    checked = validation.check(manifest)
    answer = kube.create(manifest, dry_run=True)
    assert (answer.status_code == 201) == checked.valid, f"server: {answer.text}\npython: {checked.message()}"


@pytest.mark.parametrize("at_the_bound", BREAKS, ids=lambda it: f"{'.'.join(it[0])}={str(it[1])[:30]!a}")
def test_both_draw_the_line_at_the_same_place(
    kube: Kube, namespace: str, at_the_bound: tuple[tuple[str, ...], Any]
) -> None:
    least = {"model": {"uri": "hf://org/model"}}
    assert_same_verdict(kube, stripped(fleet(broken(least, [at_the_bound])), namespace))


@given(spec=SPECS, breaks=st.lists(st.sampled_from(BREAKS), max_size=2))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_api_server_and_python_judge_alike(
    kube: Kube, namespace: str, spec: dict[str, Any], breaks: list[tuple[tuple[str, ...], Any]]
) -> None:
    assert_same_verdict(kube, stripped(fleet(broken(spec, breaks)), namespace))


def test_python_parses_what_the_server_stored_and_fills_in_the_same_defaults(
    kube: Kube, namespace: str
) -> None:
    manifest = stripped(fleet(), namespace)
    stored = kube.create(manifest, dry_run=True).json()
    by_server, by_python = validation.check(stored), validation.check(manifest)
    assert by_server.valid
    assert by_server.fleet is not None
    assert by_python.fleet is not None
    assert by_server.fleet.spec == by_python.fleet.spec


def test_a_claim_may_grow_and_not_shrink_or_move(kube: Kube, namespace: str) -> None:
    def with_cache(**cache: Any) -> dict[str, Any]:
        return stripped(fleet({"model": {"uri": "hf://a/b", "cache": cache}}), namespace)

    assert kube.create(with_cache(size="10Gi", storageClassName="a")).status_code == 201
    path = kube.path(with_cache())

    def patch(**cache: Any) -> Any:
        return kube.merge(path, {"spec": {"model": {"cache": cache}}})

    assert patch(size="20Gi").status_code == 200
    assert "cannot shrink" in refusal(patch(size="5000Mi"))[0]
    assert "cannot change storageClassName" in refusal(patch(storageClassName="b"))[0]
    assert "cannot change storageClassName" in refusal(patch(accessMode="ReadWriteMany"))[0]
    assert patch(size=None, storageClassName=None, accessMode=None, claimName="mine").status_code == 200
