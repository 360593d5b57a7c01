"""The benchmark of autoscalers: its loads, what it keeps, its arithmetic, and the command as a whole."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torpor.simulate import bound
from torpor.simulate.rivals import RIVALS, parse

from bench import autoscaling
from bench.arena import cells, loads, picture, table
from bench.arena.cells import Cell, Store

if TYPE_CHECKING:
    from pathlib import Path


def figures(slo: float | None, hours: float, policy: str = "x", **more: Any) -> dict[str, Any]:
    return {
        "policy": policy, "requests": 100, "slo_attainment_percent": slo, "replica_hours": hours,
        "peak_replicas": 3, "starts": 4, "scale_changes": 5, "wakes": 1, "expired": 0, "refused": 0,
        "ttft_ms": {"p99.9": 1000.0}, "wall_seconds": 1.0,
    } | more  # fmt: skip


def row(slo: float | None, hours: float, policy: str = "x", variant: str = "tuned", **more: Any) -> table.Row:
    return table.row(figures(slo, hours, policy, **more), variant, 10.0, 11.0)


def group(
    *rows: table.Row, load: str = "smooth", cold: float = 120.0, condition: str = "none"
) -> dict[str, Any]:
    return {
        "load": load, "cold_start": cold, "condition": condition, "hardware": loads.HARDWARE,
        "rate_scale": 1.0, "requests": 100,
        "need_p99_9": 10.0, "bound_replica_hours": 10.0, "achievable_replica_hours": 11.0, "rows": list(rows),
    }  # fmt: skip


# ------------------------------------------------------------------ arithmetic


def test_a_row_has_both_ratios() -> None:
    one = row(99.5, 12.1)
    assert one["ratio_to_bound"] == 1.21
    assert one["ratio_to_achievable"] == 1.1
    assert table.row(figures(99.5, 12.1), "tuned", 10.0, None)["ratio_to_achievable"] is None
    assert table.row(figures(99.5, 12.1), "tuned", 0.0, None)["ratio_to_bound"] is None


def test_who_beats_whom() -> None:
    ours = row(99.0, 10.0)
    assert table.beats(row(99.1, 10.0), ours)
    assert table.beats(row(99.0, 9.9), ours)
    assert table.beats(row(99.1, 9.9), ours)
    assert not table.beats(row(99.0, 10.0), ours)
    assert not table.beats(row(99.9, 10.1), ours)
    assert not table.beats(row(98.9, 5.0), ours)
    assert not table.beats(row(None, 5.0), ours)


points = st.lists(st.tuples(st.integers(0, 20), st.integers(1, 20)), min_size=1, max_size=25)


@given(points)
@settings(max_examples=100)
def test_the_frontier_is_what_nobody_beats_and_rises(found) -> None:
    rows = [row(float(slo), float(hours)) for slo, hours in found]
    kept = table.frontier(rows)
    assert kept
    for one in rows:
        assert (one in kept) != any(table.beats(other, one) for other in rows)
    shares = [one["slo_attainment_percent"] for one in kept]
    hours = [one["replica_hours"] for one in kept]
    assert hours == sorted(hours)
    assert shares == sorted(shares)


def test_the_margin_is_over_the_cheapest_tuned_rival_that_attains_as_much() -> None:
    ours = row(99.5, 9.0, "torpor", "ours")
    rows = [
        row(99.0, 10.0, "a"),
        row(99.9, 12.0, "b"),
        row(98.9, 5.0, "c"),
        row(99.9, 9.5, "d", "default"),
    ]
    assert table.margin(rows, ours) == (10.0, "a")
    assert table.margin(rows, row(98.5, 9.0)) == (-80.0, "c")
    assert table.margin(rows[2:], ours) == (None, None)


def test_a_verdict_says_what_holds() -> None:
    ours = row(99.5, 11.4, "torpor", "ours")
    told = table.verdict(group(ours, row(99.6, 12.0, "a"), row(99.9, 11.0, "b", "default")))
    assert told == {
        "attains": True, "goal_ratio": 1.15, "within_goal": True, "tail_within": True, "none_expired": True,
        "none_refused": True, "beaten_by": ["b"], "cheaper_than_best_tuned_percent": 5.0, "best_tuned": "a",
    }  # fmt: skip
    bad = row(98.9, 11.6, "torpor", "ours", expired=1, refused=2, ttft_ms={"p99.9": 150_001.0})
    told = table.verdict(group(bad))
    assert told is not None
    assert [
        told[key] for key in ("attains", "within_goal", "tail_within", "none_expired", "none_refused")
    ] == [False] * 5
    assert table.verdict(group(row(99.0, 1.0, "keda"))) is None
    calm = table.verdict(group(ours, load="mooncake"))
    assert calm is not None
    assert calm["within_goal"] is None
    troubled = table.verdict(group(ours, condition="outage"))
    assert troubled is not None
    assert troubled["goal_ratio"] is None
    other = table.verdict(group(ours) | {"hardware": "llama-3.1-70b-bf16-a100-tp4"})
    assert other is not None
    assert other["goal_ratio"] is None
    assert table.verdict(group(ours, cold=300.0, load="bursty"))["goal_ratio"] == 1.65  # type: ignore[index]


def test_a_verdict_on_numbers_of_numpy_is_json() -> None:
    ours = table.row(figures(99.5, 11.4, "torpor"), "ours", np.float64(10.0), np.float64(11.0))
    assert json.loads(json.dumps(table.verdict(group(ours))))["within_goal"] is True


def test_the_text_has_every_row_and_the_verdict_in_words() -> None:
    shown = table.text([group(row(99.5, 11.4, "torpor", "ours"), row(98.0, 12.0, "keda:target=2"))])
    assert "smooth, cold start 120 s: 100 requests" in shown
    assert "keda:target=2 (tuned)" in shown
    assert "torpor: 99 % attained; ratio within 1.15; beaten by none" in shown


def test_the_best_of_a_grid_is_the_cheapest_that_attains_else_the_one_that_attains_most() -> None:
    tried = {"a": figures(99.0, 8.0), "b": figures(99.9, 9.0), "c": figures(98.99, 2.0)}
    assert cells.best(tried) == "a"
    assert cells.best({"b": tried["c"], "c": figures(97.0, 1.0)}) == "b"
    assert cells.best({"b": figures(50.0, 2.0), "a": figures(50.0, 2.0)}) == "a"


def test_the_picture_has_a_point_per_row_and_refuses_to_be_empty() -> None:
    rows = [row(99.5, 11.4, "torpor", "ours"), row(98.0, 12.0, "a<b"), row(20.0, 500.0, "c", "default")]
    drawn = picture.draw([group(*rows), group(*rows, condition="outage")], 120.0)
    assert drawn.count("<circle") == 3
    assert "a&lt;b" in drawn
    assert drawn.count("<svg") == drawn.count("</svg>") == 1
    with pytest.raises(ValueError, match="cold start of 30 s"):
        picture.draw([group(*rows)], 30.0)


# ------------------------------------------------------------------ loads


def test_our_own_loads_come_from_the_seed_alone() -> None:
    one, again, other = (loads.own("step", seed, quick=True) for seed in (3, 3, 4))
    assert (one.trace.arrival == again.trace.arrival).all()
    assert (one.trace.prompt == again.trace.prompt).all()
    assert len(one.trace) != len(other.trace)
    assert (np.diff(one.trace.arrival) >= 0).all()


def need(load: loads.Load) -> np.ndarray:
    return bound.need(load.trace, loads.replica_for(load.trace), loads.ITL_MS, slot=600.0)


def test_our_own_loads_have_the_shape_they_are_said_to_have() -> None:
    smooth = need(loads.own("smooth", 1, quick=True))  # two thirds of the height
    assert 7 <= np.percentile(smooth, 99) <= 9
    assert smooth.min() <= 2
    night = loads.own("overnight", 1, quick=True)
    hours = night.trace.arrival % loads.DAY / loads.HOUR
    assert hours.min() >= 8
    assert hours.max() <= 20
    bursty = need(loads.own("bursty", 1))
    assert np.median(bursty) in {3, 4}
    assert 12 <= bursty.max() <= 16
    assert 3 * 6 <= (bursty > 8).sum() <= 14 * 6  # hours of bursts in fourteen days
    step = need(loads.own("step", 1))
    assert (step[: len(step) // 2] <= 2).all()
    assert 34 <= (step >= 9).sum() <= 38  # six hours of slots of ten minutes
    shift = loads.own("shift", 1, quick=True)
    early, late = shift.part(0, shift.half), shift.part(shift.half)
    assert late.prompt.mean() / early.prompt.mean() == pytest.approx(1.8, rel=0.02)
    plain, stray = loads.own("overnight", 1), loads.own("stray", 1)
    night_hours = stray.trace.arrival % loads.DAY / loads.HOUR
    lonely = stray.trace.arrival[(night_hours < 8) | (night_hours > 20)]
    assert (lonely % loads.DAY == 3 * loads.HOUR).all()
    assert len(lonely) == 3
    assert (lonely >= stray.half).all()
    assert plain.half == stray.half == 3.5 * loads.DAY


def test_parts_begin_at_their_own_zero() -> None:
    load = loads.own("step", 1, quick=True)
    part = load.part(1000.0, 2000.0)
    assert 0 <= part.arrival.min() < part.arrival.max() < 1000
    assert len(load.part(0.0, load.half)) + len(load.part(load.half)) == len(load.trace)


def test_what_goes_wrong_is_in_the_scored_part() -> None:
    outage = loads.conditions("outage", 3600.0, 100_000.0)
    assert outage.outages[0] == (3600.0 + 7200.0, 3600.0 + 9000.0)
    assert len(outage.outages) == 5
    assert loads.conditions("failed-starts", 0, 1).failed_starts == 0.2
    assert loads.conditions("none", 0, 1) == loads.Conditions()
    with pytest.raises(ValueError, match="unknown; choose of none, outage"):
        loads.conditions("flood", 0, 1)


def test_every_family_has_a_grid_that_the_command_line_takes() -> None:
    facts = {"prompt": 900.0, "output": 200.0, "peak": 9, "max_num_seqs": 700, "max_num_batched_tokens": 700}
    for family in RIVALS:
        for text in cells.grid(family, facts):
            assert parse(text)[0] == family


# ------------------------------------------------------------------ what is kept


CELL = Cell("score", "smooth", 120.0, "none", "keda", 0)


def test_a_cell_runs_once_and_again_when_something_it_depends_on_changes(tmp_path, monkeypatch) -> None:
    ran: list[Cell] = []

    def run(cell: Cell, folder: str | None, factor: float | None) -> dict[str, Any]:
        ran.append(cell)
        return {"number": len(ran)}

    monkeypatch.setattr(cells, "run", run)
    store = Store(tmp_path / "cache", None)
    assert store.run(CELL) == store.run(CELL) == {"number": 1}
    assert Store(tmp_path / "cache", None).run(CELL) == {"number": 1}
    other = Cell("score", "smooth", 120.0, "none", "keda:target=2", 0)
    assert store.run(other) == {"number": 2}
    [path] = [p for p in (tmp_path / "cache").iterdir() if json.loads(p.read_text()) == {"number": 1}]
    path.write_text('{"number"')  # cut short by a full disk
    assert store.run(CELL) == {"number": 3}
    monkeypatch.setattr(cells, "code", lambda policy: "changed")
    assert store.run(CELL) == {"number": 3}  # a run that is under way keeps its own key
    assert Store(tmp_path / "cache", None).run(CELL) == {"number": 4}
    elsewhere = Cell("score", "smooth", 120.0, "none", "keda", 0, hardware="llama-3.1-70b-bf16-a100-tp4")
    assert store.run(elsewhere) == {"number": 5}
    assert not [p for p in (tmp_path / "cache").iterdir() if p.suffix != ".json"]


def test_the_decision_does_not_run_the_rivals_again(tmp_path, monkeypatch) -> None:
    for part in ("simulate/rivals", "decide", "dispatch"):
        (tmp_path / part).mkdir(parents=True)
    files = ("simulate/fleet.py", "simulate/policies.py", "simulate/rivals/keda.py", "decide/rule.py")
    for name in files:
        (tmp_path / name).write_text("1")
    monkeypatch.setattr(cells, "SOURCES", tmp_path)

    def changed(name: str) -> tuple[bool, bool]:
        before = cells.code("torpor"), cells.code("keda")
        (tmp_path / name).write_text("2")
        return cells.code("torpor") != before[0], cells.code("keda") != before[1]

    assert [changed(name) for name in files] == [(True, True), (True, False), (False, True), (True, False)]


# ------------------------------------------------------------------ the command


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    """Ten minutes of three requests a second, as a recording."""
    folder = tmp_path / "recordings"
    folder.mkdir()
    stamp = "2023-11-16 18:{:02d}:{:09.6f}0,{},{}"
    rows = [stamp.format(i // 180, i / 3 % 60, 900 + i % 200, 150 + i % 60) for i in range(1800)]
    text = "TIMESTAMP,ContextTokens,GeneratedTokens\n" + "\n".join(rows) + "\n"
    (folder / "azure2023_conv.csv").write_text(text)
    return folder


def command(monkeypatch, capsys, *options: object) -> tuple[int, str, str]:
    monkeypatch.setattr("sys.argv", ["autoscaling.py", *map(str, options)])
    code = autoscaling.main()
    told = capsys.readouterr()
    return code, told.out, told.err


def test_the_whole_command_goes_on_where_it_stopped(recordings, tmp_path, monkeypatch, capsys) -> None:
    asked = ["--traces", recordings, "--trace", "azure-conv", "--policy", "torpor", "--policy", "static-peak",
             "--cold-start", 30, "--jobs", 1, "--cache", tmp_path / "cache", "--json"]  # fmt: skip
    code, out, err = command(monkeypatch, capsys, *asked, "--plot", tmp_path / "frontier.svg")
    assert code == 0
    assert "tune azure-conv 120 s none static-peak:factor=0.5" in err
    [found] = json.loads(out)["groups"]
    assert 8 <= found["need_p99_9"] <= 13
    assert [one["variant"] for one in found["rows"]] == ["ours", "default", "tuned"]
    peak = found["rows"][1]
    assert peak["ratio_to_bound"] == pytest.approx(
        peak["replica_hours"] / found["bound_replica_hours"], abs=1e-3
    )
    assert found["requests"] == peak["requests"]
    assert found["verdict"] == table.verdict(found)
    assert (tmp_path / "frontier.svg").read_text().startswith("<svg")

    def fail(*_: object) -> dict[str, Any]:
        raise AssertionError("it ran again")

    monkeypatch.setattr(cells, "run", fail)
    code, again, err = command(monkeypatch, capsys, *asked)
    assert (code, err) == (0, "")
    assert json.loads(again)["groups"] == json.loads(out)["groups"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--trace", "magic"], "--trace magic: unknown"),
        (["--trace", "large48"], "say where it is with --traces"),
        (["--trace", "large48", "--traces", "/nowhere"], "No such file"),
        (["--trace", "smooth", "--policy", "magic"], "'magic': unknown"),
        (["--trace", "smooth", "--policy", "keda:x=1"], "'x' is no parameter"),
        (["--trace", "smooth", "--cold-start", "-3"], "--cold-start -3"),
        (["--trace", "smooth", "--hardware", "abacus"], "hardware 'abacus': unknown"),
        (["--trace", "smooth", "--cold-start", "nan"], "--cold-start nan"),
    ],
)
def test_wrong_input_is_one_line_and_status_2(options, said, tmp_path, monkeypatch, capsys) -> None:
    plot = tmp_path / "frontier.svg"
    code, out, err = command(
        monkeypatch, capsys, *options, "--jobs", 1, "--cache", tmp_path / "cache", "--plot", plot
    )
    assert code == 2
    assert out == ""
    assert said in err
    assert err.count("\n") == 1
    assert not plot.exists()
