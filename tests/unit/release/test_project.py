"""The versions of a release agree, and its changes are read from the changelog as it is written."""

import subprocess
from pathlib import Path

import pytest
import yaml

from charts.generate import index, values
from release import chart, project
from release.project import Change, Refused

CHANGELOG = """# Changelog

## 0.3.0 (2027-02-01)

### Added

- A new [page](docs/page.md) of
  two lines.
- Another.

### Security

- A hole.

## 0.2.0 (2027-01-01)

- Without a heading.

## 0.1.0 (2026-12-01)

The first words.

- All of it.
"""


def test_changes_have_the_kind_of_their_heading_and_no_links() -> None:
    assert project.changes(CHANGELOG, "0.3.0") == [
        Change("added", "A new page of two lines."),
        Change("added", "Another."),
        Change("security", "A hole."),
    ]
    assert project.changes(CHANGELOG, "0.1.0") == [Change("added", "All of it.")]


@pytest.mark.parametrize(
    ("text", "version", "said"),
    [
        (CHANGELOG, "0.2.0", "below no heading"),
        (CHANGELOG, "0.4.0", "nothing below '## 0.4.0'"),
        (CHANGELOG.replace("### Security", "### Faster"), "0.3.0", "'### Faster' is no kind of change"),
        ("## 1.0.0\n\n## 0.9.0\n- x\n", "1.0.0", "nothing below"),
    ],
)
def test_a_changelog_that_says_too_little_is_refused(text: str, version: str, said: str) -> None:
    with pytest.raises(Refused, match=said):
        project.changes(text, version)


def test_a_section_ends_where_the_next_begins() -> None:
    assert project.section(CHANGELOG, "0.2.0") == "- Without a heading."
    assert project.section(CHANGELOG, "0.1.0").endswith("All of it.")


def test_versions_that_disagree_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(project, "ROOT", tmp_path)
    monkeypatch.setattr(project, "CHART", tmp_path)
    (tmp_path / "pyproject.toml").write_text('[project]\nversion = "0.3.0"\n')
    (tmp_path / "CHANGELOG.md").write_text(CHANGELOG)
    (tmp_path / "Chart.yaml").write_text("version: 0.3.0\nappVersion: 0.3.0\n")
    assert project.version() == "0.3.0"
    project.check_tag("v0.3.0", "0.3.0")
    with pytest.raises(Refused, match=r"the tag 0\.3\.0 is not v0\.3\.0"):
        project.check_tag("0.3.0", "0.3.0")
    (tmp_path / "Chart.yaml").write_text("version: 0.3.0\nappVersion: 0.2.0\n")
    with pytest.raises(Refused, match=r"appVersion is 0\.2\.0"):
        project.version()


def test_the_time_is_the_given_one_or_the_commits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(project, "ROOT", tmp_path)
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    with pytest.raises(Refused, match="SOURCE_DATE_EPOCH"):
        project.epoch()  # no repository
    assert project.revision() == ""
    person = {"NAME": "A", "EMAIL": "a@example.com", "DATE": "1700000000 +0000"}
    for key, value in person.items():
        for role in ("AUTHOR", "COMMITTER"):
            monkeypatch.setenv(f"GIT_{role}_{key}", value)
    (tmp_path / "file").write_text("one")
    for arguments in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "One"]):
        subprocess.run(["git", *arguments], cwd=tmp_path, check=True)
    assert project.epoch() == 1_700_000_000
    assert len(project.revision()) == 40
    (tmp_path / "file").write_text("two")
    assert project.revision().endswith("-dirty")
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "5")
    assert project.epoch() == 5
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "yesterday")
    with pytest.raises(Refused, match="'yesterday' is no number of seconds"):
        project.epoch()


def test_values_are_filled_in_and_all_else_stays() -> None:
    text = 'a:\n  # The b.\n  b: ""  # beside\n  c: {d: x, e: y}\nb: z\n'
    found = chart.filled(text, {("a", "b"): "one: #", ("a", "c", "e"): "two"})
    assert found == 'a:\n  # The b.\n  b: "one: #"  # beside\n  c: {d: x, e: "two"}\nb: z\n'
    with pytest.raises(Refused, match=r"a\.x is no value"):
        chart.filled(text, {("a", "x"): "one"})
    with pytest.raises(Refused, match=r"a\.c is no value"):  # a mapping is not one text
        chart.filled(text, {("a", "c"): "one"})


def test_the_version_decides_what_the_index_is_told() -> None:
    read = values.read(project.CHART / "values.yaml")
    hole = [Change("security", "A hole."), Change("added", "Ä: b #c")]
    told = chart.annotations(read, "1.0.0", hole)
    assert told["artifacthub.io/containsSecurityUpdates"] == "true"
    assert told["artifacthub.io/prerelease"] == "false"
    listed = yaml.safe_load(told["artifacthub.io/changes"])
    assert listed[1] == {"kind": "added", "description": "Ä: b #c"}
    for version in ("0.9.0", "1.0.0-rc.1"):
        assert chart.annotations(read, version, [])["artifacthub.io/prerelease"] == "true"


@pytest.mark.parametrize(
    ("image", "registry", "wanted"),
    [
        ({}, "", "t/o:1.2"),
        ({"tag": "7"}, "r.example/", "r.example/t/o:7"),
        ({"registry": "own.example", "digest": "sha256:0"}, "r.example", "own.example/t/o@sha256:0"),
        ({"tag": "7", "digest": "sha256:0"}, "", "t/o:7@sha256:0"),
    ],
)
def test_the_index_names_images_as_the_templates_do(
    image: dict[str, str], registry: str, wanted: str
) -> None:
    given = {"registry": "", "repository": "t/o", "tag": "", "digest": ""} | image
    assert index.reference(given, {"imageRegistry": registry}, "1.2") == wanted


def test_a_chart_without_the_marks_of_its_images_is_refused() -> None:
    with pytest.raises(ValueError, match="put them back"):
        index.insert("annotations:\n", (), "1.0.0")
