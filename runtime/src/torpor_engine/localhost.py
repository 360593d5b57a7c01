"""The launcher's HTTP client: short requests to the engine in the same pod.

One connection for each request, because the engine's keep-alive time is its own business and a reset on a
reused connection would look like a sick engine. Sizes and times are bounded: the answer of an engine is input
like any other.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torpor_engine.waiting import within

if TYPE_CHECKING:
    from collections.abc import Mapping

HEAD_LIMIT_BYTES = 65536
BODY_LIMIT_BYTES = 8 << 20


class AnswerError(Exception):
    """The engine gave no complete, well-formed answer in time."""


@dataclass(frozen=True)
class Answer:
    """An HTTP answer."""

    status: int
    body: bytes


async def _chunked(reader: asyncio.StreamReader) -> bytes:
    parts: list[bytes] = []
    room = BODY_LIMIT_BYTES
    while True:
        size = int((await reader.readuntil(b"\n")).split(b";")[0], 16)
        if size == 0:
            return b"".join(parts)
        room -= size
        if size < 0 or room < 0:
            raise AnswerError("answer larger than 8 MiB")
        parts.append(await reader.readexactly(size))
        await reader.readuntil(b"\n")


async def _exchange(host: str, port: int, request: bytes) -> Answer:
    reader, writer = await asyncio.open_connection(host, port, limit=HEAD_LIMIT_BYTES)
    try:
        writer.write(request)
        await writer.drain()
        lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        status = int(lines[0].split(" ", 2)[1])
        headers = {
            key.strip().lower(): value.strip()
            for key, _, value in (line.partition(":") for line in lines[1:])
        }
        if "chunked" in headers.get("transfer-encoding", "").lower():
            return Answer(status, await _chunked(reader))
        if "content-length" in headers:
            size = int(headers["content-length"])
            if not 0 <= size <= BODY_LIMIT_BYTES:
                raise AnswerError("answer larger than 8 MiB")
            return Answer(status, await reader.readexactly(size))
        body = b""
        while chunk := await reader.read(65536):
            body += chunk
            if len(body) > BODY_LIMIT_BYTES:
                raise AnswerError("answer larger than 8 MiB")
        return Answer(status, body)
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


class Localhost:
    """The engine's HTTP server as seen from the same pod."""

    def __init__(self, port: int, headers: Mapping[str, str], host: str = "127.0.0.1") -> None:
        self._host, self._port = host, port
        self._headers = {"Host": "localhost", "Connection": "close", **headers}

    async def request(self, method: str, path: str, seconds: float, body: object = None) -> Answer:
        """Send one request, its body as JSON, and return the whole answer.

        Raises AnswerError when nothing complete comes back within `seconds`.
        """
        payload = b"" if body is None else json.dumps(body).encode()
        headers = dict(self._headers)
        if body is not None:
            headers.update({"Content-Type": "application/json", "Content-Length": str(len(payload))})
        head = f"{method} {path} HTTP/1.1\r\n" + "".join(
            f"{key}: {value}\r\n" for key, value in headers.items()
        )
        try:
            return await within(
                seconds, _exchange(self._host, self._port, head.encode("latin-1") + b"\r\n" + payload)
            )
        except asyncio.TimeoutError:
            raise AnswerError(f"no answer within {seconds:g} s") from None
        except (OSError, ValueError, IndexError, EOFError, asyncio.LimitOverrunError) as error:
            raise AnswerError(f"{type(error).__name__}: {error}") from None
