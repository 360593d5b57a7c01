"""The chart under a tool that renders without a cluster: twice the same, its definition safe from pruning."""

import pytest
import yaml
from torpor.api import constants as c

from tests.charts.rendering import CHART, ROOT, one, run
from tests.docs.blocks.reading import documents

GUIDE = ROOT / "docs/guides/gitops.md"


def installation():
    """The Application of the guide that installs the chart."""
    (found,) = (
        item
        for item in documents(GUIDE)
        if item["kind"] == "Application" and "chart" in item["spec"]["source"]
    )
    return found


def rendered(values, folder):
    path = folder / "values.yaml"
    path.write_text(yaml.safe_dump(values))
    return run("template", "torpor", str(CHART), "--namespace=torpor-system", f"--values={path}")


@pytest.fixture
def values():
    return installation()["spec"]["source"]["helm"]["valuesObject"]


def test_the_guides_values_render_twice_the_same(values, tmp_path):
    assert rendered(values, tmp_path) == rendered(values, tmp_path)


def test_without_a_secret_of_ones_own_each_rendering_differs(values, tmp_path):
    del values["demandToken"]
    assert rendered(values, tmp_path) != rendered(values, tmp_path), "the guide need not ask for one"


def test_neither_pruning_nor_deleting_takes_the_definition(values, tmp_path):
    objects = list(yaml.safe_load_all(rendered(values, tmp_path)))
    definition = one(objects, "CustomResourceDefinition", c.CRD_NAME)
    assert definition["metadata"]["annotations"] == {
        "argocd.argoproj.io/sync-options": "Prune=false,Delete=false",
        "helm.sh/resource-policy": "keep",
    }
