"""What a release is made of and from: its version, its commit, its time, and the changes it brings.

The version is written in pyproject.toml, in the chart (twice) and above a section of the changelog, since
four kinds of tools read it there. They must agree, and the tag must, before anything is made of them.

The changelog is read as it is written for people: `## VERSION (DATE)`, below it one bullet for each change,
from the second version on under a heading that says its kind (`### Added`, `### Fixed` and so on, the kinds
that Artifact Hub knows). The first version has no kinds: all of it is added.
"""

import argparse
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
CHART = ROOT / "charts" / "torpor"
KINDS = ("added", "changed", "deprecated", "removed", "fixed", "security")
_SECTION = re.compile(r"^## (?P<version>\S+)(?: \((?P<date>[^)]*)\))?$", re.MULTILINE)
_LINK = re.compile(r"\[([^\]]*)\]\([^)\s]*\)")


class Refused(Exception):  # noqa: N818 - it is what the command answers, not a defect of it
    """Something that stands against the release; the text says what, and what to do."""


@dataclass(frozen=True)
class Change:
    """One entry of the changelog: one of KINDS, and its text without links and line breaks."""

    kind: str
    text: str


def version() -> str:
    """Return the version of this checkout. Refused where its places disagree."""
    project: str = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    places = {
        "pyproject.toml: version": project,
        "charts/torpor/Chart.yaml: version": str(chart["version"]),
        "charts/torpor/Chart.yaml: appVersion": str(chart["appVersion"]),
    }
    if len(set(places.values())) > 1:
        told = ", ".join(f"{place} is {found}" for place, found in places.items())
        raise Refused(f"the versions disagree: {told}; make them one")
    section((ROOT / "CHANGELOG.md").read_text(), project)
    return project


def check_tag(tag: str, found: str) -> None:
    """Refuse a tag that is not `v` and the version."""
    if tag != f"v{found}":
        raise Refused(
            f"the tag {tag} is not v{found}, the version of this commit; tag the commit that says so"
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare the versions, and a tag with them; print the version. Returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m release.project", description="Check and print the version."
    )
    parser.add_argument("--tag", help="the tag that is to be released")
    chosen = parser.parse_args(arguments)
    try:
        found = version()
        changes((ROOT / "CHANGELOG.md").read_text(), found)
        if chosen.tag:
            check_tag(chosen.tag, found)
    except Refused as refused:
        print(f"error: {refused}", file=sys.stderr)
        return 2
    print(found)
    return 0


def section(changelog: str, wanted: str) -> str:
    """Return the text below the heading of a version. Refused where there is none, or nothing below it."""
    headings = list(_SECTION.finditer(changelog))
    for heading, following in zip(headings, [*headings[1:], None], strict=True):
        if heading["version"] == wanted:
            text = changelog[heading.end() : following.start() if following else None].strip()
            if text:
                return text
            break
    raise Refused(f"CHANGELOG.md says nothing below '## {wanted}'; write what the version changes")


def changes(changelog: str, wanted: str) -> list[Change]:
    """Return the changes of a version, in order. Refused where a change has no kind or an unknown one."""
    first = [heading["version"] for heading in _SECTION.finditer(changelog)][-1:] == [wanted]
    kind = "added" if first else ""
    found: list[Change] = []
    for line in section(changelog, wanted).splitlines():
        if line.startswith("### "):
            kind = line.removeprefix("### ").strip().lower()
            if kind not in KINDS:
                raise Refused(f"CHANGELOG.md: '{line}' is no kind of change; they are {', '.join(KINDS)}")
        elif line.startswith("- "):
            if not kind:
                raise Refused(f"CHANGELOG.md: '{line[:60]}' stands below no heading such as '### Fixed'")
            found.append(Change(kind, line.removeprefix("- ")))
        elif line.startswith("  ") and found:
            found[-1] = Change(found[-1].kind, f"{found[-1].text} {line.strip()}")
    return [Change(change.kind, _plain(change.text)) for change in found]


def _plain(text: str) -> str:
    # Links are relative to the repository, which the reader of a registry's page does not see.
    return " ".join(_LINK.sub(r"\1", text).split())


def epoch() -> int:
    """Return the time of the release in seconds since 1970: SOURCE_DATE_EPOCH, else that of the commit."""
    given = os.environ.get("SOURCE_DATE_EPOCH") or _git("log", "-1", "--format=%ct")
    if not re.fullmatch(r"[0-9]{1,12}", given):
        raise Refused(f"SOURCE_DATE_EPOCH: {given!r} is no number of seconds, and there is no commit to ask")
    return int(given)


def revision() -> str:
    """Return the commit, with `-dirty` where the checkout differs from it; "" outside of a repository."""
    commit = _git("rev-parse", "HEAD")
    return f"{commit}-dirty" if commit and _git("status", "--porcelain", "--untracked-files=no") else commit


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", *arguments], capture_output=True, text=True, cwd=ROOT, timeout=60, check=False
        )
    except FileNotFoundError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


if __name__ == "__main__":
    sys.exit(main())
