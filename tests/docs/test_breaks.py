"""The patches that break Torpor on purpose still fit the code, and name tests that exist."""

import re

import pytest

from e2e import breaks

ALL = list(breaks.breaks([]))
FOLDERS = sorted(path.parent.name for path in breaks.SCENARIOS.glob("*/test_*.py"))


@pytest.mark.parametrize("one", ALL, ids=lambda one: one.name)
def test_a_break_fits_the_code(one):
    assert not breaks.fits(one), f"{one.file} does not apply any more; make it again for the new code"


@pytest.mark.parametrize("one", ALL, ids=lambda one: one.name)
def test_a_break_names_tests_that_exist(one):
    source = "".join(path.read_text() for path in one.file.parent.glob("test_*.py"))
    for test in one.tests:
        assert re.search(rf"^def {test}", source, re.MULTILINE), f"{one.file}: no test begins with {test}"


def test_every_scenario_has_a_break_and_its_readme_names_it():
    assert FOLDERS
    for folder in FOLDERS:
        patches = sorted((breaks.SCENARIOS / folder).glob("*.patch"))
        assert patches, f"{folder} has no patch that turns it red"
        readme = (breaks.SCENARIOS / folder / "README.md").read_text()
        for patch in patches:
            assert f"`{patch.name}`" in readme, f"{folder}/README.md does not name {patch.name}"
