"""The pages for whoever runs it: what they name exists. What a chart renders: tests/charts/test_rights.py."""

import re
from pathlib import Path

import pytest
from torpor.api import constants

from charts.monitoring.rules import GROUPS
from charts.monitoring.rules.model import Alert
from tests.docs.test_documents import reasons

ROOT = Path(__file__).parents[2]
PAGES = ROOT / "docs/operations"
ALERTS = {rule.name for group in GROUPS for rule in group.rules if isinstance(rule, Alert)}
CODES = set(re.findall(r"`(\w+)`", (ROOT / "docs/reference/errors.md").read_text()))
WITH_PROOF = ("failure-modes", "upgrade")
PROOF = "## What shows it"


def rows(text: str) -> list[list[str]]:
    """The cells of each row of each table, without its head and rule."""
    found: list[list[str]] = []
    place = 0
    for line in text.splitlines():
        place = place + 1 if line.startswith("|") else 0
        if place > 2:
            found.append([cell.strip() for cell in line.strip("| ").split(" | ")])
    return found


def section(text: str, heading: str) -> str:
    return text.partition(heading)[2].partition("\n## ")[0]


def defined_tests() -> set[str]:
    found: set[str] = set()
    for folder in ("tests", "e2e/scenarios"):
        for path in (ROOT / folder).rglob("test_*.py"):
            found |= set(re.findall(r"^(?:async )?def (test_\w+)\(", path.read_text(), re.MULTILINE))
    return found


def test_every_row_of_the_failure_modes_names_what_shows_it() -> None:
    said, _, proof = (PAGES / "failure-modes.md").read_text().partition(PROOF)
    failures = [row[0] for row in rows(said)]
    assert len(failures) > 40
    assert [row[0] for row in rows(proof)] == failures


@pytest.mark.parametrize("page", WITH_PROOF)
def test_what_shows_it_exists(page: str) -> None:
    known = defined_tests()
    scenarios = {path.parent.name for path in (ROOT / "e2e/scenarios").glob("*/README.md")}
    names = re.findall(
        r"`(\w+)`", " ".join(row[1] for row in rows((PAGES / f"{page}.md").read_text().partition(PROOF)[2]))
    )
    assert names
    assert [name for name in names if name not in known | scenarios] == []


def test_what_tells_of_a_failure_exists() -> None:
    said = (PAGES / "failure-modes.md").read_text().partition(PROOF)[0]
    tellers = [re.findall(r"`([\w.]+)`", row[3]) for row in rows(said)]
    vocabulary = ALERTS | reasons() | set(constants.CONDITION_TYPES) | CODES
    metrics = set(re.findall(r"`(torpor_\w+)`", (ROOT / "docs/reference/metrics.md").read_text()))
    fields = {"leaseTransitions"}
    named = {name for names in tellers for name in names}
    assert len(named & ALERTS) > 20
    assert named - vocabulary - metrics - fields == set()


@pytest.mark.parametrize("page", sorted(path.name for path in PAGES.glob("*.md")))
def test_alerts_metrics_and_runbooks_that_a_page_names_exist(page: str) -> None:
    text = (PAGES / page).read_text()
    assert set(re.findall(r"\bTorpor[A-Z]\w+", text)) <= ALERTS
    for alert in re.findall(r"runbooks/(Torpor\w+)\.md", text):
        assert (PAGES / f"runbooks/{alert}.md").exists()


def test_refusals_that_the_failure_modes_name_are_those_of_the_gateway() -> None:
    said = (PAGES / "failure-modes.md").read_text().partition(PROOF)[0]
    users = " ".join(row[1] for row in rows(said))
    assert set(re.findall(r"(?:503|429|504) `(\w+)`", users)) <= CODES


def test_the_table_of_ports_is_that_of_the_code() -> None:
    table = section((PAGES / "security.md").read_text(), "## Ports").partition("\n- ")[0]
    listed = {(row[0], int(row[1])) for row in rows(table)}
    assert listed == {
        ("gateway", constants.GATEWAY_PORT),
        ("gateway", constants.GATEWAY_TLS_PORT),
        ("gateway", constants.GATEWAY_DEMAND_PORT),
        ("gateway, operator", constants.ADMIN_PORT),
        ("engine", constants.ENGINE_PORT),
        ("engine", constants.LAUNCHER_PORT),
    }


def test_the_figures_of_the_gateway_are_those_of_its_benchmark() -> None:
    measured = (ROOT / "docs/reference/gateway-benchmark.md").read_text()
    torpor = next(row for row in rows(measured) if row[0] == "torpor" and row[1].isdigit())
    sizing = (PAGES / "sizing.md").read_text()
    request, token, many = torpor[1:4]
    for said in (f"{request} µs of a core", f"{token} µs of a core", f"{many} µs of a core"):
        assert said in sizing
    for kept in re.findall(r"([\d.]+ KiB)(?: each of| a stream)", measured):
        assert kept in sizing


def test_the_figures_of_deciding_are_those_of_its_bench() -> None:
    bench = (ROOT / "bench/README.md").read_text().partition("## decide.py")[2].partition("\n## ")[0]
    measured = {row[0]: row[3] for row in rows(bench)}
    table = section((PAGES / "sizing.md").read_text(), "## The operator").partition(
        "| replicas of each fleet |"
    )[2]
    listed = {row[0]: row[1] for row in rows("| | |" + table.partition("\n\n")[0]) if row[0] in measured}
    assert len(listed) == 3
    assert all(measured[replicas] == share for replicas, share in listed.items())
