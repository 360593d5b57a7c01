"""The site's pages: each is in the nav, each nav entry is a page, and links out of `docs/` are rewritten."""

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))


def hook(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"docs_{name}", DOCS / "hooks" / f"{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def nav() -> list[Any]:
    read: dict[str, Any] = yaml.safe_load((ROOT / "mkdocs.yml").read_text())
    found: list[Any] = hook("pages").filled(read["nav"], DOCS)
    return found


def test_the_nav_has_each_page_once_and_nothing_else():
    listed: list[str] = []

    def walk(entries: list[Any]) -> None:
        for entry in entries:
            value = next(iter(entry.values())) if isinstance(entry, dict) else entry
            if isinstance(value, list):
                assert value, f"an empty section: {entry}"
                walk(value)
            else:
                listed.append(value)

    walk(nav())
    assert sorted(listed) == sorted(page.relative_to(DOCS).as_posix() for page in PAGES)


def test_a_section_takes_up_its_folder_in_order_and_an_empty_one_is_left_out(tmp_path):
    (tmp_path / "adr").mkdir()
    for name, title in (
        ("b.md", "Apples"),
        ("a.md", "Bananas"),
        ("0002-z.md", "Z"),
        ("0010-a.md", "A"),
        ("README.md", "Q"),
    ):
        (tmp_path / "adr" / name).write_text(f"# {title}\n")
    given = [{"Design": ["adr/README.md", {"Runbooks": ["runbooks/*"]}, "adr/*"]}, {"None": ["runbooks/*"]}]
    assert hook("pages").filled(given, tmp_path) == [
        {"Design": ["adr/README.md", "adr/0002-z.md", "adr/0010-a.md", "adr/b.md", "adr/a.md"]}
    ]


def test_links_out_of_the_folder_are_rewritten_and_broken_ones_refused(tmp_path):
    rewrite = hook("links").rewrite
    docs = tmp_path / "docs"
    (docs / "guides").mkdir(parents=True)
    (docs / "README.md").write_text("# A\n")
    (tmp_path / "crds").mkdir()
    page, fenced = "guides/a.md", "```\n[x](../../nowhere)\n```"
    assert rewrite("[home](../README.md#a)", page, docs, None) == "[home](../README.md#a)"
    assert rewrite("[the CRD](../../crds)", page, docs, None) == "the CRD (`crds` in the repository)"
    assert rewrite("[crds/](../../crds)", page, docs, None) == "crds/"
    assert rewrite("[the CRD](../../crds)", page, docs, "https://git.example/t/") == (
        "[the CRD](https://git.example/t/blob/HEAD/crds)"
    )
    assert rewrite("[all](..)", page, docs, None) == "[all](../README.md)"
    assert rewrite(fenced, page, docs, None) == fenced
    with pytest.raises(LookupError, match=r"guides/a\.md: the link to \.\./\.\./nowhere leads nowhere"):
        rewrite("[x](../../nowhere)", page, docs, None)


def test_a_list_that_follows_its_paragraph_gets_an_empty_line():
    spaced = hook("links").spaced
    given = "text:\n- one\n  more\n- two\n\n```\ntext\n- no item\n```\n1. first\n2. second\n"
    assert spaced(given) == (
        "text:\n\n- one\n  more\n- two\n\n```\ntext\n- no item\n```\n\n1. first\n2. second\n"
    )
    assert spaced(spaced(given)) == spaced(given)
