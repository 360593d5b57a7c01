"""The floor: copies bytes between a client's socket and an engine's, understands nothing, on uvloop.

What any gateway in this language costs before it has read a single header. It is no gateway: it cannot choose
per request, count, hold, or survive an engine.
"""

import asyncio
import itertools
import sys
from collections.abc import Iterator

import uvloop


class _Engine(asyncio.Protocol):
    def __init__(self, client: "_Client") -> None:
        self._client = client

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._client.engine_there(transport)

    def data_received(self, data: bytes) -> None:
        self._client.write(data)


class _Client(asyncio.Protocol):
    def __init__(self, ports: Iterator[int]) -> None:
        self._ports = ports
        self._early = b""
        self._engine: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.write = transport.write  # type: ignore[attr-defined]
        loop = asyncio.get_running_loop()
        self._task = loop.create_task(
            loop.create_connection(lambda: _Engine(self), "127.0.0.1", next(self._ports))  # type: ignore[arg-type,return-value]
        )

    def engine_there(self, transport: asyncio.BaseTransport) -> None:
        self._engine = transport  # type: ignore[assignment]
        if self._early:
            self._engine.write(self._early)  # type: ignore[union-attr]

    def data_received(self, data: bytes) -> None:
        if self._engine is None:
            self._early += data
        else:
            self._engine.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._engine is not None:
            self._engine.abort()


async def _serve(port: int, ports: list[int]) -> None:
    turns = itertools.cycle(ports)
    await asyncio.get_running_loop().create_server(lambda: _Client(turns), "127.0.0.1", port, backlog=4096)
    await asyncio.Event().wait()


if __name__ == "__main__":
    first, *rest = map(int, sys.argv[1:])
    uvloop.run(_serve(first, rest))
