"""Between the supervisor and a worker: one socket pair, a length and a JSON object at a time.

No file, because a pod's file system may be read-only, and no port, because whoever reaches the pod would
reach it too. Its end is news as well: a worker whose supervisor is gone drains and ends.
"""

import asyncio
import socket
import struct
from typing import Any

import orjson

_LENGTH = struct.Struct("!I")


class Pipe:
    """One end. `send` and `receive` may be used at the same time, each by one task."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def open(cls, end: socket.socket) -> "Pipe":
        """Take over one end of a socket pair."""
        end.setblocking(False)
        return cls(*await asyncio.open_unix_connection(sock=end))

    async def send(self, value: dict[str, Any]) -> None:
        """Send an object; nothing happens where the other end is gone."""
        if self._writer.is_closing():
            return  # uvloop's transport would raise a RuntimeError
        data = orjson.dumps(value)
        self._writer.write(_LENGTH.pack(len(data)) + data)
        try:
            await self._writer.drain()
        except OSError:
            return

    async def receive(self) -> dict[str, Any] | None:
        """Return the next object; None once the other end is gone."""
        try:
            (length,) = _LENGTH.unpack(await self._reader.readexactly(_LENGTH.size))
            value: dict[str, Any] = orjson.loads(await self._reader.readexactly(length))
        except (OSError, asyncio.IncompleteReadError):
            return None
        return value

    def close(self) -> None:
        """Close this end."""
        self._writer.close()
