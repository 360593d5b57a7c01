"""Child processes of the bench: started, watched until they answer, measured by what the kernel says of them.

CPU is user and system time of a process and all that descend from it, as /proc has it: what a gateway costs,
whoever else computes on the machine. Memory is resident memory, shared pages included.
"""

import os
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

_TICK = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_ROOT = Path(__file__).resolve().parents[2]


class StartError(Exception):
    """A process did not come up. The message is the reason, in a line."""


class Child:
    """One process and its descendants."""

    def __init__(
        self, command: Sequence[str | Path], log: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        self.log = log
        with log.open("wb") as out:
            self._process = subprocess.Popen(
                [str(part) for part in command],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                cwd=_ROOT,
                env=os.environ | dict(environment or {}),
            )

    @property
    def pid(self) -> int:
        """The process."""
        return self._process.pid

    def wait_for_port(self, port: int, seconds: float = 300.0) -> None:
        """Wait until somebody listens on `port`. Raises StartError."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise StartError(f"ended with {self._process.returncode}: {self._last_words()}")
            with socket.socket() as probe:
                probe.settimeout(1.0)
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    return
            time.sleep(0.05)
        raise StartError(f"does not listen after {seconds:g} s: {self._last_words()}")

    def _last_words(self) -> str:
        text = self.log.read_text(errors="replace").strip()
        return " ".join(text[-300:].split()) or "it said nothing"

    def cpu(self) -> float:
        """Return the CPU seconds so far."""
        return sum(ticks for _, ticks, _ in tree(self.pid)) / _TICK

    def resident(self) -> int:
        """Return resident bytes."""
        return sum(pages for _, _, pages in tree(self.pid)) * _PAGE

    def signal(self, number: int) -> None:
        """Send a signal."""
        self._process.send_signal(number)

    def end(self) -> None:
        """Stop it: politely, then not."""
        pids = [pid for pid, _, _ in tree(self.pid)]
        self._process.terminate()
        try:
            self._process.wait(3)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(10)
        for pid in pids[1:]:  # what a launcher left behind
            if _belongs(pid, pids):
                os.kill(pid, 9)


def _belongs(pid: int, before: list[int]) -> bool:
    row = _stat(pid)
    return row is not None and (row[0] in before or row[0] == 1)


def tree(root: int) -> list[tuple[int, int, int]]:
    """Return (pid, CPU ticks, resident pages) of a process and its descendants, itself first."""
    pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    rows = {pid: row for pid in pids if (row := _stat(pid))}
    found, queue = [], [root] if root in rows else []
    while queue:
        pid = queue.pop(0)
        found.append((pid, rows[pid][1], rows[pid][2]))
        queue += [child for child, row in rows.items() if row[0] == pid]
    return found


def _stat(pid: int) -> tuple[int, int, int] | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return None
    return parse_stat(text)


def parse_stat(text: str) -> tuple[int, int, int]:
    """Return (parent, user + system ticks, resident pages) of a line of /proc/PID/stat.

    The program's name stands in parentheses and may contain anything, parentheses and spaces too.
    """
    fields = text[text.rindex(")") + 2 :].split()
    return int(fields[1]), int(fields[11]) + int(fields[12]), int(fields[21])


def free_ports(count: int) -> list[int]:
    """Return ports on which nobody listens now."""
    taken = [socket.socket() for _ in range(count)]
    try:
        for one in taken:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in taken]
    finally:
        for one in taken:
            one.close()
