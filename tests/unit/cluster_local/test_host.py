"""What the node's pods weigh against the other processes of the machine."""

from pathlib import Path

import pytest

from e2e.cluster import host


@pytest.mark.parametrize(("name", "one"), [("cpu.shares", 1024), ("cpu.weight", 100)])
def test_the_node_weighs_as_much_as_two_processes_for_each_core(
    name: str, one: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host.os, "cpu_count", lambda: 3)
    (tmp_path / name).write_text(str(one))
    host._weigh(tmp_path)
    assert (tmp_path / name).read_text() == str(6 * one)


def test_a_controller_without_weights_gets_none(tmp_path: Path) -> None:
    host._weigh(tmp_path)
    assert list(tmp_path.iterdir()) == []
