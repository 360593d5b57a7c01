"""Each life of a fleet as the tools that deploy judge it: kstatus, Argo CD, Flux with our expressions."""

import json
from pathlib import Path

import pytest
from torpor.api import constants as c

from tests.docs.blocks.reading import documents as of_page
from tests.integration.gitops.tools import LUA, ROOT, verdicts
from tests.unit.control.lives import CURRENT, FAILED, IN_PROGRESS, LIVES, SUSPENDED

GUIDE = ROOT / "docs/guides/gitops.md"


def documents(kind):
    """The objects of that kind in the guide."""
    found = [item for item in of_page(GUIDE) if item.get("kind") == kind]
    assert found, f"no {kind} in {GUIDE.name}"
    return found


@pytest.fixture(scope="module")
def judged(binary, tmp_path_factory):
    """Life -> what each tool says."""
    (rules,) = (
        rule
        for item in documents("Kustomization")
        for rule in item["spec"].get("healthCheckExprs", ())
        if (rule["apiVersion"], rule["kind"]) == (c.API_VERSION, c.KIND)
    )
    path = tmp_path_factory.mktemp("flux") / "expressions.json"
    path.write_text(json.dumps(rules))
    told = verdicts(binary, [life.item for life in LIVES], f"--expressions={path}")
    assert len(told) == len(LIVES)
    return dict(zip((life.name for life in LIVES), told, strict=True))


@pytest.mark.parametrize("life", LIVES, ids=lambda life: life.name)
def test_kstatus_says_what_a_person_would(life, judged):
    told = judged[life.name]["kstatus"]
    assert told["status"] == life.status, told
    if life.status == FAILED:
        (stalled,) = (it for it in life.item["status"]["conditions"] if it["type"] == c.STALLED)
        assert told["message"] == stalled["message"], "whoever deployed it reads why"


@pytest.mark.parametrize("life", [life for life in LIVES if life.argo], ids=lambda life: life.name)
def test_argo_cd_says_it_too_with_the_reason(life, judged):
    told = judged[life.name]["argo"]
    assert told["status"] == life.argo, told
    assert told["message"].startswith(life.reason or "waiting for Torpor's operator"), told


@pytest.mark.parametrize("life", LIVES, ids=lambda life: life.name)
def test_the_guides_expressions_for_flux_let_a_fleet_be_kept_at_zero(life, judged):
    wanted = {SUSPENDED: CURRENT, None: IN_PROGRESS}.get(life.argo, life.status)
    assert judged[life.name]["flux"]["status"] == wanted


def test_the_guide_has_the_health_check_that_the_chart_ships():
    (patch,) = documents("ConfigMap")
    assert patch["data"] == {
        f"resource.customizations.health.{c.GROUP}_{c.KIND}": Path(LUA).read_text(),
    }


def test_a_health_check_that_is_wrong_does_not_pass(binary, tmp_path):
    """The judge is no formality: a library that the sandbox lacks is an error there as well."""
    script = tmp_path / "health.lua"
    script.write_text('return { status = string.format("%s", "Healthy") }')
    with pytest.raises(AssertionError, match="string"):
        verdicts(binary, [LIVES[0].item], f"--lua={script}")
