"""Child processes of the launcher, and everything they leave behind.

In the pod the launcher is process 1, so whatever any engine worker orphans becomes its child and has to be
reaped, or the pod fills with zombies. Reaping with waitpid(-1) and asyncio's own subprocess support fight
over exit statuses, therefore all children are started, reaped and killed here and nowhere else: one SIGCHLD
handler takes every status and gives each to the child that waits for it. Where the launcher is not process 1
(a shared process namespace, a test) it asks the kernel to be told of orphans all the same.

Every child leads its own process group, so that a worker that outlives its parent can be killed with it.
Signals for a polite stop go to the leader alone: vLLM's engine core would take a group's SIGTERM as an order
to drop its streams.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import subprocess
from typing import TYPE_CHECKING

from torpor_engine.waiting import within

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

PR_SET_CHILD_SUBREAPER = 36
OUTPUT_LIMIT_BYTES = 1 << 20


class Child:
    """A started process; `exited` gives its return code (negative: the signal that ended it)."""

    def __init__(self, process: subprocess.Popen[bytes], exited: asyncio.Future[int]) -> None:
        self.pid = process.pid
        self.exited = exited
        self._process = process

    def settle(self, returncode: int) -> None:
        """Note the return code that the reaper got."""
        self._process.returncode = returncode
        if not self.exited.done():
            self.exited.set_result(returncode)

    def terminate(self) -> None:
        """Ask the process itself, and none of its workers, to end."""
        if not self.exited.done():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGTERM)

    def kill_group(self) -> None:
        """End the process and every worker still in its group, at once. Harmless when none is left."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)


def become_subreaper() -> None:
    """Receive orphans also when this is not process 1; on kernels or libcs that cannot, nothing changes."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


class Children:
    """Starts and reaps processes on the running event loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._alive: dict[int, Child] = {}
        become_subreaper()
        self._loop.add_signal_handler(signal.SIGCHLD, self._reap)

    def spawn(self, argv: Sequence[str], environ: Mapping[str, str], stdout: int, stderr: int) -> Child:
        """Start `argv` with its output going to the given file descriptors.

        Raises OSError when the program cannot be executed.
        """
        process = subprocess.Popen(
            list(argv),
            env=dict(environ),
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
        )
        child = Child(process, self._loop.create_future())
        self._alive[child.pid] = child
        return child

    async def ask(
        self, argv: Sequence[str], environ: Mapping[str, str], seconds: float | None
    ) -> tuple[int, bytes]:
        """Run a short helper to its end: return code and standard output (up to 1 MiB). Its errors go to the
        launcher's.

        Raises OSError when it cannot be executed, asyncio.TimeoutError after `seconds`. The helper's group is
        killed when the caller is cancelled.
        """
        read_end, write_end = os.pipe()
        try:
            child = self.spawn(argv, environ, write_end, 2)
        except OSError:
            os.close(read_end)
            raise
        finally:
            os.close(write_end)
        reader = asyncio.StreamReader(limit=OUTPUT_LIMIT_BYTES)
        with os.fdopen(read_end, "rb", buffering=0) as pipe:
            transport, _ = await self._loop.connect_read_pipe(
                lambda: asyncio.StreamReaderProtocol(reader), pipe
            )
            try:
                output = await within(seconds, reader.read(-1))
                return await within(seconds, asyncio.shield(child.exited)), output[:OUTPUT_LIMIT_BYTES]
            finally:
                child.kill_group()
                transport.close()

    def kill_all(self) -> None:
        """Kill the groups of all children that still live."""
        for child in list(self._alive.values()):
            child.kill_group()

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            child = self._alive.pop(pid, None)
            if child is not None:
                child.settle(os.WTERMSIG(status) * -1 if os.WIFSIGNALED(status) else os.WEXITSTATUS(status))
