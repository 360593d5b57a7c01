"""A process is ended only if it is the very one that was recorded."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

from e2e.cluster.processes import Recorded, recorded, running, spawn, start_time, stop

SLEEP = [sys.executable, "-c", "import signal, time; print('up', flush=True); time.sleep(60)"]
STUBBORN = [
    sys.executable,
    "-c",
    "import signal as s, time; s.signal(s.SIGTERM, s.SIG_IGN); print('up', flush=True); time.sleep(60)",
]


def gone(process: Recorded) -> None:
    """Wait for the end of a process that was told to end: a busy machine takes its time even to kill."""
    deadline = time.monotonic() + 30
    while process.alive():
        assert time.monotonic() < deadline, f"{process} goes on"
        time.sleep(0.01)


def test_spawned_process_is_recorded_and_stopped(tmp_path: Path) -> None:
    process = spawn("part", SLEEP, tmp_path / "pids", env=dict(os.environ), log=tmp_path / "part.log")
    assert running("part", tmp_path / "pids")
    stop(["part"], tmp_path / "pids")
    gone(process)
    assert recorded("part", tmp_path / "pids") is None


def test_process_that_ignores_the_request_is_killed(tmp_path: Path) -> None:
    process = spawn("part", STUBBORN, tmp_path, env=dict(os.environ), log=tmp_path / "part.log")
    while "up" not in (tmp_path / "part.log").read_text():
        pass
    stop(["part"], tmp_path, patience=0.3)
    gone(process)


def test_process_with_a_reused_id_is_left_alone(tmp_path: Path) -> None:
    with subprocess.Popen(SLEEP, stdout=subprocess.DEVNULL) as stranger:
        started = start_time(stranger.pid)
        assert started is not None
        for stale in (
            Recorded(stranger.pid, started - 1),
            replace(Recorded(stranger.pid, started), boot="another"),
        ):
            (tmp_path / "part.json").write_text(json.dumps(asdict(stale)))
            assert not running("part", tmp_path)
            stop(["part"], tmp_path, patience=0.1)
            assert stranger.poll() is None
        stranger.send_signal(signal.SIGKILL)


def test_name_with_spaces_and_brackets_does_not_confuse_the_start_time(tmp_path: Path) -> None:
    program = tmp_path / "a) b (c"
    program.symlink_to(sys.executable)
    with subprocess.Popen([program, *SLEEP[1:]], stdout=subprocess.DEVNULL) as process:
        assert start_time(process.pid) is not None
        process.kill()


def test_unreadable_record_counts_as_none(tmp_path: Path) -> None:
    (tmp_path / "part.json").write_text("{")
    assert not running("part", tmp_path)
    stop(["part"], tmp_path)
