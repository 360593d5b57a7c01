"""Schemas of the objects of Flux and Argo CD that the guide shows, recorded from their Go modules.

    python -m tests.docs.gitops_schemas $(go env GOMODCACHE)

reads what `go mod download MODULE@VERSION` put there (MODULES below) and writes FILE: of each kind the schema
of `spec`, without descriptions, with unknown fields forbidden. Most modules hold their
CustomResourceDefinition; helm-controller's publishes its Go types alone, whose json tags say the same but for
patterns and enums. A field whose type is not read stays free, so the check never refuses what is right.
"""

import json
import re
import sys
from pathlib import Path
from typing import Any

import yaml

Schema = dict[str, Any]
FILE = Path(__file__).parents[1] / "data/gitops/schemas.json"
MODULES = {
    "Kustomization": "github.com/fluxcd/kustomize-controller@v1.10.1/config/crd/bases/"
    "kustomize.toolkit.fluxcd.io_kustomizations.yaml",
    "GitRepository": "github.com/fluxcd/source-controller@v1.10.1/config/crd/bases/"
    "source.toolkit.fluxcd.io_gitrepositories.yaml",
    "OCIRepository": "github.com/fluxcd/source-controller@v1.10.1/config/crd/bases/"
    "source.toolkit.fluxcd.io_ocirepositories.yaml",
    "Application": "github.com/argoproj/argo-cd/v3@v3.6.1/manifests/crds/application-crd.yaml",
}
HELM_RELEASE = "github.com/fluxcd/helm-controller/api@v1.7.1/v2"
LEFT_OUT = ("sources", "sourceHydrator")  # of an Application: `source` again, several times

_KEPT = ("type", "enum", "pattern", "minimum", "maximum", "minLength", "maxLength", "required", "items")
_STRUCT = re.compile(r"^type (\w+) struct \{\n(.*?)^\}", re.DOTALL | re.MULTILINE)
_FIELD = re.compile(r'^\t(\w+)\s+(\S+)\s+`json:"([\w]+)(,[^"]*)?"`', re.MULTILINE)
_PLAIN = {
    "string": "string",
    "bool": "boolean",
    "int": "integer",
    "int64": "integer",
    "metav1.Duration": "string",
}


def closed(node: Schema) -> Schema:
    """Return an OpenAPI schema without descriptions, that refuses fields it does not know."""
    out: Schema = {key: node[key] for key in _KEPT if key in node}
    if "items" in out:
        out["items"] = closed(node["items"])
    if "properties" in node:
        out["properties"] = {name: closed(child) for name, child in node["properties"].items()}
        out["additionalProperties"] = False
    elif isinstance(node.get("additionalProperties"), dict):
        out["additionalProperties"] = closed(node["additionalProperties"])
    if node.get("x-kubernetes-int-or-string"):
        out["type"] = ["integer", "string"]
    return out


def of_definition(path: Path) -> tuple[str, Schema]:
    """Return the API version and the schema of spec of a CustomResourceDefinition's stored version."""
    spec = yaml.safe_load(path.read_text())["spec"]
    (version,) = (each for each in spec["versions"] if each["storage"])
    schema = closed(version["schema"]["openAPIV3Schema"]["properties"]["spec"])
    for name in LEFT_OUT:
        schema["properties"].pop(name, None)
    return f"{spec['group']}/{version['name']}", schema


def of_types(folder: Path, root: str) -> Schema:
    """Return the schema of a Go struct, from its json tags."""
    structs: dict[str, str] = {}
    for path in sorted(folder.glob("*.go")):
        structs |= dict(_STRUCT.findall(path.read_text()))

    def of(type_: str) -> Schema:
        bare = type_.lstrip("*")
        if bare.startswith("[]"):
            return {"type": "array", "items": of(bare[2:])}
        if bare in _PLAIN:
            return {"type": _PLAIN[bare]}
        if bare not in structs or '",inline"' in structs[bare]:
            return {}
        fields = _FIELD.findall(structs[bare])
        return {
            "type": "object",
            "properties": {tag: of(kind) for _, kind, tag, _ in fields},
            "required": sorted(tag for _, _, tag, more in fields if "omitempty" not in more),
            "additionalProperties": False,
        }

    return of(root)


def main(cache: Path) -> None:
    found = {}
    for kind, place in MODULES.items():
        version, schema = of_definition(cache / place)
        found[kind] = {"apiVersion": version, "source": place, "spec": schema}
    schema = of_types(cache / HELM_RELEASE, "HelmReleaseSpec")
    place = {"apiVersion": "helm.toolkit.fluxcd.io/v2", "source": HELM_RELEASE}
    found["HelmRelease"] = place | {"spec": schema}
    FILE.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
