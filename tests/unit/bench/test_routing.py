"""The routing benchmark: production's rule beats those that know no caches, and counts what it says."""

import json
import sys

import pytest

from bench import routing


@pytest.fixture
def trace(tmp_path):
    """Conversations of four turns behind one system prompt, three turns a second."""
    lines, block = [], 1
    for start in range(60):
        blocks = [0]
        for turn in range(4):
            blocks = [*blocks, *range(block, block + 4)]
            block += 4
            row = {
                "timestamp": 1000 * start + 15_000 * turn,
                "input_length": 512 * len(blocks),
                "output_length": 20,
            }
            lines.append(row | {"hash_ids": blocks})
    path = tmp_path / "trace.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in sorted(lines, key=lambda row: row["timestamp"])))
    return path


def rows(trace, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["routing.py", "--trace", str(trace), "--json"])
    routing.main()
    found = json.loads(capsys.readouterr().out)
    assert found["requests"] == 240
    return {(row["router"], row["gateways"]): row for row in found["rows"]}


def test_prefixes_are_worth_something_and_one_process_finds_nearly_all(trace, capsys, monkeypatch):
    found = rows(trace, capsys, monkeypatch)
    assert len(found) == 9
    ours, turn_by_turn = found["Torpor PrefixAware", 1], found["round robin", 1]
    assert found["all-knowing", 1]["of_all_knowing_percent"] == 100
    assert ours["of_all_knowing_percent"] >= 95
    assert ours["hit_percent"] > 1.5 * turn_by_turn["hit_percent"]
    assert found["Torpor PrefixAware", 3]["hit_percent"] > found["Torpor LeastLoaded", 3]["hit_percent"]
    assert ours["ttft_mean_seconds"] < turn_by_turn["ttft_mean_seconds"]
