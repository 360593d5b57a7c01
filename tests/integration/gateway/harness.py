"""A gateway in this process, a raw client for it, and polling with a deadline."""

import asyncio
import contextlib
import json
from collections.abc import Callable
from typing import Any

from torpor.api.names import FleetKey
from torpor_gateway.demand import Demand
from torpor_gateway.fleet import Fleet
from torpor_gateway.policy import FleetSpec, FleetStatus, Policy
from torpor_gateway.registry import Registry
from torpor_gateway.server import Server
from torpor_gateway.settings import Settings
from torpor_gateway.stats import StatsStream

from tests.integration.gateway.scripted import Engine, Launcher
from tests.ports import free_port

CHAT = "/v1/chat/completions"
NOTHING_KNOWN = FleetStatus()
# How long anything may take that a test waits for: a bound for hangs, no statement about the gateway.
PATIENCE_SECONDS = 30.0


async def until(what: Callable[[], Any], seconds: float = PATIENCE_SECONDS) -> Any:
    """Wait until `what()` is true and return it."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while not (value := what()):
        assert loop.time() < deadline, "it did not come true in time"
        await asyncio.sleep(0.005)
    return value


def request(
    body: bytes | dict[str, Any], path: str = CHAT, headers: str = "", method: str = "POST", host: str = "gw"
) -> bytes:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = f"{method} {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n{headers}"
    return head.encode() + b"Content-Length: %d\r\n\r\n" % len(content) + content


def chat(stream: bool = False, model: str = "llm", **more: Any) -> dict[str, Any]:
    return {"model": model, "stream": stream, "messages": [{"role": "user", "content": "hello"}], **more}


class Answer:
    """A response read off the wire, its body decoded. `ended`: whether its framing ended as announced."""

    def __init__(self, head: bytes) -> None:
        assert head.startswith(b"HTTP/1.1 "), f"behind the last answer: {head[:100]!r}"
        lines = head.decode().split("\r\n")
        self.status = int(lines[0].split(" ")[1])
        self.headers = {
            k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines[1:] if line)
        }
        self.body = b""
        self.ended = False

    @property
    def error(self) -> dict[str, Any]:
        return json.loads(self.body)["error"]

    @property
    def events(self) -> list[bytes]:
        return [event for event in self.body.split(b"\n\n") if event and not event.startswith(b":")]


class Client:
    """A connection that sends bytes and reads answers; a parser of its own, on purpose simple."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def connect(cls, port: int) -> "Client":
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        with contextlib.suppress(ConnectionError):
            await self.writer.drain()

    async def head(self) -> Answer:
        async with asyncio.timeout(PATIENCE_SECONDS):
            return Answer(await self.reader.readuntil(b"\r\n\r\n"))

    async def answer(self, to_head: bool = False) -> Answer:
        answer = await self.head()
        async with asyncio.timeout(PATIENCE_SECONDS):
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
                if to_head or answer.status == 204:
                    answer.ended = True
                elif "content-length" in answer.headers:
                    answer.body = await self.reader.readexactly(int(answer.headers["content-length"]))
                    answer.ended = True
                elif answer.headers.get("transfer-encoding") == "chunked":
                    while True:
                        size = int(await self.reader.readuntil(b"\r\n"), 16)
                        answer.body += (await self.reader.readexactly(size + 2))[:-2]
                        if not size:
                            answer.ended = True
                            break
                else:
                    answer.body = await self.reader.read()
        return answer

    async def ask(self, data: bytes) -> Answer:
        await self.send(data)
        return await self.answer()

    async def read_until(self, text: bytes) -> bytes:
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await self.reader.readuntil(text)

    async def closed(self, seconds: float = PATIENCE_SECONDS) -> bytes:
        """Return what comes until the gateway closes the connection."""
        async with asyncio.timeout(seconds):
            with contextlib.suppress(ConnectionError):
                return await self.reader.read()
        return b""

    def leave(self) -> None:
        self.writer.transport.abort()


class Gateway:
    """The data plane with fleets put in by hand."""

    def __init__(self, settings: Settings) -> None:
        loop = asyncio.get_running_loop()
        self.settings = settings
        self.registry = Registry(settings, loop)
        self.registry.complete = True
        self.server = Server(settings, self.registry, loop)
        self.demand = Demand(self.registry, "gw-0", settings.demand_token_file)
        self.registry.set_changed(self.demand.changed)
        self.port = 0
        self.troubles: list[dict[str, Any]] = []
        loop.set_exception_handler(lambda _, trouble: self.troubles.append(trouble))
        self._streams: list[StatsStream] = []
        self._clients: list[Client] = []

    async def open(self) -> None:
        self.port = await self.server.listen("127.0.0.1", 0)

    async def close(self) -> None:
        for stream in self._streams:
            stream.close()
        for client in self._clients:
            client.writer.close()
        self.server.abort()
        for fleet in self.registry.fleets.values():
            fleet.retire()
        await until(lambda: not self.server.connections)
        assert self.troubles == [], "an exception got as far as the loop"
        assert self.server.buffered_bytes == 0, "bodies were forgotten"
        for fleet in self.registry.fleets.values():
            assert (fleet.in_flight, len(fleet.line), fleet.line.bytes) == (0, 0, 0), (
                "requests were forgotten"
            )
            assert all(pod.load_state.in_flight == 0 for pod in fleet.endpoints.values())

    def static(
        self, *engines: Engine | int, name: str = "llm", limit: int | None = None, **policy: Any
    ) -> Fleet:
        """A fleet as a file would give it."""
        fleet = self.registry.put(
            FleetSpec(FleetKey("static", name), name, (name,), Policy(**policy)), managed=False
        )
        ports = [engine.port if isinstance(engine, Engine) else engine for engine in engines]
        self.registry.set_endpoints(
            fleet, [self.registry.endpoint(fleet, "127.0.0.1", port, max_concurrency=limit) for port in ports]
        )
        return fleet

    def managed(
        self,
        status: FleetStatus = NOTHING_KNOWN,
        replicas: int | None = None,
        mode: str = "Auto",
        **policy: Any,
    ) -> Fleet:
        """A fleet as the cluster would give it, without pods."""
        spec = FleetSpec(
            FleetKey("ns", "llm"),
            "uid-1",
            ("llm", "ns/llm"),
            Policy(**policy),
            status,
            external_replicas=replicas,
            mode=mode,
        )
        return self.registry.put(spec, managed=True)

    def pods(self, fleet: Fleet, *pods: tuple[Engine | int, "Launcher | Address"]) -> None:
        """Replace the fleet's endpoints and follow their launchers."""
        endpoints = []
        for stream in self._streams:
            stream.close()
        self._streams = []
        for engine, launcher in pods:
            port = engine.port if isinstance(engine, Engine) else engine
            known = fleet.endpoints.get(f"127.0.0.1:{port}")
            endpoints.append(
                known or self.registry.endpoint(fleet, "127.0.0.1", port, launcher_port=launcher.port)
            )
        self.registry.set_endpoints(fleet, endpoints)
        for endpoint in endpoints:
            self._streams.append(StatsStream(fleet, endpoint, self.settings.stats_fresh_seconds))

    async def client(self) -> Client:
        client = await Client.connect(self.port)
        self._clients.append(client)
        return client

    async def ask(self, body: bytes | dict[str, Any], path: str = CHAT, **more: Any) -> Answer:
        client = await self.client()
        return await client.ask(request(body, path, **more))

    async def waiting(self, fleet: Fleet, body: dict[str, Any] | None = None) -> Client:
        """Send a request and return its client once it stands in the fleet's line."""
        before = len(fleet.line)
        client = await self.client()
        await client.send(request(body or chat()))
        await until(lambda: len(fleet.line) == before + 1)
        return client


class Address:
    """What `Gateway.pods` asks of a launcher: its port."""

    def __init__(self, port: int) -> None:
        self.port = port


class Pod:
    """An engine pod with the real launcher, as far as a gateway can tell: two ports."""

    def __init__(self) -> None:
        self.port = free_port()
        self.launcher = Address(free_port())
