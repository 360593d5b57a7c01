"""The chart under a tool that renders without a cluster: twice the same, its definition safe from pruning."""

import re

import pytest
import yaml
from torpor.api import constants as c

from tests.charts.rendering import CHART, ROOT, one, run

GUIDE = ROOT / "docs/guides/gitops.md"
FENCED = re.compile(r"```yaml[^\n]*\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def installation():
    """The Application of the guide that installs the chart."""
    objects = [item for block in FENCED.findall(GUIDE.read_text()) for item in yaml.safe_load_all(block)]
    (found,) = (
        item for item in objects if item["kind"] == "Application" and "chart" in item["spec"]["source"]
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
