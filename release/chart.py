"""The chart as it is handed out: the checkout's with digests filled in, the same bytes from the same commit.

The committed chart names no registry and no digest, because neither exists before the images are built. A
released one does: the leaves of the file that `python -m release.images` writes are put in the place of the
defaults of values.yaml, comments left as they are, and what is generated from values.yaml is generated again.
Then `helm install` alone gets the very images that were tested. The index annotations that depend on a
release are made here too: the changes of this version from the changelog, the images as they are named now,
whether it closes a security hole, whether it is a prerelease.

Helm writes the times of files into the archive and of the archive into the registry's manifest, so all are
set to the release's time.
"""

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from charts.generate import index, readme, schema, values
from release.project import CHART, ROOT, Change, Refused, changes

Leaves = dict[tuple[str, ...], str]


def stage(folder: Path, version: str, digests: Mapping[str, Any], seconds: int) -> Path:
    """Copy the chart below `folder` and fill in `digests` (values of the chart); return its place.

    `seconds` since 1970 is the time of every file. Refused where a value is none of the chart's.
    """
    chart = folder / "torpor"
    shutil.copytree(CHART, chart)
    if digests:
        file = chart / "values.yaml"
        file.write_text(filled(file.read_text(), dict(leaves(digests))))
    read = values.read(chart / "values.yaml")
    (chart / "values.schema.json").write_text(json.dumps(schema.build(read), indent=2) + "\n")
    (chart / "README.md").write_text(readme.insert((chart / "README.md").read_text(), read))
    metadata = yaml.safe_load((chart / "Chart.yaml").read_text())
    listed = changes((ROOT / "CHANGELOG.md").read_text(), version)
    metadata["annotations"] |= annotations(read, version, listed)
    (chart / "Chart.yaml").write_text(yaml.dump(metadata, Dumper=_Literal, sort_keys=False, width=4096))
    shutil.copyfile(ROOT / "LICENSE", chart / "LICENSE")
    for path in [*chart.rglob("*"), chart]:
        path.chmod(0o755 if path.is_dir() else 0o644)
        os.utime(path, (seconds, seconds))
    return chart


def annotations(read: tuple[values.Value, ...], version: str, listed: list[Change]) -> dict[str, str]:
    """Return the annotations for Artifact Hub that a release decides."""
    prefix = "artifacthub.io"
    # One line each: Artifact Hub reads YAML in a string.
    entries = [{"kind": change.kind, "description": change.text} for change in listed]
    security = any(change.kind == "security" for change in listed)
    unstable = version.startswith("0.") or "-" in version
    return {
        f"{prefix}/changes": yaml.safe_dump(entries, sort_keys=False, allow_unicode=True, width=4096),
        f"{prefix}/containsSecurityUpdates": str(security).lower(),
        f"{prefix}/images": index.images(read, version),
        f"{prefix}/prerelease": str(unstable).lower(),
    }


def leaves(given: Mapping[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield path and text of every leaf. Refused for what is no text: only texts are filled in."""
    for key, item in given.items():
        path = (*above, str(key))
        if isinstance(item, Mapping):
            yield from leaves(item, path)
        elif isinstance(item, str):
            yield path, item
        else:
            raise Refused(f"{'.'.join(path)}: {item!r} is no text; only texts can be filled in")


def filled(text: str, wanted: Leaves) -> str:
    """Return values.yaml with these defaults instead of its own. Refused where there is no such value."""
    places: list[tuple[int, int, str]] = []
    left = dict(wanted)

    def walk(node: yaml.Node | None, above: tuple[str, ...]) -> None:
        if not isinstance(node, yaml.MappingNode):
            return
        for key, item in node.value:
            path = (*above, key.value)
            if isinstance(item, yaml.ScalarNode) and path in left:
                places.append((item.start_mark.index, item.end_mark.index, left.pop(path)))
            walk(item, path)

    walk(yaml.compose(text), ())
    if left:
        raise Refused(
            f"{'.'.join(next(iter(left)))} is no value of the chart; compare charts/torpor/values.yaml"
        )
    for start, end, value in sorted(places, reverse=True):
        text = f"{text[:start]}{_quoted(value)}{text[end:]}"
    return text


def _quoted(value: str) -> str:
    return yaml.safe_dump(value, default_style='"', width=4096).strip()


class _Literal(yaml.SafeDumper):
    """Writes texts of several lines as blocks, so that a person can read the packaged Chart.yaml."""


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)


_Literal.add_representer(str, _text)
