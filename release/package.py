"""The chart and the files beside it, ready to be handed out: `python -m release.package`.

    torpor-VERSION.tgz                the chart, with the images' digests where --values names them
    torpor-crds-VERSION.yaml          the resource definitions, for those who install them on their own
    torpor-rules-VERSION.yaml         alerts and recording rules, for a Prometheus without its operator
    torpor-dashboards-VERSION.tar.gz  the dashboards, for a Grafana without its sidecar
    torpor-IMAGE-VERSION.cdx.json     with --sbom: what an image's Python environment is made of (CycloneDX)
    release-notes.md                  the changelog's words about this version
    SHA256SUMS                        the hash of each, for `sha256sum --check`

The same commit and values give the same bytes. --push oci://HOST/PATH sends the chart there and prints its
reference by digest; a version that is there already with other bytes stays, and this ends with an error.
"""

import argparse
import gzip
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from e2e.cluster.paths import BIN
from e2e.cluster.python_tools import tool_venv
from release import project
from release.chart import stage
from release.project import CHART, ROOT, Refused

OUTPUT = ROOT / "build" / "package"
IMAGES = ("operator", "gateway", "engine")
SBOM_TOOL = "cyclonedx-bom==7.5.0"
_DIGEST = re.compile(r"^Digest: (sha256:[0-9a-f]{64})$", re.MULTILINE)


def helm(*arguments: str) -> str:
    """Run helm and return all it wrote. Refused with that where it fails, and where there is no helm."""
    program = _helm()
    done = subprocess.run([program, *arguments], capture_output=True, text=True, timeout=600, check=False)
    if done.returncode:
        raise Refused(f"helm {arguments[0]}: {done.stderr.strip()}\n{done.stdout.strip()}")
    return done.stdout + done.stderr


def _helm() -> str:
    found = str(BIN / "helm") if (BIN / "helm").exists() else shutil.which("helm")
    if not found:
        raise Refused("there is no helm; install Helm 3.17 or newer, or let `make charts` build it")
    return found


def package(output: Path, digests: Mapping[str, Any], *, sbom: bool = False) -> list[Path]:
    """Write the files into `output`, which is emptied before, and return them. Raises Refused."""
    version, seconds = project.version(), project.epoch()
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as temporary:
        chart = stage(Path(temporary), version, digests, seconds)
        helm("lint", "--strict", "--quiet", str(chart))
        helm("package", str(chart), "--destination", str(output))
    archive = output / f"torpor-{version}.tgz"
    # The time of the registry's manifest is that of this file.
    os.utime(archive, (seconds, seconds))
    definitions = "".join(f"---\n{path.read_text()}" for path in sorted((ROOT / "crds").glob("*.yaml")))
    (output / f"torpor-crds-{version}.yaml").write_text(definitions)
    shutil.copyfile(CHART / "files" / "rules.yaml", output / f"torpor-rules-{version}.yaml")
    boards = sorted((CHART / "files" / "dashboards").glob("*.json"))
    (output / f"torpor-dashboards-{version}.tar.gz").write_bytes(archived(boards, seconds))
    notes = project.section((ROOT / "CHANGELOG.md").read_text(), version)
    (output / "release-notes.md").write_text(f"{notes}\n")
    if sbom:
        for image in IMAGES:
            _sbom(ROOT / "locks" / f"{image}.txt", output / f"torpor-{image}-{version}.cdx.json")
    made = sorted(output.iterdir())
    sums = "".join(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in made)
    (output / "SHA256SUMS").write_text(sums)
    return [*made, output / "SHA256SUMS"]


def archived(files: Sequence[Path], seconds: int) -> bytes:
    """Return a compressed archive of the files, the same bytes for the same contents and time."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for file in files:
            entry = tarfile.TarInfo(file.name)
            entry.size, entry.mtime, entry.mode = file.stat().st_size, seconds, 0o644
            tar.addfile(entry, io.BytesIO(file.read_bytes()))
    return gzip.compress(plain.getvalue(), mtime=0)


def _sbom(lock: Path, target: Path) -> None:
    program = tool_venv("cyclonedx", [SBOM_TOOL]) / "bin" / "cyclonedx-py"
    command = [str(program), "requirements", "--output-reproducible", "--output-file", str(target), str(lock)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    if done.returncode:
        raise Refused(f"cyclonedx-py on {lock.name}: {done.stderr.strip()[-2000:]}")


def push(archive: Path, registry: str, flags: Sequence[str] = ()) -> str:
    """Push the chart to `registry` (oci://HOST/PATH) and return its digest.

    A version that is there already is compared: the same bytes are not pushed again, others are Refused.
    """
    if not registry.startswith("oci://"):
        raise Refused(f"{registry}: a registry is written oci://HOST/PATH; the chart's name is appended")
    name, _, version = archive.stem.partition("-")
    reference = f"{registry.rstrip('/')}/{name}"
    with tempfile.TemporaryDirectory() as temporary:
        try:
            told = helm("pull", reference, f"--version={version}", f"--destination={temporary}", *flags)
        except Refused:  # not there; if it is the registry that is not there, pushing says so
            told = helm("push", str(archive), registry, *flags)
        else:
            if (Path(temporary) / archive.name).read_bytes() != archive.read_bytes():
                raise Refused(
                    f"{reference}:{version} exists and differs; a published version is never replaced. "
                    "Raise the version"
                )
    digest = _DIGEST.search(told)
    if not digest:
        raise Refused(f"helm pushed to {reference} and named no digest: {told.strip()}")
    return digest[1]


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the package. Returns the exit status: 2 for what the user has to put right."""
    parser = argparse.ArgumentParser(prog="python -m release.package", description=__doc__.split("\n")[0])
    parser.add_argument("--output", type=Path, default=OUTPUT, help="folder to write into; emptied before")
    parser.add_argument("--values", type=Path, help="values to put into the chart: build/values-digests.yaml")
    parser.add_argument("--tag", help="the tag that is released; refused where it is not v and the version")
    parser.add_argument(
        "--sbom", action="store_true", help="also list what the images' environments consist of"
    )
    parser.add_argument("--push", metavar="oci://HOST/PATH", help="push the chart there")
    parser.add_argument(
        "--plain-http", action="store_true", help="push without TLS, to a registry on loopback"
    )
    chosen = parser.parse_args(arguments)
    try:
        if chosen.tag:
            project.check_tag(chosen.tag, project.version())
        files = package(chosen.output, _values(chosen.values), sbom=chosen.sbom)
        print(*files, sep="\n")
        if chosen.push:
            flags = ["--plain-http"] if chosen.plain_http else []
            digest = push(files_named(files, ".tgz"), chosen.push, flags)
            reference = f"{chosen.push.removeprefix('oci://').rstrip('/')}/torpor"
            record = {"repository": reference, "version": project.version(), "digest": digest}
            chosen.output.with_name("chart.json").write_text(json.dumps(record, indent=2) + "\n")
            print(f"oci://{reference}:{project.version()}@{digest}")
    except Refused as refused:
        print(f"error: {refused}", file=sys.stderr)
        return 2
    return 0


def files_named(files: Sequence[Path], ending: str) -> Path:
    """Return the one file with that ending."""
    (found,) = (path for path in files if path.name.endswith(ending))
    return found


def _values(file: Path | None) -> dict[str, Any]:
    if file is None:
        return {}
    try:
        given = yaml.safe_load(file.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise Refused(f"{file}: {error}") from None
    if not isinstance(given, dict):
        raise Refused(f"{file}: no mapping of values; `make images` writes build/values-digests.yaml")
    return given


if __name__ == "__main__":
    sys.exit(main())
