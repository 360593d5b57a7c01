"""What the page about security says of our service accounts' rights is what the chart renders."""

import re
from collections.abc import Iterable
from functools import cache
from typing import Any

import yaml

from tests.charts.rendering import CHART, of, one, run
from tests.docs.test_operations import PAGES, rows, section


@cache
def roles() -> list[dict[str, Any]]:
    parts = [f"--show-only=templates/{part}/rbac.yaml" for part in ("operator", "gateway")]
    shown = run("template", "torpor", str(CHART), "--namespace=torpor-system", *parts)
    return [item for item in yaml.safe_load_all(shown) if item]


def rights(granting: Iterable[dict[str, Any]]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for role in granting:
        for rule in role["rules"]:
            for resource in rule["resources"]:
                found.setdefault(resource, set()).update(rule["verbs"])
    return found


def test_the_tables_of_rights_are_the_charts_roles() -> None:
    objects = roles()
    written = section((PAGES / "security.md").read_text(), "## Service accounts")
    tables = [
        {row[0].strip("`"): set(re.findall(r"[a-z]+", row[1])) - {"of", "its", "own"} for row in rows(table)}
        for table in re.split(r"\n\n(?=The )", written)
        if "| resource |" in table
    ]
    rendered = [
        rights([one(objects, "ClusterRole", "torpor:torpor-system:torpor:operator")]),
        rights(of(objects, "Role", "torpor-operator")),
        rights([one(objects, "ClusterRole", "torpor:torpor-system:torpor:gateway")]),
    ]
    assert tables == rendered


def test_nobody_may_delete() -> None:
    assert "Nobody may delete anything" in (PAGES / "security.md").read_text()
    ours = [role for kind in ("Role", "ClusterRole") for role in of(roles(), kind)]
    assert len(ours) == 3
    assert not {verb for verbs in rights(ours).values() for verb in verbs} & {"delete", "deletecollection"}
