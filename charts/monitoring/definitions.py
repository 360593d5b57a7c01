"""The metrics that a vLLM defines, read from its wheel without installing or running it.

A recorded exposition is the better witness, but it takes a running engine, and a new vLLM is out before there
is one at hand. Its wheel says as much about names: each metric is made by one call with a literal name and a
list of labels, so the source is parsed and those calls are read. Nothing of it is executed.

    pip download --no-deps --only-binary=:all: vllm==0.33.0
    python -m charts.monitoring.definitions vllm-0.33.0-*.whl > tests/data/vllm-0.33/definitions.json

`optional` is what stands behind a condition: an engine with other arguments does not serve it. What is read
are the engine's own loggers and those of speculative decoding; connectors of third parties are left out. A
call whose name or labels are made at run time is refused with its place, never guessed, and this file has to
learn it. One such is known: the labels of `vllm:cache_config_info` are the fields of CacheConfig.
"""

import argparse
import ast
import json
import re
import sys
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

LOGGERS = "vllm/v1/metrics/loggers.py"
MODULES = (LOGGERS, "vllm/v1/metrics/perf.py", "vllm/v1/spec_decode/metrics.py")
CACHE = "vllm/config/cache.py"
KINDS = {"_gauge_cls": "gauge", "_counter_cls": "counter", "_histogram_cls": "histogram"}
_OF_A_CONFIG = "metrics_info.keys()"
_METRIC = re.compile(r"vllm:\w+")
_RELEASE = re.compile(r"^vllm-(\d[\w.+]*?)-")


class UnreadableError(Exception):
    """A definition that cannot be read off the source. The message names file, line and what is there."""


def of_wheel(wheel: Path) -> dict[str, Any]:
    """Return the release and the definitions by name. Raises UnreadableError, OSError, KeyError (a module is
    not there) and zipfile.BadZipFile.
    """
    release = _RELEASE.match(wheel.name)
    if release is None:
        raise UnreadableError(f"{wheel.name}: no wheel of vLLM; its name begins with vllm-VERSION-")
    with zipfile.ZipFile(wheel) as archive:
        sources = {name: archive.read(name).decode() for name in (*MODULES, CACHE)}
    return {"release": release[1], "metrics": definitions(sources)}


def definitions(sources: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Return type, labels and optionality of each metric in the texts of `MODULES` and `CACHE`."""
    trees = {name: ast.parse(text, name) for name, text in sources.items()}
    base = _labels(_assigned(trees[LOGGERS], "labelnames"), [], trees[LOGGERS], LOGGERS)
    found: dict[str, dict[str, Any]] = {}
    for name in MODULES:
        for call, inside, optional in _calls(trees[name], trees[name], False):
            given = {keyword.arg: keyword.value for keyword in call.keywords}
            where = f"{name}:{call.lineno}"
            kind = KINDS[call.func.attr]  # type: ignore[attr-defined]
            if ast.unparse(given.get("labelnames", call)) == _OF_A_CONFIG:
                labels = [*_fields(trees[CACHE], "CacheConfig"), "engine"]
            else:
                labels = _labels(given.get("labelnames"), base, trees[name], where)
            for metric in _names(given.get("name"), inside, where):
                found[metric] = {"type": kind, "labels": sorted(labels), "optional": optional}
    return dict(sorted(found.items()))


def _calls(node: ast.AST, inside: ast.AST, optional: bool) -> Iterator[tuple[ast.Call, ast.AST, bool]]:
    """Yield the calls that make a metric, each with its function; behind an `if`, or behind one that returns,
    they are optional.
    """
    if isinstance(node, ast.FunctionDef):
        inside = node
    for field, value in ast.iter_fields(node):
        branch = isinstance(node, ast.If) and field in ("body", "orelse")
        for child in value if isinstance(value, list) else [value]:
            if not isinstance(child, ast.AST):
                continue
            match child:
                case ast.Call(func=ast.Attribute(attr=made)) if made in KINDS:
                    yield child, inside, optional or branch
            yield from _calls(child, inside, optional or branch)
            if isinstance(child, ast.If) and any(isinstance(part, ast.Return) for part in child.body):
                optional = True


def _names(node: ast.expr | None, inside: ast.AST, where: str) -> list[str]:
    """Return the metric's name, or, where a loop or a branch fills it in, all names that the function has."""
    match node:
        case ast.Constant(value=str(text)):
            return [text]
        case ast.Name():
            words = (part.value for part in ast.walk(inside) if isinstance(part, ast.Constant))
            if names := [word for word in words if isinstance(word, str) and _METRIC.fullmatch(word)]:
                return names
    raise UnreadableError(
        f"{where}: the metric's name is no literal: {ast.unparse(node) if node else 'none'}"
    )


def _labels(node: ast.expr | None, base: list[str], tree: ast.AST, where: str) -> list[str]:
    match node:
        case ast.Name(id="labelnames"):
            return base
        case ast.Name(id=name):
            return _labels(_assigned(tree, name), base, tree, where)
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return [*_labels(left, base, tree, where), *_labels(right, base, tree, where)]
        case ast.List(elts=parts):
            return [_word(part, tree, where) for part in parts]
    raise _unreadable(node, where)


def _word(node: ast.expr, tree: ast.AST, where: str) -> str:
    """Return a label: a literal, or an attribute that is given a literal somewhere in the module."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.Attribute(attr=name):
            for assigned in ast.walk(tree):
                match assigned:
                    case ast.Assign(targets=[ast.Attribute(attr=to)], value=ast.Constant(value=str(text))):
                        if to == name:
                            return text
    raise _unreadable(node, where)


def _unreadable(node: ast.expr | None, where: str) -> UnreadableError:
    return UnreadableError(f"{where}: labels are no literals: {ast.unparse(node) if node else 'none'}")


def _assigned(tree: ast.AST, name: str) -> ast.expr | None:
    """Return what a name is given first, None where it is given nothing."""
    for node in ast.walk(tree):
        match node:
            case ast.Assign(targets=[ast.Name(id=to)], value=value) if to == name:
                return value
    return None


def _fields(tree: ast.AST, name: str) -> list[str]:
    """Return the fields of a class of pydantic or dataclasses, in order."""
    (made,) = (node for node in ast.walk(tree) if isinstance(node, ast.ClassDef) and node.name == name)
    return [
        node.target.id
        for node in made.body
        if isinstance(node, ast.AnnAssign)
        and isinstance(node.target, ast.Name)
        and "ClassVar" not in ast.unparse(node.annotation)
    ]


def main() -> int:
    """Print the definitions of the wheel that is named."""
    parser = argparse.ArgumentParser(prog="python -m charts.monitoring.definitions", description=__doc__)
    parser.add_argument("wheel", type=Path, help="a file vllm-VERSION-….whl")
    try:
        sys.stdout.write(json.dumps(of_wheel(parser.parse_args().wheel), indent=1) + "\n")
    except (UnreadableError, OSError, KeyError, zipfile.BadZipFile) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
