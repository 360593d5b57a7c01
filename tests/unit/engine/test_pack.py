"""The archive: the same bytes each time, nothing but the standard library, and every Python from 3.9 on."""

import ast
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torpor_engine
from torpor_engine.pack import pack

PACKAGE = Path(torpor_engine.__file__).parent
MODULES = sorted(PACKAGE.glob("*.py"))


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    target = tmp_path / "torpor-engine.pyz"
    pack(target)
    return target


def test_two_builds_are_equal(tmp_path: Path, archive: Path) -> None:
    copy = tmp_path / "src" / "torpor_engine"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    for path in copy.iterdir():
        os.utime(path, (1, 1))
    pack(tmp_path / "again.pyz", copy)
    assert (tmp_path / "again.pyz").read_bytes() == archive.read_bytes()


def test_it_is_an_executable_program(archive: Path) -> None:
    answer = subprocess.run([str(archive)], capture_output=True, check=False)
    assert answer.returncode == 64
    assert answer.stderr.startswith(b"usage: torpor-engine.pyz run")
    assert "torpor_engine/launcher.py" in zipfile.ZipFile(archive).namelist()
    assert "torpor_engine/pack.py" not in zipfile.ZipFile(archive).namelist()


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.stem)
def test_syntax_of_python_39(module: Path) -> None:
    ast.parse(module.read_text(), feature_version=(3, 9))


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.stem)
def test_standard_library_only(module: Path) -> None:
    imported = set()
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(node.module or "")
    foreign = {name.split(".")[0] for name in imported} - sys.stdlib_module_names
    assert foreign <= {"torpor_engine"}
