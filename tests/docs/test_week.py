"""The README's week: picture and figures are what the command makes, and the decision does as then."""

import copy
import json
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from bench import week
from bench.week_picture import draw

ROOT = Path(__file__).parents[2]
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def record() -> dict[str, Any]:
    read: dict[str, Any] = json.loads(week.RECORD.read_text())
    return read


def test_the_picture_is_drawn_from_the_record(record: dict[str, Any]) -> None:
    assert week.PICTURE.read_text() == draw(record), "python bench/week.py draws it"


def test_the_readme_shows_the_picture_the_figures_and_the_command(record: dict[str, Any]) -> None:
    readme = (ROOT / "README.md").read_text()
    assert week.table(record) in readme, "python bench/week.py prints the table"
    assert f"]({week.PICTURE.relative_to(ROOT)})" in readme
    assert "`python bench/week.py`" in readme


def test_the_command_writes_what_is_there(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    record: dict[str, Any],
) -> None:
    monkeypatch.setattr(week, "PICTURE", tmp_path / "week.svg")
    monkeypatch.setattr("sys.argv", ["week.py"])
    assert week.main() == 0
    assert (tmp_path / "week.svg").read_text() == draw(record)
    assert capsys.readouterr().out == week.table(record) + "\n"
    monkeypatch.setattr("sys.argv", ["week.py", "--traces", str(tmp_path)])
    assert week.main() == 2
    assert "cannot be read" in capsys.readouterr().err


def test_the_figures_are_those_of_the_recorded_series(record: dict[str, Any]) -> None:
    end, figures = record["hours"] * 3600.0, record["figures"]
    assert week.replica_hours(record["billed_replicas"], end) == pytest.approx(
        figures["replica_hours"], rel=1e-3
    )
    came = sum(record["requests_per_second"]) * record["slot_seconds"]
    assert came == pytest.approx(figures["requests"], rel=1e-3)
    assert max(count for _, count in record["billed_replicas"]) <= record["max_replicas"]
    assert len(record["requests_per_second"]) * record["slot_seconds"] == end


def test_the_area_under_steps() -> None:
    steps = [[0.0, 0], [1800.0, 2], [5400.0, 0], [7200.0, 1]]
    assert week.replica_hours(steps, 9000.0) == 2.5
    assert week.asleep_hours(steps, 9000.0) == 1.0


def test_a_change_of_the_figures_changes_the_picture(record: dict[str, Any]) -> None:
    for change in (
        lambda one: one["figures"].update(replica_hours=100.0),
        lambda one: one["billed_replicas"].append([600_000.0, 3]),
        lambda one: one["requests_per_second"].__setitem__(3, 20.0),
    ):
        other = copy.deepcopy(record)
        change(other)
        assert draw(other) != draw(record)


def test_the_picture_is_small_readable_everywhere_and_loads_nothing() -> None:
    text = week.PICTURE.read_text()
    assert len(text) < 150_000
    root = ET.fromstring(text)
    title, desc = root.find(f"{SVG}title"), root.find(f"{SVG}desc")
    assert title is not None
    assert desc is not None
    assert root.get("aria-labelledby") == f"{title.get('id')} {desc.get('id')}"
    assert root.get("role") == "img"
    style = root.find(f"{SVG}style")
    assert style is not None
    light, _, dark = (style.text or "").partition("@media (prefers-color-scheme:dark)")
    coloured = {part.partition("{")[0].strip().lstrip(".") for part in dark.strip("{}\n ").split("}")}
    used = {one.get("class") for one in root.iter() if one.get("class")} - {"head"}
    assert used <= coloured, "a class without a colour for dark pages"
    assert all(f".{name}{{" in light for name in used)
    outside = ("http:", "https:", "url(", "@import", "@font-face", "<image", "<script")
    assert not any(word in text.replace('xmlns="http://www.w3.org/2000/svg"', "") for word in outside)


def test_the_decision_still_does_to_a_night_what_it_did_when_the_week_was_simulated(
    record: dict[str, Any],
) -> None:
    was, now = record["control"], week.control()
    stale = "the decision has changed: python bench/week.py --traces FOLDER simulates the week anew"
    assert now["requests"] == was["requests"]
    assert now["replica_hours"] == pytest.approx(was["replica_hours"], rel=0.05), stale
    assert now["slo_attainment_percent"] == pytest.approx(was["slo_attainment_percent"], abs=1.0), stale
    assert now["starts"] == pytest.approx(was["starts"], abs=3), stale
