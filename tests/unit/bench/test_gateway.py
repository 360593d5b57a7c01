"""The benchmark of the gateway: its sums, its requests, its reading of answers and of /proc."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from bench.dataplane import cells, client, install, peers, processes, table, upstream


def cell(cpu: float | None, **more: Any) -> dict[str, Any]:
    return {"requests": 10, "failed": 0, "cpu_us": cpu} | more


# ------------------------------------------------------------------ sums


def test_a_summary_takes_medians_and_adds_up_counts() -> None:
    assert table.summary([cell(10.0, failed=1), cell(50.0), cell(20.0)]) == {
        "requests": 30,
        "failed": 1,
        "cpu_us": 20.0,
    }
    assert table.summary([cell(None), cell(None)])["cpu_us"] is None
    assert table.summary([cell(None), cell(8.0)])["cpu_us"] == 8.0
    assert table.summary([]) == {}


def test_percentiles_are_values_that_were_seen() -> None:
    values = [float(value) for value in range(100, 0, -1)]
    assert table.percentile(values, 50) == 50.0
    assert table.percentile(values, 99) == 99.0
    assert table.percentile(values, 100) == 100.0
    assert table.percentile([7.0], 50) == 7.0
    assert table.percentile([], 50) is None


def test_what_a_gateway_adds_is_over_the_way_without_one() -> None:
    rows = table.table(
        {
            table.DIRECT: {"streams_100": [{"gap_p50_ms": 20.0, "way_p50_ms": 0.5, "failed": 0}]},
            "a": {"streams_100": [{"gap_p50_ms": 20.5, "way_p50_ms": 0.75, "failed": 0}]},
        }
    )
    assert rows["a"]["streams_100"]["added_gap_p50_ms"] == 0.5
    assert rows["a"]["streams_100"]["added_way_p50_ms"] == 0.25
    assert "added_gap_p50_ms" not in rows[table.DIRECT]["streams_100"]


def goal_of(found: list[dict[str, Any]], named: str, peer: str) -> dict[str, Any]:
    return next(goal for goal in found if (goal["cell"], goal["peer"]) == (named, peer))


def test_goals_are_ratios_and_a_peer_that_is_not_there_leaves_its_goal_open() -> None:
    rows = {
        peers.OURS: {"unary": cell(70.0)},
        table.ROUND_ROBIN: {"unary": cell(100.0)},
        table.CACHE_AWARE: {"unary": cell(100.0)},
    }
    found = table.goals(rows, {table.HAPROXY: "no package"})
    assert goal_of(found, "unary", table.ROUND_ROBIN)["met"] is True
    assert goal_of(found, "unary", table.CACHE_AWARE) | {"met": False, "ratio": 0.7} == goal_of(
        found, "unary", table.CACHE_AWARE
    )
    absent = goal_of(found, "unary", table.HAPROXY)
    assert (absent["met"], absent["ratio"], absent["reason"]) == (None, None, "no package")
    assert goal_of(found, "streams_400", table.ROUND_ROBIN)["reason"].endswith("was not measured")


def test_every_goal_names_a_row_that_can_be_started() -> None:
    assert {goal.peer for goal in table.GOALS} <= set(peers.STARTS)
    assert set(peers.rows([peers.OURS, *peers.PEERS])) == set(peers.STARTS)
    assert peers.rows(["vllm-router"]) == [table.ROUND_ROBIN, table.CACHE_AWARE]


def test_the_table_shows_what_is_missing_and_the_report_is_json() -> None:
    rows = {peers.OURS: {"unary": cell(70.0, per_second=9.0)}}
    missing = {"nginx": "pip found nothing"}
    report = {
        "rows": rows,
        "versions": {peers.OURS: "1"},
        "missing": missing,
        "goals": table.goals(rows, missing),
    }
    shown = table.text(json.loads(json.dumps(report)))
    assert "| torpor | 1 | 70.0 | 9 |" in shown
    assert "nginx | not measured: pip found nothing" in shown


# ------------------------------------------------------------------ client and upstream


def test_bodies_are_of_one_size_and_say_what_they_want() -> None:
    for number in (0, 7, 63):
        for stream in (False, True):
            content = client.body(number, stream=stream, tokens=12345)
            assert len(content) == client.BODY_BYTES
            value = json.loads(content)
            assert (value["stream"], value["max_tokens"], value["model"]) == (stream, 12345, client.MODEL)
    assert client.body(1, stream=False) != client.body(2, stream=False)
    assert json.loads(upstream.ANSWER)["usage"]["completion_tokens"] == 64


class Wire:
    """A transport that keeps what is written."""

    def __init__(self) -> None:
        self.written: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def is_closing(self) -> bool:
        return False

    def close(self) -> None:
        pass


def event(stamp: int) -> bytes:
    data = upstream._EVENT % (stamp, b"null")
    return b"%x\r\n%b\r\n" % (len(data), data)


@pytest.mark.parametrize("size", [1, 7, 64, 100_000])
def test_tokens_are_counted_however_the_stream_is_cut(size: int) -> None:
    load = client.Load()
    requests = iter([b"one", b"two", None])
    reader = client.Connection(load, lambda: next(requests))
    reader.connection_made(Wire())  # type: ignore[arg-type]
    streamed = upstream._STREAM_HEAD + event(1) + event(2) + event(3) + upstream._END
    for answer in (streamed, upstream._UNARY):
        for at in range(0, len(answer), size):
            reader.data_received(answer[at : at + size])
    assert (load.tokens, load.begun, load.done, load.failed) == (3, 2, 2, 0)
    assert load.statuses == {200: 2}


def test_a_stream_without_its_end_has_failed() -> None:
    load = client.Load()
    reader = client.Connection(load, lambda: b"one")
    reader.connection_made(Wire())  # type: ignore[arg-type]
    reader.data_received(upstream._STREAM_HEAD + event(1) + b"0\r\n\r\n")
    assert (load.done, load.failed) == (0, 1)
    reader.data_received(upstream._STREAM_HEAD + event(1))
    reader.connection_lost(None)
    assert (load.done, load.failed) == (0, 2)


def test_so_many_requests_and_no_more() -> None:
    source = cells.once(80, 3, stream=False)
    assert [source() is None for _ in range(5)] == [False, False, False, True, True]


# ------------------------------------------------------------------ processes and packages


def test_proc_is_read_by_its_last_parenthesis() -> None:
    fields = ["S", "42", *["0"] * 9, "7", "5", *["0"] * 8, "300"]
    assert processes.parse_stat(f"1 (a) b (c) {' '.join(fields)} 0") == (42, 12, 300)


def test_the_tree_has_children() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        found = processes.tree(os.getpid())
        assert found[0][0] == os.getpid()
        assert child.pid in [pid for pid, _, _ in found]
    finally:
        child.communicate(b"\n", timeout=30)


def test_what_cannot_be_installed_says_why() -> None:
    with pytest.raises(install.InstallError, match="no such package"):
        install._run([sys.executable, "-c", "raise SystemExit('warning\\nno such package')"])
    with pytest.raises(install.InstallError, match="No such file"):
        install._run(["a-program-that-is-not-there"])
