"""The tables of tests/integration/gateway/README.md name tests that exist; a renamed one is found there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "tests" / "integration" / "gateway"
README = (FOLDER / "README.md").read_text()
ROWS = [line.strip("| ").split(" | ") for line in README.splitlines() if re.match(r"\| [^-]", line)]
# `file`, or `file`: `test`, `test…`; where it begins with e2e the first is a folder of e2e/scenarios.
NAMED = re.compile(r"(e2e )?`((?:test_|tests/|(?<=e2e `))[\w/.]+)`(?:: ((?:`\w+…?`(?:, )?)+))?")
CASES = [
    pytest.param(*found, id=f"{found[1]}-{number}")
    for number, row in enumerate(ROWS)
    for found in NAMED.findall(" | ".join(row))
]


def sources(scenario: str, name: str) -> str:
    """The code in which the tests of a name are."""
    if scenario:
        files = sorted((ROOT / "e2e" / "scenarios" / name).glob("test_*.py"))
    elif name == "test_conformance":  # its tests are the checks
        files = sorted((ROOT / "e2e" / "conformance").glob("*.py"))
    else:
        files = [ROOT / name if "/" in name else FOLDER / f"{name}.py"]
    return "".join(file.read_text() for file in files if file.exists())


@pytest.mark.parametrize(("scenario", "name", "tests"), CASES)
def test_a_named_test_exists(scenario: str, name: str, tests: str) -> None:
    code = sources(scenario, name)
    assert code, f"there is no {name}"
    for test in re.findall(r"`(\w+…?)`", tests):
        begins, end = test.removesuffix("…"), r"\w*\(" if test.endswith("…") else r"\("
        assert re.search(rf"^(?:async )?def (?:test_)?{begins}{end}", code, re.MULTILINE), (
            f"{name} has no {test}"
        )


def test_every_case_and_state_has_a_row_with_a_test() -> None:
    cases = {case for row in ROWS for case in re.findall(r"\bI\d+\b", row[0])}
    assert cases == {f"I{number}" for number in range(1, 26)}
    assert len(CASES) > 60, "the pattern does not find them any more"
    for row in ROWS:
        named = NAMED.search(" | ".join(row))
        assert named or row[0] == "I14" or "proved by" in row, row
