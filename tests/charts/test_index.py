"""The chart's annotations keep to what Artifact Hub documents for charts: names, lists of words, forms.

A misspelt annotation is not refused there but ignored, and nobody notices until the page lacks something.
"""

import re
from typing import Any

import pytest
import yaml

from charts.generate.index import PARTS
from tests.charts.rendering import CHART, ROOT, container, environment, render

PREFIX = "artifacthub.io/"
CATEGORIES = {
    "ai-machine-learning", "database", "integration-delivery", "monitoring-logging", "networking", "security",
    "storage", "streaming-messaging", "skip-prediction",
}  # fmt: skip
CAPABILITIES = {"basic install", "seamless upgrades", "full lifecycle", "deep insights", "auto pilot"}
# Lists of mappings, as YAML in a text: the keys that an entry may have and those that it must have.
LISTS: dict[str, tuple[set[str], set[str]]] = {
    "changes": ({"kind", "description", "links"}, {"kind", "description"}),
    "crds": ({"kind", "version", "name", "displayName", "description"}, {"kind", "version", "name"}),
    "images": ({"name", "image", "whitelisted", "platforms"}, {"image"}),
    "links": ({"name", "url"}, {"name", "url"}),
    "maintainers": ({"name", "email"}, {"name", "email"}),
    "recommendations": ({"url"}, {"url"}),
    "screenshots": ({"title", "url"}, {"title", "url"}),
}
FLAGS = {"containsSecurityUpdates", "operator", "prerelease"}
OTHERS = {"alternativeName", "category", "crdsExamples", "license", "operatorCapabilities", "signKey"}
ADDED_WHEN_PACKAGED = {"changes", "containsSecurityUpdates"}


def annotations() -> dict[str, str]:
    chart: dict[str, Any] = yaml.safe_load((CHART / "Chart.yaml").read_text())
    return {key.removeprefix(PREFIX): text for key, text in chart["annotations"].items()}


def problems(given: dict[str, str]) -> list[str]:
    """Return what Artifact Hub would ignore or refuse."""
    found = [f"{name}: no such annotation" for name in given.keys() - LISTS.keys() - FLAGS - OTHERS]
    for name, text in given.items():
        if not isinstance(text, str):
            found.append(f"{name}: no text")
        elif name in LISTS:
            may, must = LISTS[name]
            for entry in yaml.safe_load(text):
                if not must <= set(entry) <= may:
                    found.append(f"{name}: {entry}")
                if "url" in entry and not re.fullmatch(r"https://[^\s/]+(/\S*)?", entry["url"]):
                    found.append(f"{name}: {entry['url']} is no address")
                is_package = "artifacthub.io/packages/" in entry.get("url", "")
                if name == "recommendations" and not is_package:
                    found.append(f"{name}: {entry['url']} is no package")
        elif name in FLAGS and text not in ("true", "false"):
            found.append(f"{name}: {text!r} is no truth")
    if given.get("category") not in CATEGORIES:
        found.append("category: none of the list")
    if given.get("operatorCapabilities", "").lower() not in CAPABILITIES:
        found.append("operatorCapabilities: none of the list")
    return found


def test_every_annotation_is_one_that_the_index_knows_and_in_its_form() -> None:
    given = annotations()
    assert problems(given) == []
    wanted = {*LISTS, *FLAGS, *OTHERS} - ADDED_WHEN_PACKAGED
    # No picture of the product lies at an address yet; keyless signatures have no key to name; the name is
    # plain; who maintains it is said by the registry's owner.
    assert wanted - given.keys() == {"screenshots", "signKey", "alternativeName", "maintainers"}
    assert f"{given['license']}" == "Apache-2.0"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"recommendation": "- url: x"}, "recommendation: no such"),
        ({"links": "- name: a\n  url: torpor.dev"}, "no address"),
        ({"links": "- name: a"}, "links"),
        ({"recommendations": "- url: https://torpor.dev"}, "no package"),
        ({"prerelease": "yes"}, "no truth"),
        ({"category": "llm"}, "category"),
    ],
)
def test_what_the_index_would_ignore_is_noticed(change: dict[str, str], said: str) -> None:
    (told,) = problems(annotations() | change)
    assert said in told


def test_the_images_are_those_that_the_chart_runs() -> None:
    listed = {item["name"]: item["image"] for item in yaml.safe_load(annotations()["images"])}
    objects = render()
    run = {part: container(objects, part)["image"] for part in ("operator", "gateway")}
    assert listed == run | {"engine": environment(objects, "operator")["TORPOR_LAUNCHER_IMAGE"]}
    assert tuple(listed) == PARTS


def test_links_into_the_site_lead_to_pages() -> None:
    for link in yaml.safe_load(annotations()["links"]):
        path = link["url"].removeprefix("https://torpor.dev").strip("/")
        pages = (ROOT / "docs" / f"{path}.md", ROOT / "docs" / path / "README.md")
        assert any(page.exists() for page in pages), link


def test_the_repository_is_described_in_the_documented_form() -> None:
    told = yaml.safe_load((ROOT / "charts" / "artifacthub-repo.yml").read_text())
    assert set(told) <= {"repositoryID", "owners", "ignore"}
    ignored = [entry for entry in told["ignore"] if entry["name"] == "torpor"]
    for version, hidden in (("0.2.0", False), ("0.2.0-rc.1", False), ("0.2.0-dev.5", True)):
        assert any(re.search(entry["version"], version) for entry in ignored) is hidden
