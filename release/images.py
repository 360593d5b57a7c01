"""The three images, built and named by digest: `python -m release.images --registry HOST/PATH --push`.

The builder is the machine's: docker with buildx, podman or buildah, whichever answers first. Written are

    build/images.json           what was built from what: names, digests, platforms, commit
    build/values-digests.yaml   the same as values of the chart, for `helm install -f` and `make package`

and, without --push, build/images/IMAGE.tar, archives that a tool which keeps digests brings to a registry.

Times in the images are the commit's, dependencies are pinned by hash in locks/, byte code does not depend on
file times, and caches of the checkout stay out (.dockerignore): the same commit on the same base gives the
same bytes. The base is pinned by version in the Dockerfiles, since its digest differs from mirror to mirror;
--base and --build-base take one with its digest.
"""

import argparse
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from release import builders, project
from release.builders import Build
from release.project import CHART, ROOT, Refused

DOCKERFILES = {
    "operator": "operator/Dockerfile",
    "gateway": "runtime/Dockerfile.gateway",
    "engine": "runtime/Dockerfile.engine",
}
DESCRIPTIONS = {
    "operator": "Torpor's operator: decides how many replicas a fleet needs, down to none",
    "gateway": "Torpor's gateway: holds requests while a fleet wakes",
    "engine": "Torpor's side of an engine pod: the launcher, and a simulated engine",
}
FOLDER = ROOT / "build"
_REGISTRY = re.compile(r"[A-Za-z0-9.-]+(:[0-9]+)?(/[a-z0-9]+([._-]+[a-z0-9]+)*)*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_PLATFORM = re.compile(r"[a-z0-9]+/[a-z0-9]+(/[a-z0-9]+)?")


def find_builder(wanted: str = "") -> str:
    """Return the first builder that answers, or the wanted one. Refused where none does."""
    for builder in (wanted,) if wanted else builders.BUILDERS:
        if all(_answers(probe) for probe in builders.PROBES[builder]):
            return builder
    raise Refused(
        f"{wanted or ', '.join(builders.BUILDERS)}: no builder of images answers; install docker with "
        "buildx, podman or buildah, or start it"
    )


def _answers(command: Sequence[str]) -> bool:
    try:
        return subprocess.run(command, capture_output=True, timeout=60, check=False).returncode == 0
    except (FileNotFoundError, PermissionError, subprocess.TimeoutExpired):
        return False


def labels(name: str, *, version: str, revision: str, source: str, base: str, seconds: int) -> dict[str, str]:
    """Return what an image says of itself (org.opencontainers.image.*); what is not known is left out."""
    said = {
        "title": f"torpor-{name}",
        "description": DESCRIPTIONS[name],
        "version": version,
        "revision": revision,
        "source": source,
        "url": str(yaml.safe_load((CHART / "Chart.yaml").read_text())["home"]),
        "licenses": "Apache-2.0",
        "created": datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "base.name": base.partition("@")[0],
        "base.digest": base.partition("@")[2],
    }
    return {f"org.opencontainers.image.{key}": value for key, value in said.items() if value}


def default_base(dockerfile: str) -> str:
    """Return the base image that a Dockerfile names itself."""
    found = re.search(r"^ARG BASE=(\S+)$", (ROOT / dockerfile).read_text(), re.MULTILINE)
    if found is None:
        raise Refused(f"{dockerfile} has no line 'ARG BASE=…'; put it back")
    return found[1]


def repositories() -> dict[str, str]:
    """Return the repository of each image as the chart's values name it."""
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    return {name: str(values[name]["image"]["repository"]) for name in DOCKERFILES}


def planned(chosen: argparse.Namespace, folder: Path, scratch: Path) -> Iterator[tuple[str, Build]]:
    """Yield each image's name and what to build. Raises Refused."""
    version, seconds, revision = project.version(), project.epoch(), project.revision()
    _check(chosen)
    prefix = chosen.registry.rstrip("/") or "localhost"
    for name in chosen.images or DOCKERFILES:
        repository, dockerfile = repositories()[name], DOCKERFILES[name]
        base = chosen.base or default_base(dockerfile)
        arguments = {"BASE": base}
        if chosen.build_base and "ARG BUILD_BASE=" in (ROOT / dockerfile).read_text():
            arguments["BUILD_BASE"] = chosen.build_base
        told = labels(
            name, version=version, revision=revision, source=chosen.source, base=base, seconds=seconds
        )
        yield (
            name,
            Build(
                dockerfile=dockerfile,
                reference=f"{prefix}/{repository}:{chosen.tag or version}",
                platforms=tuple(chosen.platforms.split(",")),
                labels=told,
                arguments=arguments,
                seconds=seconds,
                archive=folder / "images" / f"{name}.tar",
                record=scratch / f"{name}.digest",
                push=chosen.push,
                insecure=chosen.insecure,
                attest=chosen.attest,
                flags=tuple(shlex.split(chosen.flags)),
            ),
        )


def _check(chosen: argparse.Namespace) -> None:
    if chosen.registry and not _REGISTRY.fullmatch(chosen.registry.rstrip("/")):
        raise Refused(f"--registry {chosen.registry}: a registry is HOST[:PORT][/PATH], without a scheme")
    if chosen.push and not chosen.registry:
        raise Refused("--push needs --registry: nothing is pushed to where nobody said")
    if chosen.tag and not _TAG.fullmatch(chosen.tag):
        raise Refused(
            f"--tag {chosen.tag}: a tag has up to 128 letters, digits, dots, dashes and underscores"
        )
    if unknown := set(chosen.images) - DOCKERFILES.keys():
        raise Refused(f"{unknown.pop()} is no image; they are {', '.join(DOCKERFILES)}")
    for platform in chosen.platforms.split(","):
        if not _PLATFORM.fullmatch(platform):
            raise Refused(f"--platforms {platform}: a platform is OS/ARCHITECTURE, such as linux/arm64")


def made(builder: str, wanted: Build) -> str:
    """Build one image and push or save it; return its digest. Refused with the builder's last words."""
    wanted.archive.parent.mkdir(parents=True, exist_ok=True)
    wanted.archive.unlink(missing_ok=True)
    if cleaning := builders.cleaning(builder, wanted):
        subprocess.run(cleaning, capture_output=True, check=False)  # there is none the first time
    for command in builders.commands(builder, wanted):
        done = subprocess.run(command, cwd=ROOT, check=False, stdout=2)  # standard output is for answers
        if done.returncode:
            raise Refused(f"{shlex.join(command[:3])} ended with {done.returncode}; its reason stands above")
    try:
        return builders.digest(wanted.record.read_text())
    except (OSError, ValueError) as error:
        raise Refused(f"{wanted.reference}: {error}") from None


def values(registry: str, builds: Mapping[str, Build], digests: Mapping[str, str]) -> str:
    """Return the images as values of the chart, by digest; the tag stays beside it for the reader."""
    told: dict[str, Any] = {"global": {"imageRegistry": registry.rstrip("/")}}
    for name, build in builds.items():
        image = {"repository": repositories()[name], "tag": build.reference.rpartition(":")[2]}
        told[name] = {"image": {**image, "digest": digests[name]}}
    return yaml.safe_dump(told, sort_keys=False)


def main(arguments: Sequence[str] | None = None) -> int:
    """Build all images. Returns the exit status: 2 for what the user has to put right."""
    chosen = _parser().parse_args(arguments)
    folder: Path = chosen.output
    try:
        with tempfile.TemporaryDirectory() as scratch:
            builds = dict(planned(chosen, folder, Path(scratch)))
            builder = find_builder(chosen.builder)
            if chosen.attest and builder != "docker":
                raise Refused(f"--attest: {builder} writes no statements about a build; docker alone does")
            digests = {name: made(builder, wanted) for name, wanted in builds.items()}
    except Refused as refused:
        print(f"error: {refused}", file=sys.stderr)
        return 2
    listed = [
        {"name": name, "reference": wanted.reference, "digest": digests[name], "labels": dict(wanted.labels)}
        | ({} if wanted.push else {"archive": os.path.relpath(wanted.archive, folder)})
        for name, wanted in builds.items()
    ]
    record = {"builder": builder, "pushed": chosen.push, "platforms": chosen.platforms.split(",")}
    (folder / "images.json").write_text(json.dumps({**record, "images": listed}, indent=2) + "\n")
    if chosen.registry:
        (folder / "values-digests.yaml").write_text(values(chosen.registry, builds, digests))
    for name, wanted in builds.items():
        print(f"{wanted.reference}@{digests[name]}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m release.images", description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("images", nargs="*", metavar="IMAGE", help=f"all if none is given: {', '.join(DOCKERFILES)}")
    add(
        "--registry",
        default="",
        metavar="HOST/PATH",
        help="where the images are kept; becomes global.imageRegistry",
    )
    add("--tag", default="", help="tag of the images; the version if not given")
    add(
        "--platforms", default="linux/amd64", help="one or several, parted by commas: linux/amd64,linux/arm64"
    )
    add("--push", action="store_true", help="push to the registry; else archives are written")
    add("--insecure", action="store_true", help="push without TLS, to a registry on loopback")
    add(
        "--attest",
        action="store_true",
        help="add provenance and a list of contents to the image (docker only)",
    )
    add("--builder", default="", choices=("", *builders.BUILDERS), help="the first that answers if not given")
    add(
        "--base",
        default="",
        metavar="IMAGE",
        help="base image instead of the Dockerfile's, best with its digest",
    )
    add("--build-base", default="", metavar="IMAGE", help="the same for the image with the compiler")
    add("--source", default="", metavar="URL", help="address of the sources, for the images' labels")
    add("--flags", default="", help="flags for the build as they are, such as --network=host")
    add("--output", type=Path, default=FOLDER, help="folder to write into")
    return parser


if __name__ == "__main__":
    sys.exit(main())
