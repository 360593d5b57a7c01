"""Running engines as processes and talking to them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

DEADLINE = 60.0


@dataclass
class Engine:
    """A running simulated engine."""

    process: Process
    address: str
    client: httpx.AsyncClient

    async def gauge(self, name: str, **labels: str) -> float:
        """The value of one series; KeyError when it is not there."""
        text = (await self.client.get("/metrics")).text
        for line in text.splitlines():
            match = re.match(rf"{re.escape(name)}(?:{{(.*)}})? (\S+)$", line)
            if match and all(f'{key}="{value}"' in (match[1] or "") for key, value in labels.items()):
                return float(match[2])
        raise KeyError(name)

    async def until(self, name: str, value: float, **labels: str) -> None:
        """Poll a series until it has a value."""
        async with asyncio.timeout(DEADLINE):
            while True:
                if await self.gauge(name, **labels) == value:
                    return
                await asyncio.sleep(0.01)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.process.child.send_signal(signal.SIGTERM)

    def complete(self, **body: Any) -> asyncio.Task[httpx.Response]:
        """A completion request in the background."""
        default = {"model": "llm", "prompt": "A river is", "ignore_eos": True, "max_tokens": 8}
        return asyncio.create_task(self.client.post("/v1/completions", json={**default, **body}))


@dataclass
class Process:
    """A started torpor-sim and its log."""

    child: asyncio.subprocess.Process
    log: Path

    def text(self) -> str:
        """The log so far."""
        return self.log.read_text()

    async def exit_code(self) -> int:
        """The code it ends with."""
        return await asyncio.wait_for(self.child.wait(), DEADLINE)

    async def says(self, pattern: str) -> str:
        """Wait until the log has a line like this; its first group."""
        async with asyncio.timeout(DEADLINE):
            while True:
                if match := re.search(pattern, self.text()):
                    return match[1]
                if self.child.returncode is not None:
                    raise AssertionError(f"engine exited with {self.child.returncode}: {self.text()}")
                await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def launch(*arguments: str, env: dict[str, str] | None = None) -> AsyncIterator[Process]:
    """Start torpor-sim with these arguments; it is killed at the end."""
    with tempfile.NamedTemporaryFile(suffix=".log") as log:
        child = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "torpor_sim", *arguments), stderr=log, env={**os.environ, **(env or {})}
        )
        try:
            yield Process(child, Path(log.name))
        finally:
            if child.returncode is None:
                child.kill()
                await child.wait()


@contextlib.asynccontextmanager
async def engine(*arguments: str, env: dict[str, str] | None = None) -> AsyncIterator[Engine]:
    """A serving engine of model `llm` on a free port."""
    async with launch("--listen", "127.0.0.1:0", "--model", "llm", *arguments, env=env) as process:
        address = await process.says(r"on (http://\S+)")
        limits = httpx.Limits(max_connections=500, max_keepalive_connections=0)
        async with httpx.AsyncClient(base_url=address, timeout=60, limits=limits, trust_env=False) as client:
            yield Engine(process, address, client)
