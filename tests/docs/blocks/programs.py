"""The programs of the repository, read and not run: which options each has.

A bench imports half of the world before it can say `--help`; its `add_argument` calls say the same in a
millisecond. Options that pytest gets from a `conftest.py` are read in the same way.
"""

import ast
import re
import tomllib
from functools import cache
from pathlib import Path

from tests.docs.blocks.reading import ROOT

SOURCES = (ROOT, ROOT / "operator" / "src", ROOT / "runtime" / "src")
PYTEST = frozenset({"-q", "-k", "-n", "-x"})


@cache
def options(source: Path) -> frozenset[str]:
    """Return the options that a file gives to a parser, with `--no-` for switches that have it."""
    found: set[str] = {"--help"}
    for node in ast.walk(ast.parse(source.read_text())):
        if not isinstance(node, ast.Call) or not _adds(node.func):
            continue
        given = {arg.value for arg in node.args if isinstance(arg, ast.Constant)}
        both = any("BooleanOptionalAction" in ast.unparse(keyword.value) for keyword in node.keywords)
        found |= {str(option) for option in given}
        found |= {f"--no-{str(option)[2:]}" for option in given if both}
    return frozenset(found)


def _adds(function: ast.expr) -> bool:
    called = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    return called in ("add_argument", "addoption", "parser")


def script(words: list[str]) -> Path:
    """Return the file that `python FILE…` or `python -m MODULE…` runs; an assertion where there is none."""
    if words[1] == "-m":
        parts = words[2].split(".")
        tried = [root.joinpath(*parts[:-1], f"{parts[-1]}.py") for root in SOURCES]
        tried += [root.joinpath(*parts, "__main__.py") for root in SOURCES]
    else:
        tried = [ROOT / words[1]]
    found = next((path for path in tried if path.exists()), None)
    assert found, f"there is no {' '.join(words[1:3])}"
    return found


def check_python(words: list[str]) -> None:
    """Check a call of one of our programs: it exists and has the options."""
    own = script(words)
    known = options(own)
    if "generated.parser" in own.read_text() or "generated.main" in own.read_text():
        known |= {"--check"}
    _within(words, known)


def check_pytest(words: list[str]) -> None:
    """Check a call of pytest: paths exist, options are pytest's or a conftest's."""
    known = PYTEST
    for word in words[1:]:
        if "/" in word and not word.startswith("-"):
            assert (ROOT / word.partition("::")[0]).exists(), f"there is no {word}"
            above = [ROOT / word, *(ROOT / word).parents]
            known |= {
                one
                for path in above
                if (path / "conftest.py").exists()
                for one in options(path / "conftest.py")
            }
    _within(words, known)


def _within(words: list[str], known: frozenset[str]) -> None:
    given = {word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)} - {"-m"}
    assert given <= known, f"{' '.join(words[:3])} has no {given - known}"


@cache
def targets() -> frozenset[str]:
    """Return the targets of the Makefile."""
    return frozenset(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def check_make(words: list[str]) -> None:
    """Check a call of make: its targets exist; `NAME=value` is read by the Makefile or what it calls."""
    for word in words[1:]:
        if not re.fullmatch(r"[A-Z_]+=.*", word):
            assert word in targets(), f"make has no target {word}"


@cache
def extras() -> frozenset[str]:
    """Return the extras of the package."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return frozenset(project["optional-dependencies"])


def check_pip(words: list[str]) -> None:
    """Check `pip install 'torpor[extra]'`, and `pip wheel`: the extras exist."""
    assert words[1] in ("install", "wheel"), f"nobody checks pip {words[1]}"
    for word in words[2:]:
        for group in re.findall(r"\[([^\]]+)\]", word):
            assert set(group.split(",")) <= extras(), f"there is no extra {group}"
