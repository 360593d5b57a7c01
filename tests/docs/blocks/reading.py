"""Pages and what is in them: every Markdown file that git tracks, its fenced blocks, its sentences' commands.

A block that is indented (in a list) is read without its indentation. A fence that is never closed, or a block
without a language, is an error: nobody could say what to hold it against.
"""

import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from textwrap import dedent
from typing import Any

import yaml

ROOT = Path(__file__).parents[3]
DOCS = ROOT / "docs"
HERE_DOCUMENT = re.compile(r"<<'(\w+)'\n(.*?)\n\1$", re.DOTALL | re.MULTILINE)
BLOCK = re.compile(r'^( *)```(\w*)(?: title="([^"]+)")?\n(.*?)^\1```$', re.DOTALL | re.MULTILINE)
_SPAN = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
PROGRAMS = (
    "make",
    "python",
    ".venv/bin/python",
    ".venv/bin/pytest",
    "torpor",
    "torpor-sim",
    "torpor-gateway",
)


@dataclass(frozen=True)
class Block:
    """A fenced block. `line` is that of its fence, from 1."""

    language: str
    title: str
    text: str
    line: int


@cache
def pages() -> tuple[Path, ...]:
    """Return every page of the repository: what git tracks, and what it would."""
    asked = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"]
    listed = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    found = tuple(sorted(ROOT / name for name in set(listed) if (ROOT / name).exists()))
    assert len(found) > 50
    return found


def name(page: Path) -> str:
    """Return a page's path in the repository."""
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path) -> list[Block]:
    """Return the fenced blocks of a page, in order."""
    text = page.read_text()
    found = [
        Block(match[2], match[3] or "", dedent(match[4]), text.count("\n", 0, match.start()) + 1)
        for match in BLOCK.finditer(text)
    ]
    assert text.count("```") == 2 * len(found), f"{name(page)}: a fence that is no block"
    return found


def documents(page: Path) -> Iterator[Any]:
    """Yield each YAML document of a page's blocks, in order."""
    for block in blocks(page):
        if block.language == "yaml":
            yield from yaml.safe_load_all(block.text)


def spoken(page: Path) -> Iterator[str]:
    """Yield the commands that a page's sentences name: code that begins with a program of this repository."""
    text = BLOCK.sub("", page.read_text())
    for span in _SPAN.findall(text):
        words = span.split()
        if words[0] in PROGRAMS and len(words) > 1:
            yield span
