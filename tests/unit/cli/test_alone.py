"""The extra `cli` alone is enough: whatever the command line can come to import, it brings."""

import ast
import builtins
import re
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from torpor.cli import main
from torpor.cli.app import app
from typer.testing import CliRunner

SOURCES = Path("operator/src")


def module(name):
    """The file of one of our modules; None for a name inside one."""
    path = SOURCES.joinpath(*name.split("."))
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)


def imported(file):
    """Names that a file imports, at its top or in its functions, but for those under TYPE_CHECKING."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    skipped = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            skipped |= {id(inner) for part in node.body for inner in ast.walk(part)}
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def reached():
    """Packages of others that our command line can import, with one of the files that do."""
    seen, todo, others = set(), list((SOURCES / "torpor/cli").glob("*.py")), {}
    while todo:
        file = todo.pop()
        if file in seen:
            continue
        seen.add(file)
        for name in imported(file):
            parts = name.split(".")
            if parts[0] == "torpor":
                found = [module(".".join(parts[:size])) for size in range(1, len(parts) + 1)]
                todo += [found for found in found if found is not None]
            elif parts[0] not in sys.stdlib_module_names and parts[0] != "__future__":
                others[parts[0]] = str(file)
    return others


def brought():
    """Packages that the extra brings, those that it needs in turn included."""
    extra = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]
    todo, found = list(extra["optional-dependencies"]["cli"]), set()
    while todo:
        name = re.match(r"[\w.-]+", todo.pop())[0].lower().replace("_", "-")
        if name in found:
            continue
        found.add(name)
        todo += [told for told in metadata.requires(name) or () if "extra ==" not in told and ";" not in told]
    return found


def test_the_extra_brings_what_the_command_line_imports():
    here, extra = metadata.packages_distributions(), brought()
    others = reached()
    assert {"httpx", "numpy", "pydantic", "rich", "typer", "yaml"} <= set(others)  # the walk has walked
    missing = {
        name: file
        for name, file in others.items()
        if not {told.lower().replace("_", "-") for told in here.get(name, [name])} & extra
    }
    assert missing == {}


def absent(name, monkeypatch):
    """Have one package not be installed."""
    real = builtins.__import__

    def without(wanted, *args, **more):
        if wanted.partition(".")[0] == name:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return real(wanted, *args, **more)

    for loaded in [each for each in sys.modules if each.partition(".")[0] == name]:
        monkeypatch.delitem(sys.modules, loaded)
    monkeypatch.setattr(builtins, "__import__", without)


def test_a_package_that_is_missing_is_a_sentence(monkeypatch, tmp_path):
    path = tmp_path / "fleet.yaml"
    path.write_text("a: 1")
    absent("yaml", monkeypatch)
    result = CliRunner().invoke(app, ["validate", str(path)])
    told = "torpor validate: yaml is not installed; pip install 'torpor[cli]' brings it\n"
    assert (result.exit_code, result.output) == (1, told)


def test_without_typer_there_is_a_sentence_too(monkeypatch):
    monkeypatch.setitem(sys.modules, "torpor.cli.app", None)
    absent("typer", monkeypatch)
    for loaded in [each for each in sys.modules if each.startswith("torpor.cli.")]:
        monkeypatch.delitem(sys.modules, loaded)
    with pytest.raises(SystemExit, match="typer is not installed; pip install"):
        main()
