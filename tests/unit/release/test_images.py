"""Each builder is told the same, digests come from its own record, and the values name what was built.

The builders here are scripts that write down their arguments; that real ones understand them is seen when
images are built.
"""

import json
import re
from pathlib import Path

import jsonschema
import pytest
import yaml

from release import builders, images
from release.project import ROOT, Refused

DIGEST = "sha256:" + "a" * 64
# Answers every question, and leaves a digest where it is told to leave one.
SCRIPT = f"""#!/bin/sh
echo "${{0##*/}} $*" >> "$LOG"
for word in "$@"; do
  case "$word" in
    --digestfile=*) printf '{DIGEST}' > "${{word#--digestfile=}}" ;;
    --metadata-file=*) printf '{{"containerimage.digest": "{DIGEST}"}}' > "${{word#--metadata-file=}}" ;;
  esac
done
case "$FAIL" in "") ;; *) case "$*" in *"$FAIL"*) exit 3 ;; esac ;; esac
"""


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make all three builders answer; return the folder they are in."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in builders.BUILDERS:
        (folder / name).write_text(SCRIPT)
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setenv("LOG", str(tmp_path / "log"))
    monkeypatch.setenv("FAIL", "")
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    return folder


def asked(tools: Path) -> list[str]:
    log = tools.parent / "log"
    return log.read_text().splitlines() if log.exists() else []


def main(tools: Path, *arguments: str) -> int:
    return images.main(["--output", str(tools.parent / "build"), *arguments])


@pytest.mark.parametrize("builder", builders.BUILDERS)
def test_what_was_built_is_written_down_by_digest(
    builder: str, tools: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ("--builder", builder, "--registry", "r.example:5000/team/", "--tag", "9.9", "--push")
    assert main(tools, *given, "--platforms", "linux/amd64,linux/arm64", "--base", f"b:1@{DIGEST}") == 0
    built = [line for line in asked(tools) if " build " in line and "--file" in line]
    assert [re.findall(r"--file (\S+)", line)[0] for line in built] == list(images.DOCKERFILES.values())
    for line in built:
        assert line.startswith(builder)
        assert "--platform linux/amd64,linux/arm64" in line
        assert f"--build-arg=BASE=b:1@{DIGEST}" in line
        assert "--label=org.opencontainers.image.created=2023-11-14T22:13:20Z" in line
        assert f"--label=org.opencontainers.image.base.digest={DIGEST}" in line
        assert "1700000000" in line.replace("2023-11-14", "")
        assert "--tls-verify=false" not in line
    record = json.loads((tools.parent / "build" / "images.json").read_text())
    assert record["platforms"] == ["linux/amd64", "linux/arm64"]
    wanted = [f"r.example:5000/team/torpor/{name}:9.9" for name in images.DOCKERFILES]
    assert [(item["reference"], item["digest"]) for item in record["images"]] == [(w, DIGEST) for w in wanted]
    assert capsys.readouterr().out.splitlines() == [f"{name}@{DIGEST}" for name in wanted]
    values = yaml.safe_load((tools.parent / "build" / "values-digests.yaml").read_text())
    jsonschema.validate(values, json.loads((ROOT / "charts/torpor/values.schema.json").read_text()))
    assert values["global"]["imageRegistry"] == "r.example:5000/team"
    assert values["engine"]["image"] == {"repository": "torpor/engine", "tag": "9.9", "digest": DIGEST}


@pytest.mark.parametrize("builder", builders.BUILDERS)
def test_nothing_is_pushed_unless_it_is_asked_for(builder: str, tools: Path) -> None:
    assert main(tools, "gateway", "--builder", builder) == 0
    said = "\n".join(asked(tools))
    assert "push=true" not in said
    assert "docker://" not in said
    (image,) = json.loads((tools.parent / "build" / "images.json").read_text())["images"]
    assert (image["name"], image["archive"]) == ("gateway", "images/gateway.tar")
    assert str(tools.parent / "build" / "images" / "gateway.tar") in said
    assert not (
        tools.parent / "build" / "values-digests.yaml"
    ).exists()  # no registry, nothing to install from


def test_the_first_builder_that_answers_is_taken(tools: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert images.find_builder() == "docker"
    monkeypatch.setenv("FAIL", "info")  # docker's client without its daemon, podman without its machine
    assert images.find_builder() == "buildah"
    (tools / "buildah").unlink()
    with pytest.raises(Refused, match="no builder of images answers"):
        images.find_builder()
    with pytest.raises(Refused, match=r"^podman: no builder"):
        images.find_builder("podman")


def test_a_list_of_platforms_begins_empty(tools: Path) -> None:
    assert (
        main(tools, "engine", "--builder", "buildah", "--registry", "r.example", "--push", "--insecure") == 0
    )
    # The probe, then: forget, build, push.
    assert [" ".join(line.split()[:3]) for line in asked(tools)[1:]] == [
        "buildah manifest rm", "buildah build --file", "buildah manifest push",
    ]  # fmt: skip
    assert "--tls-verify=false" in asked(tools)[-1]
    assert asked(tools)[-1].endswith("r.example/torpor/engine:0.1.0 docker://r.example/torpor/engine:0.1.0")


def test_statements_of_the_build_are_added_where_they_are_asked_for(tools: Path) -> None:
    assert main(tools, "engine", "--builder", "docker") == 0
    assert "--provenance=false --sbom=false" in asked(tools)[-1]
    assert main(tools, "engine", "--builder", "docker", "--attest") == 0
    assert "--attest=type=provenance,mode=max --attest=type=sbom" in asked(tools)[-1]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--push"], "--push needs --registry"),
        (["--registry", "https://r.example"], "without a scheme"),
        (["--tag", "a b"], "--tag a b"),
        (["--platforms", "arm64"], "--platforms arm64"),
        (["launcher"], "launcher is no image"),
        (["--builder", "podman", "--attest"], "docker alone"),
    ],
)
def test_what_cannot_be_built_is_said_in_a_line(
    arguments: list[str], said: str, tools: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(tools, *arguments) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: ")
    assert said in told
    assert not [line for line in asked(tools) if "--file" in line]


def test_a_build_that_fails_leaves_no_digests(
    tools: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FAIL", "Dockerfile.gateway")
    assert main(tools, "--builder", "docker", "--registry", "r.example", "--push") == 2
    assert "ended with 3" in capsys.readouterr().err
    assert not (tools.parent / "build" / "values-digests.yaml").exists()
    for text in ("", "sha256:1", "{}", '{"containerimage.digest": 3}'):
        with pytest.raises(ValueError, match="recorded no digest"):
            builders.digest(text)


def test_no_time_of_a_build_is_in_an_image() -> None:
    # pip's byte code has the times of files in it, which a reproducible image does not keep.
    for name, dockerfile in images.DOCKERFILES.items():
        text = (ROOT / dockerfile).read_text()
        installs = [part for part in text.split("\nRUN ") if "--target=/opt/torpor/lib" in part]
        assert installs, name
        for install in installs:
            assert "--no-compile" in install
            assert "compileall -q --invalidation-mode unchecked-hash /opt/torpor/lib" in install
        assert images.default_base(dockerfile).startswith("python:3.11")
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert {"**/__pycache__", "**/*.pyc", ".git", ".venv"} <= set(ignored)
