"""Break Torpor on purpose and see that the scenarios notice: `python -m e2e.breaks [FOLDER[/NAME] ...]`.

A scenario that has never been red proves nothing. Beside each one lie patches that take away the behaviour
it is there for; the head of a patch says what is broken and which tests have to fail:

    Break: a gateway that never sends comments on a held stream
    Red: test_a_stream_is_kept_alive

For each of them the last commit is checked out into the cache, the patch is applied, the images are built
from it, and the named tests run on the local cluster. Every one of them has to fail, itself or in the story
that it judges: an error while the cluster or the install is prepared proves nothing either. The checkout is
removed; the cluster stays. `make check` sees to it that every patch still fits the code.

It does not say whether the tests are enough, only that these breaks do not pass them.
"""

import argparse
import contextlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from e2e.cluster import paths
from e2e.support import install, machine

ROOT = Path(__file__).resolve().parents[1]
SCENARIOS = ROOT / "e2e" / "scenarios"
CHECKOUT = paths.CACHE / "breaks"
TESTS_FAILED = 1  # pytest's exit status where it ran and something was red
SECONDS = 900  # for one break, with its images and its tests


@dataclass(frozen=True)
class Break:
    """One patch: what it breaks in words, and the tests (in pytest's `-k` form) that have to fail."""

    file: Path
    what: str
    red: str

    @property
    def name(self) -> str:
        return f"{self.file.parent.name}/{self.file.stem}"

    @property
    def tests(self) -> list[str]:
        """The beginnings of the names of the tests that have to fail."""
        return self.red.split(" or ")


def read(file: Path) -> Break:
    """Read the head of a patch. ValueError names what is missing."""
    head = file.read_text().partition("\ndiff ")[0]
    found = dict(re.findall(r"^(Break|Red): (.+)$", head, re.MULTILINE))
    for key in ("Break", "Red"):
        if key not in found:
            raise ValueError(f"{file}: no line '{key}: ...' before the diff")
    return Break(file, found["Break"], found["Red"])


def breaks(wanted: list[str]) -> Iterator[Break]:
    """The breaks of the named folders or the named ones; all of them if nothing is named."""
    for file in sorted(SCENARIOS.glob("*/*.patch")):
        found = read(file)
        if not wanted or found.name in wanted or file.parent.name in wanted:
            yield found


def fits(one: Break, checkout: Path = ROOT) -> str:
    """Return what git says against applying the patch to `checkout`; empty if it fits."""
    done = subprocess.run(
        ["git", "apply", "--check", str(one.file)], cwd=checkout, capture_output=True, text=True, check=False
    )
    return done.stderr.strip() if done.returncode else ""


def run(one: Break) -> tuple[bool, str]:
    """Break it and run its tests: (whether each of them failed, pytest's summary in a few words)."""
    shutil.rmtree(CHECKOUT, ignore_errors=True)
    CHECKOUT.parent.mkdir(parents=True, exist_ok=True)
    try:
        subprocess.run(["git", "clone", "-q", "--shared", str(ROOT), str(CHECKOUT)], check=True)
        subprocess.run(["git", "apply", str(one.file)], cwd=CHECKOUT, check=True)
        ended, told = _pytest(one)
    finally:
        shutil.rmtree(CHECKOUT, ignore_errors=True)
        _clean()
    if ended not in (0, TESTS_FAILED):
        return False, f"proves nothing, pytest ended with {ended}; see {paths.LOGS}"
    failed = re.findall(r"^(?:FAILED|ERROR) \S+::(\w+)", told, re.MULTILINE)
    green = [test for test in one.tests if not any(name.startswith(test) for name in failed)]
    if green:
        return False, f"STILL GREEN: {', '.join(green)}"
    reason = re.search(r"^(?:FAILED|ERROR) .+? - (.+)$", told, re.MULTILINE)
    return True, f"red: {', '.join(failed)} ({reason.group(1)[:150] if reason else 'no reason given'})"


def _pytest(one: Break) -> tuple[int, str]:
    """Run the named tests in the broken checkout, which is what they import, too: (exit status, output)."""
    sources = [CHECKOUT, CHECKOUT / "operator" / "src", CHECKOUT / "runtime" / "src"]
    command = [sys.executable, "-m", "pytest", "-q", "-rfE", "--tb=no", "-p", "no:cacheprovider"]
    command += ["-p", "no:hypothesispytest", "-p", "no:anyio"]  # as in e2e/run.sh
    log = paths.LOGS / f"break-{one.file.parent.name}-{one.file.stem}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as output:
        done = subprocess.run(
            [*command, "-k", one.red, f"e2e/scenarios/{one.file.parent.name}"],
            cwd=CHECKOUT,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, sources)), "COLUMNS": "400"},
            stdout=output,
            stderr=subprocess.STDOUT,
            timeout=SECONDS,
            check=False,
        )
    return done.returncode, log.read_text()


def _clean() -> None:
    """Take away what a broken chart may have left in the release's namespace."""
    with contextlib.suppress(OSError, subprocess.CalledProcessError):
        cluster = machine.attach(None, None, {}).cluster
        cluster.kubectl("delete", "namespace", install.NAMESPACE, "--ignore-not-found", "--timeout=90s")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m e2e.breaks", description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="FOLDER[/NAME]", help="default: all of them")
    parser.add_argument("--list", action="store_true", help="only say what would be broken")
    arguments = parser.parse_args()
    chosen = list(breaks(arguments.names))
    if not chosen:
        print(f"no break is called {', '.join(arguments.names)}; --list shows them all", file=sys.stderr)
        return 2
    unnoticed = 0
    for one in chosen:
        print(f"{one.name}: {one.what}", flush=True)
        if arguments.list:
            continue
        begun = time.monotonic()
        noticed, told = run(one)
        unnoticed += not noticed
        print(f"  {told} in {time.monotonic() - begun:.0f} s", flush=True)
    return 1 if unnoticed else 0


if __name__ == "__main__":
    sys.exit(main())
