"""Child processes whose logs can be waited for."""

import asyncio
import os
import re
import sys
from pathlib import Path

BIN = Path(sys.executable).parent


class Running:
    """A child process that says where it listens."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        self.process = process
        self.log = log

    async def says(self, pattern: str, seconds: float = 60) -> re.Match[str]:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        while not (found := re.search(pattern, self.log.read_text())):
            assert loop.time() < deadline, f"{pattern!r} is not in: {self.log.read_text()}"
            assert self.process.returncode is None or re.search(pattern, self.log.read_text()), (
                self.log.read_text()
            )
            await asyncio.sleep(0.01)
        return found

    async def end(self, seconds: float = 60) -> int:
        async with asyncio.timeout(seconds):
            return await self.process.wait()

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    @classmethod
    async def begin(cls, log: Path, program: str, *arguments: str, **environment: str) -> "Running":
        with log.open("w") as out:
            process = await asyncio.create_subprocess_exec(
                str(BIN / program), *arguments, stdout=out, stderr=out, env=os.environ | environment
            )
        return cls(process, log)
