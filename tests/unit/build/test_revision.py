"""What changes a revision, and what keeps the pods that run."""

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torpor.api import constants
from torpor.api.types import Engine, InferenceService
from torpor.build import children, revision_of

from tests.unit.api.examples import FULL, fleet
from tests.unit.api.strategies import SPECS
from tests.unit.build.test_children import INSTALLATION, UPGRADED, build, parse

Object = dict[str, Any]
DEPLOYMENT = "Deployment/smol-engines"


def changed(path: str, value: Any) -> Object:
    spec = copy.deepcopy(FULL)
    target = spec
    *steps, last = path.split(".")
    for step in steps:
        target = target[step]
    target[last] = value
    return spec


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("model.uri", "hf://org/other"),
        ("model.name", "other"),
        ("model.revision", "v2"),
        ("model.tokenSecretRef", {"name": "other"}),
        ("model.cache", {"claimName": "other"}),
        ("engine.image", "vllm/vllm-openai:v0.34.0"),
        ("engine.args", []),
        ("engine.env", []),
        ("engine.type", "Simulated"),
        ("engine.resources", {}),
        ("engine.startupSeconds", 901),
        ("engine.podTemplate", {}),
        ("drainSeconds", 601),
    ],
)
def test_an_input_of_the_pods_changes_the_revision(path: str, value: Any) -> None:
    assert revision_of(parse(changed(path, value))) != revision_of(parse(FULL))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("scaling", {"maxReplicas": 3}),
        ("traffic", {}),
        ("rollout", {"strategy": "InPlace"}),
        ("model.cache", {"size": "200Gi", "storageClassName": "fast", "accessMode": "ReadWriteMany"}),
    ],
)
def test_what_is_no_input_of_the_pods_changes_nothing(path: str, value: Any) -> None:
    assert revision_of(parse(changed(path, value))) == revision_of(parse(FULL))


@given(spec=SPECS)
def test_written_defaults_and_absent_fields_have_the_same_revision(spec: Object) -> None:
    sparse = parse(spec)
    filled = InferenceService.model_validate(fleet(sparse.spec.to_wire()))
    assert revision_of(filled) == revision_of(sparse)
    assert len(revision_of(sparse)) == 10
    assert int(revision_of(sparse), 16) >= 0


def test_the_name_of_the_model_counts_as_it_is_served() -> None:
    implicit, explicit = (
        parse(),
        parse({"model": {"uri": "hf://HuggingFaceTB/SmolLM2-135M-Instruct", "name": "smol"}}),
    )
    assert revision_of(implicit) == revision_of(explicit)


def live(replicas: int, **spec: Any) -> Object:
    """Return the Deployment as an API server gives it back: defaults filled in, status present."""
    found = copy.deepcopy(build(spec or None, replicas=replicas)[DEPLOYMENT])
    found["spec"]["template"]["metadata"]["creationTimestamp"] = None
    found["spec"]["template"]["spec"]["dnsPolicy"] = "ClusterFirst"
    found["status"] = {"replicas": replicas}
    return found


def test_an_upgrade_of_the_installation_restarts_no_engine() -> None:
    running = live(2)
    after = build(replicas=3, live=running, installation=UPGRADED)[DEPLOYMENT]
    expected = copy.deepcopy(running["spec"]["template"])
    del expected["metadata"]["creationTimestamp"]
    assert after["spec"]["template"] == expected
    assert after["spec"]["replicas"] == 3


def test_a_changed_input_takes_the_new_template() -> None:
    after = build({"drainSeconds": 5}, replicas=2, live=live(2), installation=UPGRADED)[DEPLOYMENT]
    assert after["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] == 25
    assert after["spec"]["template"]["spec"]["initContainers"][0]["image"] == UPGRADED.launcher_image
    assert after["metadata"]["annotations"][constants.ANNOTATION_REVISION] == revision_of(
        parse({"drainSeconds": 5})
    )


def test_at_zero_the_newer_template_costs_nothing_and_is_taken() -> None:
    after = build(replicas=1, live=live(0), installation=UPGRADED)[DEPLOYMENT]
    assert after["spec"]["template"]["spec"]["initContainers"][0]["image"] == UPGRADED.launcher_image


def test_pods_that_are_still_going_away_keep_the_template() -> None:
    leaving = live(0)
    leaving["status"]["replicas"] = 1
    after = build(replicas=0, live=leaving, installation=UPGRADED)[DEPLOYMENT]
    assert after["spec"]["template"]["spec"]["initContainers"][0]["image"] == INSTALLATION.launcher_image


@pytest.mark.parametrize(
    "strange", [{}, {"spec": None}, {"spec": {"template": None}}, {"spec": {"template": {"metadata": None}}}]
)
def test_a_strange_live_object_is_replaced(strange: Object) -> None:
    assert children(parse(), INSTALLATION, 1, strange) == children(parse(), INSTALLATION, 1)


@given(spec=SPECS, replicas=st.integers(1, 9))
def test_applying_the_result_again_changes_nothing(spec: Object, replicas: int) -> None:
    first = build(spec, replicas=replicas)[DEPLOYMENT]
    assert build(spec, replicas=replicas, live=first)[DEPLOYMENT] == first


class NewerEngine(Engine):
    """The engine of a later version, which has one more field."""

    warmup_tokens: int = 1
    """A field with a default."""


def test_a_field_that_a_later_version_adds_changes_no_revision() -> None:
    fleet_now = parse(FULL)
    engine_later = NewerEngine.model_validate(FULL["engine"])
    spec_later = fleet_now.spec.model_copy(update={"engine": engine_later})
    assert revision_of(fleet_now.model_copy(update={"spec": spec_later})) == revision_of(fleet_now)
