"""Run the real helm on the real chart and hand its objects to the tests.

Helm is a tool of the repository, kept in the per-user cache; a machine without it fails these tests instead
of skipping them, since a chart that nobody rendered is not a tested chart. A rendering is kept for the other
tests of the run that ask for the same one, in whatever process they are, and each gets its own copy.
"""

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "charts" / "torpor"
Object = dict[str, Any]
Values = Mapping[str, Any]

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast on the resource definition


class Refused(Exception):  # noqa: N818 - it is what the chart does, not a defect of the test
    """Helm refused the values or a template; the text is what the user reads."""


_kept: list[Path] = []  # the folder that the processes of a test run share; see conftest.py


def keep_in(folder: Path) -> None:
    """Keep renderings in `folder` from now on. The charts may not change while it is used."""
    folder.mkdir(exist_ok=True)
    _kept[:] = [folder]


@cache
def helm() -> str:
    """Return the path of helm: in the cache, else in PATH. FileNotFoundError names the next step."""
    cached = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "torpor" / "bin" / "helm"
    found = str(cached) if cached.exists() else shutil.which("helm")
    if found is None:
        raise FileNotFoundError(
            f"helm is neither {cached} nor in PATH; `make test` builds it, or install Helm 4"
        )
    return found


def run(*arguments: str) -> str:
    """Run helm and return its output. Raises Refused with what it wrote to stderr."""
    done = subprocess.run([helm(), *arguments], capture_output=True, text=True, timeout=150, check=False)
    if done.returncode:
        raise Refused(done.stderr + done.stdout)
    return done.stdout


def render(
    values: Values | None = None,
    *,
    release: str = "torpor",
    namespace: str = "torpor-system",
    chart: Path = CHART,
    kubernetes: str = "1.37.1",
) -> list[Object]:
    """Return every object of the chart, hooks included, as `helm install` would send it to a new cluster."""
    found = json.loads(_json(release, namespace, chart, kubernetes, flags_of(values or {})))
    assert isinstance(found, list)
    return found


def flags_of(values: Values) -> tuple[str, ...]:
    """Return the flags that give helm these values; keys are dotted paths, null takes a default away."""
    return tuple(f"--set-json={key}={json.dumps(value)}" for key, value in values.items())


@cache
def _json(release: str, namespace: str, chart: Path, kubernetes: str, flags: tuple[str, ...]) -> str:
    command = ("template", release, str(chart), f"--namespace={namespace}", f"--kube-version={kubernetes}")
    name = hashlib.sha256("\0".join((*command, *flags)).encode()).hexdigest()
    file = _kept[0] / f"{name}.json"
    if file.exists():
        return file.read_text()
    # Kept as JSON: reading that again takes a twentieth of the time of YAML.
    text = json.dumps([item for item in yaml.load_all(run(*command, *flags), LOADER) if item])
    unfinished = file.with_suffix(f".{os.getpid()}")
    unfinished.write_text(text)
    unfinished.rename(file)
    return text


def of(objects: list[Object], kind: str, name: str | None = None) -> list[Object]:
    """Return the objects of a kind, of one name if given."""
    return [item for item in objects if item["kind"] == kind and name in (None, item["metadata"]["name"])]


def one(objects: list[Object], kind: str, name: str | None = None) -> Object:
    """Return the only object of that kind and name; several or none fail the test."""
    found = of(objects, kind, name)
    assert len(found) == 1, f"{kind} {name or ''}: {len(found)} objects, wanted one"
    return found[0]


def identity(item: Object) -> tuple[str, str, str]:
    """Return what must be unique in a cluster: kind, namespace (empty if cluster-scoped) and name."""
    return item["kind"], item["metadata"].get("namespace", ""), item["metadata"]["name"]


def pods(objects: list[Object]) -> Iterator[tuple[str, Object]]:
    """Yield name and pod manifest (metadata and spec) of everything that becomes a pod."""
    for item in objects:
        name = f"{item['kind']}/{item['metadata']['name']}"
        if item["kind"] == "Pod":
            yield name, item
        elif "template" in item.get("spec", {}):
            yield name, item["spec"]["template"]


def container(objects: list[Object], part: str, prefix: str = "torpor") -> Object:
    """Return the one container of the operator's or gateway's Deployment."""
    (found,) = one(objects, "Deployment", f"{prefix}-{part}")["spec"]["template"]["spec"]["containers"]
    return dict(found)


def environment(objects: list[Object], part: str, prefix: str = "torpor") -> dict[str, str]:
    """Return the container's variables; a variable from a field has the field's path in angle brackets."""
    variables: dict[str, str] = {}
    for entry in container(objects, part, prefix)["env"]:
        assert entry["name"] not in variables, f"{part}: {entry['name']} is set twice"
        source = entry.get("valueFrom", {}).get("fieldRef", {}).get("fieldPath")
        variables[entry["name"]] = f"<{source}>" if source else entry["value"]
    return variables
