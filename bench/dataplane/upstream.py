"""The engine's stand-in: answers as vLLM answers, for a tenth of what the cheapest gateway costs.

A body with `"stream": true` gets `max_tokens` events at `--rate` a second, each written at its own time and
stamped with the clock at which it was written, in microseconds; any other post gets one answer of vLLM's
shape. It reads no more of a request than where it ends, so it is for this bench's clients and for gateways
that frame what they send, and for nothing else. Several ports make several engines, to give every gateway a
choice.
"""

import argparse
import asyncio
import re
import time

import uvloop

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_STREAM = re.compile(rb'"stream" *: *true')
_TOKENS = re.compile(rb'"max(?:_completion)?_tokens" *: *(\d+)')

ANSWER = (
    b'{"id":"chatcmpl-3f6c1d5f9f6e4b4c8f0f6a7f0a4e6d11","object":"chat.completion","created":1790000000,'
    b'"model":"bench","choices":[{"index":0,"message":{"role":"assistant","content":"'
    + b"a word of the answer "
    * 16
    + b'","refusal":null,"annotations":null,"audio":null,"function_call":null,"tool_calls":[],'
    b'"reasoning_content":null},"logprobs":null,"finish_reason":"length","stop_reason":null}],'
    b'"service_tier":null,"system_fingerprint":null,"usage":{"prompt_tokens":130,"total_tokens":194,'
    b'"completion_tokens":64,"prompt_tokens_details":null},"prompt_logprobs":null}'
)
_WHOLE = (
    b"HTTP/1.1 200 OK\r\ndate: Sun, 22 Nov 2026 02:00:00 GMT\r\nserver: uvicorn\r\n"
    b"content-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
)
_UNARY = _WHOLE % (len(ANSWER), ANSWER)
_MODELS = b'{"object":"list","data":[{"id":"bench","object":"model","created":1790000000,"owned_by":"vllm"}]}'
_OTHER = _WHOLE % (len(_MODELS), _MODELS)
_STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\ndate: Sun, 22 Nov 2026 02:00:00 GMT\r\nserver: uvicorn\r\n"
    b"content-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n"
)
_EVENT = (
    b'data: {"id":"chatcmpl-3f6c1d5f9f6e4b4c8f0f6a7f0a4e6d11","object":"chat.completion.chunk",'
    b'"created":1790000000,"model":"bench","choices":[{"index":0,"delta":{"content":"t%016d"},'
    b'"logprobs":null,"finish_reason":%b}]}\n\n'
)
_END = b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"


class Engine(asyncio.Protocol):
    """One connection."""

    def __init__(self, rate: float, loop: asyncio.AbstractEventLoop) -> None:
        self._period = 1 / rate
        self._loop = loop
        self._buffer = b""
        self._left = 0
        self._next = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Be ready."""
        self._transport = transport  # type: ignore[assignment]  # uvloop's is none by class

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop what streams."""
        self._transport = None
        if self._timer is not None:
            self._timer.cancel()

    def data_received(self, data: bytes) -> None:
        """Answer each request that is whole."""
        buffer = self._buffer + data if self._buffer else data
        while buffer:
            head = buffer.find(b"\r\n\r\n")
            if head < 0:
                break
            found = _LENGTH.search(buffer, 0, head + 2)
            end = head + 4 + (int(found[1]) if found else 0)
            if len(buffer) < end:
                break
            self._answer(buffer, head + 4, end)
            buffer = buffer[end:]
        self._buffer = buffer

    def _answer(self, buffer: bytes, begin: int, end: int) -> None:
        assert self._transport is not None
        if not buffer.startswith(b"POST"):
            self._transport.write(_OTHER)
        elif _STREAM.search(buffer, begin, end):
            tokens = _TOKENS.search(buffer, begin, end)
            self._left = int(tokens[1]) if tokens else 1
            self._transport.write(_STREAM_HEAD)
            self._next = self._loop.time() + self._period
            self._timer = self._loop.call_at(self._next, self._token)
        else:
            self._transport.write(_UNARY)

    def _token(self) -> None:
        if self._transport is None:
            return
        self._left -= 1
        event = _EVENT % (time.monotonic_ns() // 1000, b"null" if self._left else b'"length"')
        if self._left <= 0:
            self._transport.write(b"%x\r\n%b\r\n%b" % (len(event), event, _END))
            return
        self._transport.write(b"%x\r\n%b\r\n" % (len(event), event))
        self._next += self._period
        self._timer = self._loop.call_at(self._next, self._token)


async def _serve(ports: list[int], rate: float) -> None:
    loop = asyncio.get_running_loop()
    for port in ports:
        await loop.create_server(lambda: Engine(rate, loop), "127.0.0.1", port, backlog=4096)
    print("ready", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rate", type=float, required=True, help="events a second of each stream")
    parser.add_argument("ports", type=int, nargs="+")
    options = parser.parse_args()
    uvloop.run(_serve(options.ports, options.rate))
