"""Blocks that are no code: usage of a command, what a program of the repository printed, a diagram.

None of them can be executed, so what they name is looked up: options in the program, the fixed words of a
table in the source that prints it (the block's title), kinds of objects in Kubernetes and here.
"""

import contextlib
import io
import re
from functools import cache

import typer
from torpor.api import constants
from torpor.cli.app import app

from charts.generate.kubernetes import _all
from tests.docs.blocks import programs, shell
from tests.docs.blocks.reading import ROOT, Block

ARROWS = "─▶│▼▲◀"


def check(block: Block, before: Block | None, options: shell.Options) -> None:
    """Check a text block; `before` is the one above it."""
    if before is not None and before.language == "python":
        assert ran(before.text) == block.text, "the code above prints something else"
    elif block.title:
        check_printed(block)
    elif any(arrow in block.text for arrow in ARROWS):
        check_diagram(block.text)
    else:
        check_usage(block.text, options)


def ran(code: str) -> str:
    """Return what a program prints."""
    with contextlib.redirect_stdout(io.StringIO()) as told:
        exec(compile(code, "block", "exec"), {})
    return told.getvalue()


def check_printed(block: Block) -> None:
    """Check that the program of the title can print the block: its words are among those of the source."""
    source = ROOT / block.title
    assert source.exists(), f"there is no {block.title}"
    words = set(re.findall(r"[A-Za-z_]{2,}", block.text))
    there = set(re.findall(r"[A-Za-z_]{2,}", source.read_text()))
    assert words <= there, f"{block.title} prints no {words - there}"


@cache
def kinds() -> frozenset[str]:
    """Return the kinds of objects that Kubernetes has, and ours."""
    return frozenset({*(name.rpartition(".")[2] for name in _all()), constants.KIND})


def check_diagram(text: str) -> None:
    """Check that each kind which a diagram names exists; a plural is taken for its singular."""
    for word in re.findall(r"\b[A-Z][a-z]+(?:[A-Z][a-z]+)+\b|\b(?:Deployment|Service)s?\b", text):
        singular = word.removesuffix("ies") + "y" if word.endswith("ies") else word.removesuffix("s")
        assert {word, singular} & kinds(), f"there is no kind {word}"


def check_usage(text: str, options: shell.Options) -> None:
    """Check synopses: `[--option VALUE]...`, each over a line or several, one after the other."""
    whole = re.sub(r"\n +", " ", text.replace("\\\n", " "))
    for line in whole.splitlines():
        words = line.split()
        options_in_it = re.findall(r"(?<![\w-])(--?(?:\[no-\])?[a-zA-Z][a-z-]*)", line)
        named = {one for option in options_in_it for one in _both(option)} - {"-m"}
        if words[0] == "torpor":
            group = typer.main.get_command(app)
            command = group if words[1][0] == "-" else group.commands[words[1]]  # type: ignore[attr-defined]
            known = {option for param in command.params for option in (*param.opts, *param.secondary_opts)}
            known |= {"--help"}
        elif words[0] == "python":
            known = set(programs.options(programs.script(words)))
        else:
            shell.check_command(words, options)
            continue
        assert named <= known, f"{' '.join(words[:2])} has no {named - known}"


def _both(option: str) -> tuple[str, ...]:
    """Return `--x` and `--no-x` for `--[no-]x`."""
    plain = option.replace("[no-]", "")
    return (plain, option.replace("[no-]", "no-")) if "[" in option else (plain,)
