"""The CRD is structural, described, bounded, guarded and the same as the committed file.

A real API server has the last word (tests/integration/crd). These invariants fail faster and name the field.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from pydantic import BaseModel
from torpor.api import constants, crd, schema

Schema = dict[str, Any]
COMMITTED = Path("crds") / crd.FILE_NAME


def root() -> Schema:
    found: Schema = crd.build()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return found


def walk(node: Schema, path: str = "") -> Iterator[tuple[str, Schema]]:
    yield path, node
    for name, below in node.get("properties", {}).items():
        yield from walk(below, f"{path}.{name}")
    if "items" in node:
        yield from walk(node["items"], f"{path}[]")
    if "additionalProperties" in node:
        yield from walk(node["additionalProperties"], f"{path}.*")


FIELDS = [
    (path, node) for part in ("spec", "status") for path, node in walk(root()["properties"][part], part)
]


def test_the_committed_file_is_what_the_types_say() -> None:
    assert crd.main(["--check"]) == 0, f"run `{crd.COMMAND}` and commit the result"


def test_the_check_notices_drift_and_names_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert crd.main(["--directory", str(tmp_path)]) == 0
    assert crd.main(["--check", "--directory", str(tmp_path)]) == 0
    written = tmp_path / crd.FILE_NAME
    written.write_text(written.read_text().replace("maximum: 1000\n", "maximum: 999\n", 1))
    capsys.readouterr()
    assert crd.main(["--check", "--directory", str(tmp_path)]) == 1
    output = capsys.readouterr().out
    assert "-" in output
    assert "maximum: 999" in output
    assert crd.COMMAND in output


def test_kubernetes_own_schema_accepts_it() -> None:
    kubernetes_validate.validate(yaml.safe_load(crd.render()), "1.37", strict=True)


def test_it_is_small_enough_for_client_side_apply() -> None:
    assert len(crd.render().encode()) < 200 * 1024
    assert len(json.dumps(crd.build())) < 200 * 1024


@pytest.mark.parametrize(("path", "node"), FIELDS, ids=[path for path, _ in FIELDS])
def test_every_field_is_typed_and_bounded(path: str, node: Schema) -> None:
    if node.get("x-kubernetes-int-or-string"):
        assert node["maxLength"] > 0
        assert node["pattern"]
        return
    kind = node["type"]
    if kind == "string":
        assert "maxLength" in node or "enum" in node, f"{path} has no bound"
    elif kind == "integer":
        assert {"minimum", "maximum"} <= node.keys(), f"{path} has no bounds"
        assert node["format"] == ("int32" if node["maximum"] < 2**31 else "int64")
    elif kind == "array":
        assert "maxItems" in node, f"{path} has no bound"
        assert "x-kubernetes-list-type" in node, f"{path} says not how it merges"
    elif kind == "object":
        assert "properties" in node or "maxProperties" in node, f"{path} has no bound"
        assert not ("properties" in node and "additionalProperties" in node)
    else:
        assert kind == "boolean", f"{path} is a {kind}; floats have no place in an API"


@pytest.mark.parametrize(
    ("path", "node"),
    [it for it in FIELDS if not it[0].endswith(("[]", ".*"))],
    ids=lambda it: it if isinstance(it, str) else "",
)
def test_every_field_is_described(path: str, node: Schema) -> None:
    assert len(node["description"]) > 8, path
    assert "\n" not in node["description"]


def test_objects_with_defaults_exist_so_that_nested_defaults_are_filled() -> None:
    spec = root()["properties"]["spec"]["properties"]
    for path in ("engine", "scaling", "traffic", "rollout"):
        assert spec[path]["default"] == {}
    assert spec["scaling"]["properties"]["signals"]["default"] == {}
    assert spec["traffic"]["properties"]["coldStart"]["default"] == {}
    assert "default" not in spec["model"], "a required object has no default"


def test_fields_whose_absence_has_meaning_have_no_default() -> None:
    scaling = root()["properties"]["spec"]["properties"]["scaling"]["properties"]
    assert "default" not in scaling["replicas"]
    assert "default" not in scaling["idleSeconds"]
    assert "default" not in scaling["schedule"]
    assert "default" not in scaling["objectives"]
    assert all("default" not in one for one in scaling["objectives"]["properties"].values())


def test_rules_guard_every_optional_field_they_read() -> None:
    for path, node in [*FIELDS, ("", root())]:
        for rule in node.get("x-kubernetes-validations", []):
            required = set(node.get("required", ()))
            read = set(re.findall(r"self\.([a-z]\w*)\b(?!\()", rule["rule"])) - required - {"metadata"}
            guarded = set(re.findall(r"has\(self\.(\w+)\)", rule["rule"]))
            assert read <= guarded, f"{path}: {rule['rule']} reads {read - guarded} without has()"


def test_rules_say_what_to_do() -> None:
    rules = [rule for _, node in FIELDS for rule in node.get("x-kubernetes-validations", [])]
    assert len(rules) > 20
    assert all("; " in rule["message"] and len(rule["message"]) < 400 for rule in rules)


def test_the_scale_and_status_subresources_and_names() -> None:
    spec = crd.build()["spec"]
    version = spec["versions"][0]
    assert version["subresources"]["status"] == {}
    assert version["subresources"]["scale"] == {
        "specReplicasPath": ".spec.scaling.replicas",
        "statusReplicasPath": ".status.replicas",
        "labelSelectorPath": ".status.selector",
    }
    assert spec["names"]["shortNames"] == ["isvc", "tisvc"]
    assert (
        crd.build()["metadata"]["name"] == f"{spec['names']['plural']}.{spec['group']}" == constants.CRD_NAME
    )


def test_column_paths_exist() -> None:
    paths = {f".{path}" for path, _ in FIELDS} | {".metadata.creationTimestamp"}
    for column in crd.COLUMNS:
        plain = re.sub(r'\[\?\(@\.type=="\w+"\)\]', "[]", column["jsonPath"])
        assert plain in paths, column["name"]


class Tuple(BaseModel):
    """A construct that has no structural form."""

    pair: tuple[int, str]


class Mixed(BaseModel):
    """Another one."""

    either: int | list[str]


@pytest.mark.parametrize("model", [Tuple, Mixed])
def test_what_has_no_structural_form_stops_the_generator(model: type[BaseModel]) -> None:
    with pytest.raises(schema.UnsupportedSchemaError, match=r"pair|either"):
        schema.of_model(model)
