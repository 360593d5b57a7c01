"""What the index of charts (Artifact Hub) is told of the images, made from values.yaml.

The index would otherwise render the chart with its defaults and take what it finds, which misses the image
that only engine pods run. The list stands between two marks of Chart.yaml; what a release adds to it, digests
and the changes of its version, is put in when the chart is packaged (release/chart.py), because it does not
exist before.
"""

from collections.abc import Mapping
from typing import Any

import yaml

from charts.generate.values import Value

BEGIN = "  # images: made by `python -m charts.generate` from values.yaml\n"
END = "  # images end\n"
PARTS = ("operator", "gateway", "engine")


def insert(chart: str, values: tuple[Value, ...], version: str) -> str:
    """Return Chart.yaml with the list of images between its marks. ValueError when a mark is missing."""
    head, begin, rest = chart.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise ValueError(
            f"Chart.yaml: the marks {BEGIN.strip()!r} and {END.strip()!r} are missing; put them back"
        )
    block = "".join(f"    {line}\n" for line in images(values, version).splitlines())
    return f"{head}{BEGIN}  artifacthub.io/images: |\n{block}{END}{tail}"


def images(values: tuple[Value, ...], version: str) -> str:
    """Return the list as YAML: name and reference of each image, as the chart's templates write it."""
    defaults = {value.path[0]: value.default for value in values}
    listed = [
        {"name": part, "image": reference(defaults[part]["image"], defaults["global"], version)}
        for part in PARTS
    ]
    return yaml.safe_dump(listed, sort_keys=False, width=4096)


def reference(image: Mapping[str, Any], shared: Mapping[str, Any], version: str) -> str:
    """Return the reference of one image, as the template torpor.image does."""
    registry = (image["registry"] or shared["imageRegistry"]).rstrip("/")
    name = f"{registry}/{image['repository']}" if registry else image["repository"]
    if image["digest"]:
        return f"{name}{':' if image['tag'] else ''}{image['tag']}@{image['digest']}"
    return f"{name}:{image['tag'] or version}"
