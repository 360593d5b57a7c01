"""How each builder of images is told the same thing, and where it leaves the digest.

Docker's buildx, podman and buildah build the same Dockerfiles. They differ in how several platforms become
one name, in how times are made the same in each build, and in who knows the digest in the end; only that is
here, as command lines, and nothing is run. A digest is taken from the builder's own record of what it wrote,
never worked out from something local: compression makes what a registry has another thing.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

BUILDERS = ("docker", "podman", "buildah")
# What tells that a builder is there and answers.
PROBES: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "docker": (("docker", "buildx", "version"), ("docker", "info")),
    "podman": (("podman", "info"),),
    "buildah": (("buildah", "version"),),
}
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True)
class Build:
    """One image to build: what from, its name in the registry, and where it goes.

    `seconds` since 1970 is the time of the image and of its files. `archive` is written where nothing is
    pushed; `record` is the file that the builder writes the digest to. `flags` go to the build as they are.
    """

    dockerfile: str
    reference: str
    platforms: tuple[str, ...]
    labels: Mapping[str, str]
    arguments: Mapping[str, str]
    seconds: int
    archive: Path
    record: Path
    push: bool = False
    insecure: bool = False
    attest: bool = False
    flags: tuple[str, ...] = ()


def commands(builder: str, build: Build) -> list[list[str]]:
    """Return the commands that build the image and push or save it. KeyError for an unknown builder."""
    return {"docker": _docker, "podman": _podman, "buildah": _buildah}[builder](build)


def cleaning(builder: str, build: Build) -> list[str]:
    """Return the command that forgets an earlier list of platforms, to which a build would add."""
    return [] if builder == "docker" else [builder, "manifest", "rm", build.reference]


def digest(text: str) -> str:
    """Return the digest from a builder's record. ValueError if there is none in it."""
    found: object = text.strip()
    if text.lstrip().startswith("{"):
        found = json.loads(text).get("containerimage.digest", "")
    if not isinstance(found, str) or not _DIGEST.fullmatch(found):
        raise ValueError(f"the builder recorded no digest: {text.strip()[:200]!r}")
    return found


def _common(build: Build) -> list[str]:
    words = ["--file", build.dockerfile, "--platform", ",".join(build.platforms)]
    words += [f"--label={key}={value}" for key, value in sorted(build.labels.items())]
    return words + [f"--build-arg={key}={value}" for key, value in sorted(build.arguments.items())]


def _docker(build: Build) -> list[list[str]]:
    target = (
        f"type=image,name={build.reference},push=true" if build.push else f"type=oci,dest={build.archive}"
    )
    if build.push and build.insecure:
        target += ",registry.insecure=true"
    words = ["docker", "buildx", "build", *_common(build)]
    words += [f"--build-arg=SOURCE_DATE_EPOCH={build.seconds}", f"--metadata-file={build.record}"]
    # Statements of where it was built carry the time of the build: without them the same bytes come out.
    attested = ("--attest=type=provenance,mode=max", "--attest=type=sbom")
    words += attested if build.attest else ("--provenance=false", "--sbom=false")
    words += ["--output", f"{target},oci-mediatypes=true,rewrite-timestamp=true", *build.flags, "."]
    return [words]


def _podman(build: Build) -> list[list[str]]:
    return _listed(["podman", "build"], ["podman", "manifest", "push"], build)


def _buildah(build: Build) -> list[list[str]]:
    return _listed(["buildah", "build"], ["buildah", "manifest", "push"], build)


def _listed(make: Sequence[str], send: Sequence[str], build: Build) -> list[list[str]]:
    words = [*make, *_common(build), f"--timestamp={build.seconds}", f"--manifest={build.reference}"]
    target = f"docker://{build.reference}" if build.push else f"oci-archive:{build.archive}"
    sending = [*send, "--all", "--format=oci", f"--digestfile={build.record}"]
    sending += ["--tls-verify=false"] if build.push and build.insecure else []
    return [[*words, *build.flags, "."], [*sending, build.reference, target]]
