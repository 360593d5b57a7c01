"""Which options vLLM's `serve` has, read from the sources in its wheel, for the documents to be held to.

An example with an option that the engine does not have costs its reader a cold start and a crash, and vLLM
renames options with every release. Asking vLLM itself needs PyTorch and a minute; its sources say the same to
whoever reads how they are put together: `add_cli_args` names the options and takes choices and defaults from
the fields of configuration classes, and the front end has an option for each field of its class. So the
sources are parsed and never run.

What is kept of an option: its other names, whether it takes a value (`value`), may take one (`optional`),
takes none (`nothing`) or is a pair of on and off (`switch`: `--x` and `--no-x`, and `--disable-y` beside
`--enable-y`), and the choices where its configuration class lists them. Of `--speculative-config`: its
fields, its methods, and the counters of drafts.

It refuses what it cannot follow: an option whose class or field is not found stops the recording.

    pip download --no-deps vllm==0.33.0
    python -m tests.docs.vllm_options vllm-0.33.0-*.whl     # writes tests/data/vllm-0.33/options.json
"""

import ast
import hashlib
import json
import re
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

DATA = Path(__file__).parents[1] / "data"
RECORDED = DATA / "vllm-0.33" / "options.json"
ENGINE = "vllm/engine/arg_utils.py"
DRAFTS = "vllm/v1/spec_decode/metrics.py"
FRONT = tuple(f"vllm/entrypoints/{where}/cli_args.py" for where in ("common", "launchers", "openai"))
WHERE_TYPES_ARE = ("vllm/config/", "vllm/model_executor/layers/quantization/__init__.py", *FRONT)


@dataclass
class Sources:
    """The modules by path, and what they define: classes, and names that stand for a type."""

    modules: dict[str, ast.Module]
    classes: dict[str, ast.ClassDef] = field(default_factory=dict)
    types: dict[str, ast.expr] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for module in self.modules.values():
            for node in ast.walk(module):
                if isinstance(node, ast.ClassDef):
                    self.classes.setdefault(node.name, node)
            for line in module.body:
                if isinstance(line, ast.Assign) and isinstance(line.targets[0], ast.Name):
                    self.types.setdefault(line.targets[0].id, line.value)
                if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name) and line.value:
                    self.types.setdefault(line.target.id, line.value)

    def fields(self, name: str) -> dict[str, ast.expr]:
        """Return a class's fields and their types, those of its bases first. KeyError: no such class."""
        node = self.classes[name]
        found: dict[str, ast.expr] = {}
        for base in node.bases:
            if isinstance(base, ast.Name) and base.id in self.classes:
                found |= self.fields(base.id)
        for line in node.body:
            if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name):
                left_out = "init=False" in ast.unparse(line).replace(" ", "")
                if not left_out and "ClassVar" not in ast.unparse(line.annotation):
                    found[line.target.id] = line.annotation
        return found

    def parts(self, annotation: ast.expr) -> Iterator[ast.expr]:
        """Yield the types of a union; a name that stands for a type is followed."""
        match annotation:
            case ast.BinOp(left=left, op=ast.BitOr(), right=right):
                yield from self.parts(left)
                yield from self.parts(right)
            case ast.Subscript(value=ast.Name(id="Annotated" | "Union" | "Optional"), slice=inner):
                for part in inner.elts[:1] if isinstance(inner, ast.Tuple) else [inner]:
                    yield from self.parts(part)
            case ast.Name(id=name) | ast.Attribute(attr=name) if name in self.types:
                yield from self.parts(self.types[name])
            case _:
                yield annotation

    def choices(self, annotation: ast.expr) -> list[str]:
        """Return the words of the first Literal in a type, those of names within it too; [] without one."""
        for part in self.parts(annotation):
            if isinstance(part, ast.Subscript) and ast.unparse(part.value).endswith("Literal"):
                inner = part.slice.elts if isinstance(part.slice, ast.Tuple) else [part.slice]
                words: list[str] = []
                for one in inner:
                    words += [str(one.value)] if isinstance(one, ast.Constant) else self.choices(one)
                return words
        return []

    def option(self, annotation: ast.expr) -> dict[str, Any]:
        """Return what an option with a field of this type takes."""
        names = {ast.unparse(part) for part in self.parts(annotation)}
        if names == {"bool", "str", "None"}:
            return {"takes": "optional"}
        if "bool" in names:
            return {"takes": "switch"}
        choices = self.choices(annotation)
        return {"takes": "value", "choices": sorted(choices)} if choices else {"takes": "value"}


def read(wheel: Path) -> Sources:
    """Parse the modules of a wheel, or of a folder in which one is installed, that have a say."""
    wanted = (ENGINE, DRAFTS, *WHERE_TYPES_ARE)
    if wheel.is_dir():
        paths = [str(path.relative_to(wheel)) for path in sorted((wheel / "vllm").rglob("*.py"))]
        texts = {path: (wheel / path).read_text() for path in paths if path.startswith(wanted)}
    else:
        with zipfile.ZipFile(wheel) as archive:
            names = [name for name in archive.namelist() if name.startswith(wanted) and name.endswith(".py")]
            texts = {name: archive.read(name).decode() for name in names}
    return Sources({path: ast.parse(text) for path, text in texts.items()})


def options(sources: Sources) -> dict[str, dict[str, Any]]:
    """Return every option of `vllm serve` by its long name. KeyError where something cannot be followed."""
    found: dict[str, dict[str, Any]] = {}
    for path in (ENGINE, *(path for path in FRONT if path in sources.modules)):
        module = sources.modules[path]
        sets: dict[str, str] = {}  # a variable with the arguments of a class's options: the class
        single: dict[str, ast.expr] = {}  # one with those of a single option: where they come from
        for node in ast.walk(module):
            match node:
                case ast.Assign(
                    targets=[ast.Name(id=name)],
                    value=ast.Call(func=ast.Name(id="get_kwargs"), args=[ast.Name(id=of)]),
                ):
                    sets[name] = of
                case ast.Assign(targets=[ast.Name(id=name)], value=ast.Subscript() as value):
                    single[name] = value
        for node in ast.walk(module):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                names = [arg.value for arg in node.args if isinstance(arg, ast.Constant)]
                if node.func.attr == "add_argument" and names and str(names[0]).startswith("--"):
                    found[str(names[0])] = _added(sources, node, sets, single) | _also(names[1:])
    for name, annotation in sources.fields("FrontendArgs").items():
        found[f"--{name.replace('_', '-')}"] = sources.option(annotation)
    return dict(sorted(found.items()))


def _also(names: list[Any]) -> dict[str, Any]:
    return {"also": [str(name) for name in names]} if names else {}


def _added(
    sources: Sources, call: ast.Call, sets: dict[str, str], single: dict[str, ast.expr]
) -> dict[str, Any]:
    """What the option takes that one `add_argument` adds."""
    given = {keyword.arg: keyword.value for keyword in call.keywords if keyword.arg}
    for value in (keyword.value for keyword in call.keywords if keyword.arg is None):
        source: ast.expr = value
        if isinstance(source, ast.Dict):  # {**of_a_field, "default": None}
            source = next(item for key, item in zip(source.keys, source.values, strict=True) if key is None)
        if isinstance(source, ast.Name):
            source = single[source.id]
        match source:
            case ast.Subscript(value=ast.Name(id=variable), slice=ast.Constant(value=name)):
                return sources.option(sources.fields(sets[variable])[str(name)])
            case ast.Subscript(
                value=ast.Call(func=ast.Name(id="get_kwargs"), args=[ast.Name(id=of)]),
                slice=ast.Constant(value=name),
            ):
                return sources.option(sources.fields(of)[str(name)])
        raise KeyError(f"line {call.lineno}: {ast.unparse(source)}")
    action = ast.unparse(given["action"]).strip("'") if "action" in given else ""
    if action in ("store_true", "store_false"):
        return {"takes": "nothing"}
    if action.endswith("BooleanOptionalAction"):
        return {"takes": "switch"}
    if isinstance(given.get("choices"), ast.List):
        return {"takes": "value", "choices": sorted(ast.literal_eval(given["choices"]))}
    return {"takes": "value"}


def recording(wheel: Path) -> dict[str, Any]:
    """Return what is kept of a wheel."""
    sources = read(wheel)
    fields = sources.fields("SpeculativeConfig")
    wished = [name for name, of in fields.items() if "SkipValidation" not in ast.unparse(of)]  # not derived
    return {
        "wheel": wheel.name,
        "sources": [path.removeprefix("vllm/") for path in (ENGINE, *FRONT) if path in sources.modules],
        "sha256": hashlib.sha256(wheel.read_bytes()).hexdigest() if wheel.is_file() else None,
        "speculative": {
            "fields": sorted(wished),
            "methods": sorted(sources.choices(fields["method"])),
            "counters": sorted(_counters(sources.modules[DRAFTS])),
        },
        "options": options(sources),
    }


def _counters(module: ast.Module) -> set[str]:
    """The names in a module that are metrics of vLLM; a counter is shown with `_total` behind."""
    names = {node.value for node in ast.walk(module) if isinstance(node, ast.Constant)}
    return {
        f"{name}_total" for name in names if isinstance(name, str) and re.fullmatch(r"vllm:spec_\w+", name)
    }


def written(document: dict[str, Any]) -> str:
    """Return the recording as text, an option a line."""
    lines = [f" {json.dumps(name)}: {json.dumps(value)}" for name, value in document["options"].items()]
    rest = {key: value for key, value in document.items() if key != "options"}
    return json.dumps(rest, indent=1)[:-2] + ',\n "options": {\n' + ",\n".join(lines) + "\n }\n}\n"


def main() -> None:
    """Write the recording."""
    RECORDED.parent.mkdir(exist_ok=True)
    RECORDED.write_text(written(recording(Path(sys.argv[1]))))


if __name__ == "__main__":
    main()
