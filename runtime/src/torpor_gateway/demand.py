"""The demand stream: what the operator hears of each fleet, as it happens.

The operator pulls one NDJSON stream from every gateway process. A fleet's line carries absolute gauges and
counters since the process began, so a lost line or a second reader costs nothing. A fleet that changes is
sent at most once a second; a request that begins to wait is sent at once, because a cold start begins with
it. Fleets where nothing happens are left out; those with something under way are repeated with the heartbeat,
since ages grow by themselves.

The port is open to whoever can reach it, so the token is compared before anything is said, in constant time,
and read from its file each time: the chart's Secret may be replaced under a running process.
"""

import asyncio
import hmac
import logging
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from torpor_gateway.answers import Refusal
from torpor_gateway.doors import Visit
from torpor_gateway.fleet import Fleet
from torpor_gateway.registry import Registry

if TYPE_CHECKING:
    from torpor.api.names import FleetKey

log = logging.getLogger(__name__)

HEARTBEAT_SECONDS = 5.0
_INTERVAL_SECONDS = 1.0
_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\n"
    b"Cache-Control: no-store\r\nConnection: close\r\n\r\n"
)


class _Reader:
    """One operator at the stream: what it has not heard yet."""

    __slots__ = ("news", "pending", "sent_at", "urgent")

    def __init__(self) -> None:
        self.pending: set[FleetKey] = set()
        self.urgent: set[FleetKey] = set()
        self.sent_at: dict[FleetKey, float] = {}
        self.news = asyncio.Event()


class Demand:
    """Serves the stream. `token_file` empty: no token is asked for (only without Kubernetes)."""

    def __init__(self, registry: Registry, gateway: str, token_file: str) -> None:
        self._registry = registry
        self._loop = registry.loop
        self._token_file = Path(token_file) if token_file else None
        self._readers: set[_Reader] = set()
        self.refused = 0  # visits with a wrong token or none
        self._began = self._loop.time()
        self.boot_id = secrets.token_hex(8)
        self.gateway = gateway or self.boot_id
        self.state = "Serving"
        self._beats = 0  # grows when every reader should get a heartbeat now

    def changed(self, fleet: Fleet, urgent: bool) -> None:
        """A fleet's numbers changed. Called for every request: cheap."""
        key = fleet.spec.key
        for reader in self._readers:
            if urgent:
                reader.urgent.add(key)
                reader.news.set()
            elif key not in reader.pending:
                reader.pending.add(key)
                reader.news.set()

    def beat(self) -> None:
        """Send a heartbeat now: the state or the freshness changed."""
        self._beats += 1
        for reader in self._readers:
            reader.news.set()

    def drain(self) -> None:
        """Say from now on that this process is draining."""
        self.state = "Draining"
        self.beat()

    @property
    def readers(self) -> int:
        """How many operators are listening."""
        return len(self._readers)

    async def visit(self, visit: Visit) -> None:
        """Serve one reader until it leaves."""
        if not self._admitted(visit.head.authorization):
            self.refused += 1
            await visit.refuse(
                Refusal(401, "unauthorized", "Authorization: a valid bearer token is required")
            )
            return
        reader = _Reader()
        self._readers.add(reader)
        try:
            await visit.send(_HEAD + self._line("hello"))
            reader.urgent.update(key for key, fleet in self._registry.fleets.items() if _worth_telling(fleet))
            await self._serve(visit, reader)
        finally:
            self._readers.discard(reader)

    async def _serve(self, visit: Visit, reader: _Reader) -> None:
        next_beat, beats = self._loop.time(), self._beats
        while not visit.left:
            now = self._loop.time()
            lines: list[bytes] = []
            if now >= next_beat or beats != self._beats:
                next_beat, beats = now + HEARTBEAT_SECONDS, self._beats
                lines.append(self._line("heartbeat"))
                reader.pending |= {key for key, fleet in self._registry.fleets.items() if _under_way(fleet)}
            due = [key for key in reader.pending if now - reader.sent_at.get(key, -1e9) >= _INTERVAL_SECONDS]
            for key in reader.urgent.union(due):
                reader.pending.discard(key)
                reader.sent_at[key] = now
                fleet = self._registry.fleets.get(key)
                if fleet is not None:
                    lines.append(self._fleet(fleet, now))
            reader.urgent.clear()
            reader.news.clear()
            if lines:
                await visit.send(b"".join(lines))
                if len(reader.sent_at) > 2 * len(self._registry.fleets) + 100:
                    reader.sent_at = {k: at for k, at in reader.sent_at.items() if k in self._registry.fleets}
            wake = min(
                [next_beat, *(reader.sent_at.get(key, now) + _INTERVAL_SECONDS for key in reader.pending)]
            )
            try:
                async with asyncio.timeout(max(0.001, wake - self._loop.time())):
                    await reader.news.wait()
            except TimeoutError:
                pass

    def _admitted(self, authorization: bytes) -> bool:
        if self._token_file is None:
            return True
        try:
            token = self._token_file.read_bytes().strip()
        except OSError as error:
            log.error("the demand token cannot be read: %s", error)
            return False
        scheme, _, given = authorization.partition(b" ")
        same = hmac.compare_digest(given.strip(), token)
        return bool(token) and scheme.lower() == b"bearer" and same

    def _line(self, kind: str) -> bytes:
        value: dict[str, Any] = {
            "v": 1,
            "type": kind,
            "bootId": self.boot_id,
            "gateway": self.gateway,
            "state": self.state,
            "ageSeconds": round(self._loop.time() - self._began, 3),
        }
        if kind == "heartbeat":
            value |= {
                "fleets": len(self._registry.fleets),
                "synced": self._registry.synced and self._registry.complete,
            }
        return orjson.dumps(value) + b"\n"

    def _fleet(self, fleet: Fleet, now: float) -> bytes:
        value = {"v": 1, "type": "fleet", "bootId": self.boot_id, "gateway": self.gateway}
        return orjson.dumps(value | describe(fleet, now)) + b"\n"


def describe(fleet: Fleet, now: float) -> dict[str, Any]:
    """Return what the demand stream says of a fleet. `now` is the loop's clock."""
    waiting = len(fleet.line)
    oldest = fleet.line.oldest() if waiting else now
    asleep = fleet.asleep
    return {
        "namespace": fleet.spec.key.namespace,
        "name": fleet.spec.key.name,
        "uid": fleet.spec.uid,
        "arrivals": fleet.arrivals,
        "retries": fleet.retries,
        "refused": fleet.refused,
        "arrivedPromptTokens": fleet.arrived_prompt_tokens,
        "promptTokens": fleet.prompt_tokens,
        "outputTokens": fleet.output_tokens,
        # Floats: a busy fleet's squares leave the 64 bits that JSON's writers and readers have for integers.
        "promptSquares": float(fleet.prompt_squares),
        "outputSquares": float(fleet.output_squares),
        "products": float(fleet.products),
        "completed": fleet.completed,
        "judged": fleet.kept.judged,
        "missed": fleet.kept.missed,
        "failed": fleet.failed,
        "inFlight": fleet.in_flight,
        "queued": 0 if asleep else waiting,
        "waitingPromptTokens": fleet.waiting_prompt_tokens,
        "held": {
            "count": waiting if asleep else 0,
            "bytes": fleet.line.bytes if asleep else 0,
            "oldestSeconds": round(now - oldest, 3) if asleep else 0.0,
        },
        "idleSeconds": round(fleet.idle_seconds(now), 3) if fleet.last_request is not None else None,
        "ttft": fleet.ttft.as_json(),
        "itl": fleet.itl.as_json(),
        "pods": {
            endpoint.pod: {
                "address": endpoint.host,
                "ageSeconds": round(now - endpoint.heard_at, 3),
                "matched": endpoint.matched,
                "stats": endpoint.stats,
            }
            for endpoint in fleet.endpoints.values()
            if endpoint.stats is not None
        },
    }


def _under_way(fleet: Fleet) -> bool:
    return bool(len(fleet.line) or fleet.in_flight)


def _worth_telling(fleet: Fleet) -> bool:
    return bool(fleet.endpoints or fleet.arrivals or fleet.retries or _under_way(fleet))
