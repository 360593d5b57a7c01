"""Pages that mkdocs.yml does not list: each folder's section takes up what lies in the folder.

The order of a guide is somebody's choice and stands in mkdocs.yml. A reference, a runbook or a record of a
decision is looked up by its name: it belongs to its folder, and whoever writes one should not have to think
of a second place. So an entry `FOLDER/*` stands for the pages of that folder that no other entry names, in
the order of their titles (those that begin with a number, in the order of the files); an empty folder makes
an empty section, which is left out. A page in a folder that no section names is an error of the strict
build, as is an entry without a page.
"""

import re
from pathlib import Path
from typing import Any

TITLE = re.compile(r"^# (.+)$", re.MULTILINE)


def listed(nav: list[Any]) -> set[str]:
    """Return every page that an entry of `nav` names, at any depth."""
    found: set[str] = set()
    for entry in nav:
        value = next(iter(entry.values())) if isinstance(entry, dict) else entry
        found |= listed(value) if isinstance(value, list) else {value}
    return found


def filled(nav: list[Any], docs: Path) -> list[Any]:
    """Return `nav` with `FOLDER/*` replaced, and without the sections that have no page."""
    known = listed(nav)

    def entries(values: list[Any]) -> list[Any]:
        found: list[Any] = []
        for entry in values:
            if isinstance(entry, str) and entry.endswith("/*"):
                found += [page for page in pages(docs, entry.removesuffix("/*")) if page not in known]
            elif isinstance(entry, dict) and isinstance(below := next(iter(entry.values())), list):
                found += [{next(iter(entry)): kept}] if (kept := entries(below)) else []
            else:
                found.append(entry)
        return found

    return entries(nav)


def pages(docs: Path, folder: str) -> list[str]:
    """Return the pages that lie in `folder` itself, as paths below `docs`, sorted by number or title."""

    def order(path: Path) -> tuple[int, str]:
        numbered = path.name[:1].isdigit()
        title = TITLE.search(path.read_text(encoding="utf-8"))
        return (0, path.name) if numbered else (1, (title[1] if title else path.name).lower().strip("`"))

    return [path.relative_to(docs).as_posix() for path in sorted((docs / folder).glob("*.md"), key=order)]


def on_config(config: Any) -> Any:
    """Fill the sections. Called by mkdocs before it looks for pages."""
    config.nav = filled(config.nav, Path(config.docs_dir))
    return config
