"""Pages that are written for the repository, read on the site.

The pages are read in two places: in the repository, where a link to `../../crds` opens a folder, and on the
site, where nothing outside `docs/` exists and a strict build refuses the link. The page keeps the form for
the repository; here, while the site is built, such a link becomes one to `repo_url` where mkdocs.yml has
it, and else the path in words. A link to a folder inside `docs/` becomes one to its README. No link is
dropped in silence: what leads nowhere in the repository either is an error here too.

And a list that follows its paragraph without an empty line is a list in the repository and part of the
paragraph for the site's Markdown: it gets the line here, so that nobody has to know.
"""

import os
import posixpath
import re
from pathlib import Path
from typing import Any

LINK = re.compile(r"(!?)\[([^\]]*)\]\((?!https?:|mailto:|#)([^)\s#]+)(#[^)\s]*)?\)")
ITEM = re.compile(r" {0,3}(?:[-*+]|\d+\.) ")
FENCED = re.compile(r"(^```.*?^```$)", re.DOTALL | re.MULTILINE)


def rewrite(markdown: str, page: str, docs: Path, repo_url: str | None) -> str:
    """
    Return `markdown` with every link that leaves `docs` rewritten.

    `page` is the page's path below `docs`. Raises `LookupError` where a link leads nowhere.
    """

    def replaced(match: re.Match[str]) -> str:
        picture, text, target, anchor = match.groups()
        path = docs / posixpath.dirname(page) / target
        if not path.exists():
            raise LookupError(f"{page}: the link to {target} leads nowhere")
        if path.is_dir() and (path / "README.md").exists() and path.resolve().is_relative_to(docs):
            return f"{picture}[{text}]({posixpath.join(target, 'README.md')}{anchor or ''})"
        if path.resolve().is_relative_to(docs):
            return match.group()
        inside = os.path.relpath(path.resolve(), docs.parent)
        if repo_url:
            return f"{picture}[{text}]({repo_url.rstrip('/')}/blob/HEAD/{inside}{anchor or ''})"
        return text if inside in text else f"{text} (`{inside}` in the repository)"

    parts = FENCED.split(markdown)
    return "".join(part if part.startswith("```") else LINK.sub(replaced, part) for part in parts)


def spaced(markdown: str) -> str:
    """Return `markdown` with an empty line before each list that follows a paragraph directly."""
    lines: list[str] = []
    fenced = in_list = False
    for line in markdown.splitlines(keepends=True):
        fenced ^= line.startswith("```")
        item = not fenced and ITEM.match(line) is not None
        if item and not in_list and lines and lines[-1].strip():
            lines.append("\n")
        in_list = item or (in_list and line.strip() != "")
        lines.append(line)
    return "".join(lines)


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Rewrite a page before it becomes HTML. Called by mkdocs."""
    del files
    docs = Path(config.docs_dir).resolve()
    return spaced(rewrite(markdown, page.file.src_uri, docs, config.repo_url))
