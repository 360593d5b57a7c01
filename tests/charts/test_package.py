"""The package as users get it: the same bytes twice, digests filled in, through a real registry and back."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from e2e.registry import Registry
from release import package, project
from tests.charts.rendering import CHART, ROOT, Object, container, environment, of, one, render, run

DIGESTS = {part: f"sha256:{hashlib.sha256(part.encode()).hexdigest()}" for part in package.IMAGES}
VALUES = {"global": {"imageRegistry": "registry.example/team"}} | {
    part: {"image": {"tag": "9.9", "digest": digest}} for part, digest in DIGESTS.items()
}
SECONDS = 1_700_000_000
VERSION = project.version()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a package with digests, made by the command."""
    folder = tmp_path_factory.mktemp("package")
    values = folder / "values.yaml"
    values.write_text(yaml.safe_dump(VALUES))
    assert main(folder / "one", "--values", str(values)) == 0
    return folder / "one"


@pytest.fixture(scope="module")
def registry() -> Iterator[Registry]:
    with Registry() as running:
        yield running


def main(output: Path, *arguments: str) -> int:
    before = os.environ.get("SOURCE_DATE_EPOCH")
    os.environ["SOURCE_DATE_EPOCH"] = str(SECONDS)
    try:
        return package.main(["--output", str(output), *arguments])
    finally:
        del os.environ["SOURCE_DATE_EPOCH"]
        if before is not None:
            os.environ["SOURCE_DATE_EPOCH"] = before


def unpacked(made: Path, folder: Path) -> Path:
    with tarfile.open(made / f"torpor-{VERSION}.tgz") as tar:
        tar.extractall(folder, filter="data")
    return folder / "torpor"


def test_every_file_is_there_with_its_hash(made: Path) -> None:
    names = {path.name for path in made.iterdir()}
    assert names == {
        f"torpor-{VERSION}.tgz", f"torpor-crds-{VERSION}.yaml", f"torpor-rules-{VERSION}.yaml",
        f"torpor-dashboards-{VERSION}.tar.gz", "release-notes.md", "SHA256SUMS",
    }  # fmt: skip
    subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=made, check=True)
    listed = {line.split()[1] for line in (made / "SHA256SUMS").read_text().splitlines()}
    assert listed == names - {"SHA256SUMS"}
    definitions = list(yaml.safe_load_all((made / f"torpor-crds-{VERSION}.yaml").read_text()))
    assert [found["kind"] for found in definitions if found] == ["CustomResourceDefinition"]
    with tarfile.open(made / f"torpor-dashboards-{VERSION}.tar.gz") as tar:
        boards = {Path(name).name for name in tar.getnames()}
    assert boards == {path.name for path in (CHART / "files" / "dashboards").iterdir()}
    assert (made / f"torpor-rules-{VERSION}.yaml").read_text() == (CHART / "files" / "rules.yaml").read_text()


def test_the_same_commit_gives_the_same_bytes(made: Path, tmp_path: Path) -> None:
    copy = tmp_path / "values.yaml"
    copy.write_text(yaml.safe_dump(VALUES))
    # A checkout of another day: what a clone does to times must not show.
    touched = CHART / "values.yaml"
    before = touched.stat()
    os.utime(touched, (SECONDS + 5, SECONDS + 5))
    try:
        assert main(tmp_path / "again", "--values", str(copy)) == 0
    finally:
        os.utime(touched, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (tmp_path / "again" / "SHA256SUMS").read_text() == (made / "SHA256SUMS").read_text()
    with tarfile.open(made / f"torpor-{VERSION}.tgz") as tar:
        assert {entry.mtime for entry in tar} == {SECONDS}


def test_the_packaged_chart_installs_the_images_that_were_built(made: Path, tmp_path: Path) -> None:
    chart = unpacked(made, tmp_path)
    objects = render(chart=chart)
    for part in ("operator", "gateway"):
        wanted = f"registry.example/team/torpor/{part}:9.9@{DIGESTS[part]}"
        assert container(objects, part)["image"] == wanted
    wanted = f"registry.example/team/torpor/engine:9.9@{DIGESTS['engine']}"
    assert environment(objects, "operator")["TORPOR_LAUNCHER_IMAGE"] == wanted
    pins = re.compile(r"registry\.example/team/|:9\.9@sha256:[0-9a-f]{64}")

    def bare(found: list[Object]) -> str:
        # The token is another one in each rendering.
        return json.dumps([item for item in found if item["kind"] != "Secret"], sort_keys=True)

    assert pins.sub("", bare(objects)) == bare(render()).replace(f":{VERSION}", "")
    assert "# Digest, sha256:...; wins over the tag." in (chart / "values.yaml").read_text()
    schema = json.loads((chart / "values.schema.json").read_text())
    image = schema["properties"]["gateway"]["properties"]["image"]["properties"]
    assert image["digest"]["default"] == DIGESTS["gateway"]
    assert (
        f'| `gateway.image.digest` | Digest, sha256:...; wins over the tag. | `"{DIGESTS["gateway"]}"` |'
        in (chart / "README.md").read_text()
    )
    assert (chart / "LICENSE").read_text() == (ROOT / "LICENSE").read_text()


def test_a_registry_hands_out_what_was_pushed(
    made: Path, registry: Registry, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    there = f"oci://{registry.address}/team/charts"
    values = tmp_path / "values.yaml"
    values.write_text(yaml.safe_dump(VALUES))
    assert main(tmp_path / "out", "--values", str(values), "--push", there, "--plain-http") == 0
    reference = capsys.readouterr().out.splitlines()[-1]
    digest = reference.rpartition("@")[2]
    assert reference == f"{there}/torpor:{VERSION}@{digest}"
    assert re.fullmatch(r"sha256:[0-9a-f]{64}", digest)
    recorded = json.loads((tmp_path / "chart.json").read_text())
    assert recorded["digest"] == digest
    assert f"oci://{recorded['repository']}" == f"{there}/torpor"

    told = run("pull", f"{there}/torpor", f"--version={VERSION}", "--plain-http", f"--destination={tmp_path}")
    assert digest in told or digest in run("show", "chart", f"{there}/torpor@{digest}", "--plain-http")
    archive = tmp_path / f"torpor-{VERSION}.tgz"
    assert archive.read_bytes() == (made / archive.name).read_bytes()
    # What the page of the five-minute start does, from the registry and by digest.
    rendered = run(
        "install", "torpor", f"{there}/torpor@{digest}", "--plain-http", "--dry-run=client",
        "--namespace=torpor-system",
    )  # fmt: skip
    assert f"registry.example/team/torpor/operator:9.9@{DIGESTS['operator']}" in rendered
    assert "Torpor" in rendered.partition("NOTES:")[2]


def test_a_version_in_a_registry_is_never_replaced(registry: Registry, tmp_path: Path) -> None:
    there, archive = f"oci://{registry.address}/kept", tmp_path / "one" / f"torpor-{VERSION}.tgz"
    assert main(tmp_path / "one") == 0
    first = package.push(archive, there, ["--plain-http"])
    asked = registry.log().count("PUT ")
    assert package.push(archive, there, ["--plain-http"]) == first  # the same bytes: nothing is sent
    assert registry.log().count("PUT ") == asked
    values = tmp_path / "values.yaml"
    values.write_text(yaml.safe_dump(VALUES))
    assert main(tmp_path / "other", "--values", str(values), "--push", there, "--plain-http") == 2
    assert registry.log().count("PUT ") == asked
    assert package.push(archive, there, ["--plain-http"]) == first


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--tag", "v9.9.9"], f"the tag v9.9.9 is not v{VERSION}"),
        (["--values", "nowhere.yaml"], "nowhere.yaml"),
        (["--push", "registry.example/charts"], "oci://HOST/PATH"),
        (["--push", "oci://127.0.0.1:1/charts", "--plain-http"], "refused"),
    ],
)
def test_what_cannot_be_released_is_said_in_a_line(
    arguments: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(tmp_path / "out", *arguments) == 2
    told = capsys.readouterr().err
    assert said in told
    assert "Traceback" not in told


def test_a_digest_that_is_none_and_a_value_that_does_not_exist_are_refused(tmp_path: Path) -> None:
    for values, said in (
        ({"gateway": {"image": {"digest": "sha256:abc"}}}, "digest"),
        ({"gatway": {"image": {"digest": DIGESTS["gateway"]}}}, "gatway.image.digest is no value"),
        ({"gateway": {"workers": 3}}, "gateway.workers: 3 is no text"),
    ):
        with pytest.raises(project.Refused, match=said):
            package.package(tmp_path / "out", values)


def test_the_index_is_told_what_it_asks_for(made: Path, tmp_path: Path) -> None:
    chart = unpacked(made, tmp_path)
    notes = yaml.safe_load((chart / "Chart.yaml").read_text())["annotations"]
    images = yaml.safe_load(notes["artifacthub.io/images"])
    assert {item["name"]: item["image"].rpartition("@")[2] for item in images} == DIGESTS
    listed = yaml.safe_load(notes["artifacthub.io/changes"])
    written = project.changes((ROOT / "CHANGELOG.md").read_text(), VERSION)
    assert [(item["kind"], item["description"]) for item in listed] == [(c.kind, c.text) for c in written]
    assert len(listed) == len(re.findall(r"^- ", (made / "release-notes.md").read_text(), re.MULTILINE))
    assert not [item for item in listed if re.search(r"\]\(", item["description"])]
    assert notes["artifacthub.io/containsSecurityUpdates"] == "false"
    assert notes["artifacthub.io/prerelease"] == "true"


def test_a_packaged_chart_is_packaged_by_helm_as_it_is(made: Path, tmp_path: Path) -> None:
    # The archive is one that helm takes for a chart, with nothing of the checkout beside it.
    shutil.copy(made / f"torpor-{VERSION}.tgz", tmp_path / "chart.tgz")
    assert f"version: {VERSION}" in run("show", "chart", str(tmp_path / "chart.tgz"))
    with tarfile.open(tmp_path / "chart.tgz") as tar:
        names = set(tar.getnames())
    assert not [name for name in names if ".git" in name or "__pycache__" in name]
    assert {"torpor/Chart.yaml", "torpor/values.yaml", "torpor/values.schema.json", "torpor/LICENSE"} <= names
    assert one(of(render(chart=tmp_path / "chart.tgz"), "Deployment", "torpor-gateway"), "Deployment")
