"""Long-running processes that outlive the command that started them, and are stopped by the one that ends
them.

A process id alone is no proof: after a crash or a reboot it may belong to somebody else. So each process is
recorded with the time the kernel says it was started and the boot it was started in, and a signal is sent
only if both still match. Nothing is ever looked up by name.
"""

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

BOOT = Path("/proc/sys/kernel/random/boot_id").read_text().strip()


@dataclass(frozen=True)
class Recorded:
    """A process: its id, its start in clock ticks since boot, and the boot."""

    pid: int
    started: int
    boot: str = BOOT

    def alive(self) -> bool:
        """Say whether this very process still runs (a zombie does not)."""
        return self.boot == BOOT and start_time(self.pid) == self.started


def start_time(pid: int) -> int | None:
    """Return when a process was started, in clock ticks since boot; None if gone or a zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = stat[stat.rindex(")") + 2 :].split()  # the name before it may contain anything, also spaces
    return None if fields[0] in "ZX" else int(fields[19])


def spawn(
    name: str, command: Sequence[str], folder: Path, *, env: Mapping[str, str], log: Path, cwd: str = "/"
) -> Recorded:
    """Start a process in its own session, record it as `folder/NAME.json`, append its output to `log`."""
    folder.mkdir(parents=True, exist_ok=True)
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=dict(env), cwd=cwd,
            start_new_session=True,
        )  # fmt: skip
    recorded = Recorded(process.pid, start_time(process.pid) or 0)
    process.returncode = 0  # it is nobody's child to wait for: silence the warning about a forgotten process
    temporary = folder / f".{name}.tmp"
    temporary.write_text(json.dumps(asdict(recorded)))
    temporary.rename(folder / f"{name}.json")
    return recorded


def recorded(name: str, folder: Path) -> Recorded | None:
    """Return the record of a process, whether it still runs or not; None if none can be read."""
    try:
        return Recorded(**json.loads((folder / f"{name}.json").read_text()))
    except (OSError, ValueError, TypeError):
        return None


def running(name: str, folder: Path) -> bool:
    """Say whether the process recorded under `name` runs."""
    known = recorded(name, folder)
    return known is not None and known.alive()


def stop(names: Iterable[str], folder: Path, *, patience: float = 5.0) -> None:
    """Ask the recorded processes to end together, and kill those that have not after `patience` seconds."""
    known = {name: process for name in names if (process := recorded(name, folder)) is not None}
    for wanted in (signal.SIGTERM, signal.SIGKILL):
        for process in known.values():
            if process.alive():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process.pid, wanted)
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline and any(process.alive() for process in known.values()):
            _reap(known.values())
            time.sleep(0.02)
        _reap(known.values())
    for name in known:
        (folder / f"{name}.json").unlink(missing_ok=True)


def _reap(processes: Iterable[Recorded]) -> None:
    """Collect those that are children of this very program, else they stay zombies until it ends."""
    for process in processes:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(process.pid, os.WNOHANG)
