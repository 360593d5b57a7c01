"""A gateway's stream is followed whatever comes over it."""

import asyncio
import contextlib
import json

from torpor.cluster.demand import DemandStreams

from tests.unit.control.worlds import KEY

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nConnection: close\r\n\r\n"
FLEET = {"type": "fleet", "bootId": "b", "namespace": KEY.namespace, "name": KEY.name, "uid": "u"}


@contextlib.asynccontextmanager
async def gateway(*streams):
    """Serve one stream of bytes per connection, the last of them to all that follow."""
    served = iter(streams)

    async def serve(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(HEAD + next(served, streams[-1]))
        with contextlib.suppress(ConnectionError):
            await writer.drain()
        await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        host, port = server.sockets[0].getsockname()
        yield f"{host}:{port}"


def line(**more):
    return json.dumps(FLEET | more).encode() + b"\n"


async def test_a_line_that_cannot_be_read_ends_the_connection_and_not_the_following():
    told = asyncio.Event()
    deep = b"[" * 200_000 + b"\n"
    async with (
        gateway(deep, line(held={"count": 2})) as address,
        DemandStreams(lambda key: told.set() if key == KEY else None) as streams,
    ):
        streams.set_targets([address])
        async with asyncio.timeout(30):
            await told.wait()
        assert streams.fleet(KEY, "u").held == 2


async def test_a_fleet_that_is_gone_is_forgotten():
    told = asyncio.Event()
    async with (
        gateway(line(held={"count": 2})) as address,
        DemandStreams(lambda key: told.set() if key == KEY else None) as streams,
    ):
        streams.set_targets([address])
        async with asyncio.timeout(30):
            await told.wait()
        streams.forget(KEY)
        assert streams.fleet(KEY, "u").held == 0
