"""The workflows are sound as far as they can be without the service that runs them.

Pinned by commit, since a tag can be moved by whoever owns an action; with the rights that they use and no
others; and the commands in them are those that the Makefile and the modules have.
"""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from release import images, package, project

ROOT = Path(__file__).parents[3]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
MAKEFILE = (ROOT / "Makefile").read_text()
PINNED = re.compile(r"^\s*- uses: [\w.-]+/[\w./-]+@[0-9a-f]{40}  # v\d+\.\d+\.\d+$")
GIVEN_BY_OTHERS = re.compile(r"\$\{\{")


def read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(path.read_text())
    return found


def steps(path: Path) -> Iterator[dict[str, Any]]:
    for job in read(path)["jobs"].values():
        yield from job["steps"]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_each_action_is_pinned_by_commit_with_its_version(path: Path) -> None:
    used = [line for line in path.read_text().splitlines() if "uses:" in line]
    assert used
    assert [line for line in used if not PINNED.match(line)] == []


def test_one_action_is_pinned_to_one_commit_everywhere() -> None:
    pins = re.findall(r"uses: (\S+)@(\S+)", "".join(path.read_text() for path in WORKFLOWS))
    assert len(dict(pins)) == len(set(pins))


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_nothing_is_allowed_that_is_not_named_and_nothing_runs_for_ever(path: Path) -> None:
    workflow = read(path)
    assert workflow["permissions"] in ({}, {"contents": "read"})
    assert workflow["concurrency"]["group"]
    for name, job in workflow["jobs"].items():
        assert job["timeout-minutes"] <= 180, name
        rights = job.get("permissions", workflow["permissions"])
        written = {right for right, level in rights.items() if level == "write"}
        if path.name == "release.yml":
            wanted = {"publish": {"packages", "id-token"}, "page": {"contents"}}.get(name, set())
            assert written == wanted, name
            assert "contents" in rights
        else:
            assert not written, name


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_scripts_are_whole_and_take_what_others_wrote_from_the_environment(path: Path) -> None:
    scripts = [step["run"] for step in steps(path) if "run" in step]
    assert scripts
    for script in scripts:
        subprocess.run(["bash", "-n"], input=script, text=True, check=True)
        assert not GIVEN_BY_OTHERS.search(script), script


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_the_commands_exist(path: Path) -> None:
    scripts = "\n".join(" ".join(step.get("run", "").split(" ")) for step in steps(path))
    for target, rest in re.findall(r"^make ([a-z-]+)(.*)", scripts, re.MULTILINE):
        rule = re.search(rf"^{target}:.*?(?=^\S|\Z)", MAKEFILE, re.MULTILINE | re.DOTALL)
        assert rule, target
        for variable in re.findall(r"\b([A-Z]+)=", rest):
            assert f"$({variable})" in rule[0], f"make {target} knows no {variable}"
    for module in re.findall(r"python3? -m ([\w.]+)", scripts):
        place = ROOT / module.replace(".", "/")
        assert place.with_suffix(".py").exists() or (place / "__main__.py").exists(), module


def test_a_release_checks_before_it_publishes_and_signs_what_it_published() -> None:
    jobs = read(ROOT / ".github/workflows/release.yml")["jobs"]
    assert (jobs["publish"]["needs"], jobs["page"]["needs"]) == ("check", "publish")
    checks = "\n".join(step.get("run", "") for step in jobs["check"]["steps"])
    assert "make check" in checks
    assert 'release.project --tag "$GITHUB_REF_NAME"' in checks
    done = [step["run"] for step in jobs["publish"]["steps"] if "run" in step]
    order = ["make images", "make package", "cosign sign --yes"]
    places = [next(n for n, script in enumerate(done) if word in script) for word in order]
    assert places == sorted(places)
    assert "ATTEST=1" in done[places[0]]
    assert "VALUES=build/values-digests.yaml" in done[places[1]]
    assert "uses" not in jobs["page"]["steps"][1]  # nothing but the files and the tool of the service
    for name in ("build/images.json", "build/chart.json", "build/values-digests.yaml"):
        assert name in done[places[2]]
    assert (images.FOLDER / "package", images.FOLDER.parent) == (package.OUTPUT, ROOT)


def test_the_check_of_the_tag_answers_in_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    found = project.version()
    assert project.main(["--tag", f"v{found}"]) == 0
    assert capsys.readouterr().out == f"{found}\n"
    assert project.main(["--tag", "v99.0.0"]) == 2
    assert capsys.readouterr().err.startswith("error: the tag v99.0.0 is not")
