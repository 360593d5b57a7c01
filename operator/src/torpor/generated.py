"""Files that a program writes and people commit: one way to write them, one way to find that they drifted.

A generated file that nobody compares is wrong within a month, and four generators that compare in four ways
teach four sets of words. So each generator says only what its files must contain; `settle` writes them or,
with `--check`, prints the difference and the command that makes it go away. Nothing is written that is right
already, so that `make` and editors see no change where there is none.
"""

import argparse
import difflib
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path


def parser(command: str, about: str | None) -> argparse.ArgumentParser:
    """Return the command line that every generator has: `--check`, and nothing else."""
    made = argparse.ArgumentParser(prog=command, description=about)
    made.add_argument("--check", action="store_true", help="write nothing; exit 1 where a file differs")
    return made


def main(
    command: str,
    about: str | None,
    texts: Callable[[], Mapping[Path, str]],
    argv: Sequence[str] | None = None,
) -> int:
    """Run a generator that has no options of its own. Returns the exit status."""
    return settle(texts(), command, check=parser(command, about).parse_args(argv).check)


def settle(texts: Mapping[Path, str], command: str, *, check: bool, left_over: Iterable[Path] = ()) -> int:
    """Make each file hold its text and remove those that are `left_over`; with `check` compare instead.

    Returns the exit status: 1 where `check` found a difference, which is printed with `command`, else 0.
    """
    different = [path for path, text in texts.items() if _read(path) != text]
    gone = sorted(left_over)
    for path in (*different, *gone):
        if check:
            _show(path, texts.get(path, ""))
        else:
            _write(path, texts.get(path))
    if not check or not (different or gone):
        return 0
    names = ", ".join(map(_name, (*different, *gone)))
    sys.stdout.write(f"{names}: not what is generated; run `{command}` and commit the result\n")
    return 1


def _show(path: Path, wanted: str) -> None:
    found = (_read(path) or "").splitlines(keepends=True)
    sys.stdout.writelines(
        difflib.unified_diff(found, wanted.splitlines(keepends=True), _name(path), "generated")
    )


def _write(path: Path, text: str | None) -> None:
    if text is None:
        path.unlink()
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    sys.stdout.write(f"{_name(path)}: {'removed' if text is None else 'written'}\n")


def _read(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.exists() else None


def _name(path: Path) -> str:
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)
