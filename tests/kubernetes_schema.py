"""The strict schemas of Kubernetes' own objects, each read once.

kubernetes-validate carries the schemas, and reads all definitions again for every object that it judges. The
tests judge hundreds, so here the validator that it would build is built once per kind and kept.
"""

import json
from functools import cache
from importlib.resources import files
from typing import Any

import jsonschema
from referencing import Registry, Resource

_SCHEMAS = files("kubernetes_validate") / "kubernetes-json-schema"


def refuse_what_kubernetes_refuses(manifest: dict[str, Any], version: str) -> None:
    """Raise jsonschema.ValidationError where Kubernetes `version` (as in 1.37) refuses a field or value.

    FileNotFoundError where it does not know the kind.
    """
    _validator(manifest["kind"], manifest["apiVersion"], version).validate(manifest)


@cache
def _validator(kind: str, api_version: str, version: str) -> Any:
    group, slash, number = api_version.rpartition("/")
    name = f"{group.partition('.')[0]}-{number}" if slash else number
    schema, definitions = _read(f"{kind.lower()}-{name}.json", version), _definitions(version)
    registry = Resource.from_contents(schema) @ definitions
    return jsonschema.Draft202012Validator(schema, registry=registry)


@cache
def _definitions(version: str) -> Registry[Any]:
    return (Resource.from_contents(_read("_definitions.json", version)) @ Registry()).crawl()


def _read(file: str, version: str) -> Any:
    return json.loads((_SCHEMAS / f"v{version}.0-local-strict" / file).read_text())
