"""From the engine's answer to the client's bytes.

A short unary answer is sent in one piece once it is complete, so that until then another pod may be asked; a
long one flows once it exceeds what is worth keeping. A stream flows by whole events: half an event is of no
use to a client, and an error event can only be put between events. Before the first event nothing is sent,
because engines answer 200 and then say in the first event that they are full.

Once a stream flows, nearly all that comes is one token's event in a chunk of its own, and the client gets
chunks too. Such a chunk goes on as it is, before it was parsed, counted by a search; whatever looks different
in any way takes the long road.

The end of a stream must be a real end. A closed connection without the last chunk is not one, nor is a body
that ends without the mark of its protocol (`[DONE]`, `message_stop`, `response.completed`), nor an engine
that aborts what it runs because it shuts down. A client would take each of them for a complete answer.
"""

from typing import TYPE_CHECKING, Any, Protocol

import orjson

from torpor_gateway import answers
from torpor_gateway.later import soon
from torpor_gateway.response import ResponseHead, ResponseReader, whole_chunk
from torpor_gateway.tokens import tail, usage, usage_at_end

if TYPE_CHECKING:
    from collections.abc import Callable

    from torpor_gateway.exchange import Exchange

KEEP_BYTES = 64 * 1024  # of a unary answer, before it flows
_MAX_EVENT = 4 << 20  # a longer one flows unseparated
# The third is how vLLM says it on /v1/messages, where a stream that is complete says why it ended.
_ABORTED = (b'"finish_reason":"abort"', b'"finish_reason": "abort"', b'"delta":{"stop_reason":null')
# What /v1/responses says before it has computed anything: kept for the first event that is an answer.
_PRELUDE = (b"event: response.created\n", b"event: response.in_progress\n", b"event: response.queued\n")
_COMMENT = ord(":")
_OWN_STATUS_SECONDS = 5.0  # Retry-After of an engine that says that it is full and not for how long


class Relay(Protocol):
    """Passes one response on."""

    def feed(self) -> None:
        """The response has grown, or is complete."""

    def lost(self) -> None:
        """Its connection broke."""


def _head(response: ResponseHead, extra: bytes = b"") -> bytes:
    reason = answers.REASONS.get(response.status, b"Unknown")
    return b"HTTP/1.1 %d %b\r\n%b%b" % (response.status, reason, response.headers, extra)


class UnaryRelay:
    """An answer that is not a stream of events."""

    __slots__ = ("_exchange", "_flows", "_kept", "_response", "_size", "_tail")

    def __init__(self, exchange: "Exchange", response: ResponseReader) -> None:
        self._exchange, self._response = exchange, response
        self._kept: list[bytes] = []
        self._size = 0
        self._flows = False
        self._tail = b""

    def feed(self) -> None:
        """Keep, or pass on."""
        exchange, response = self._exchange, self._response
        parts, response.parts = response.parts, []
        if self._flows:
            for part in parts:
                exchange.write(part)
                self._tail = tail(self._tail, part)
            if response.complete:
                exchange.answered(response.status, None, usage_at_end(self._tail))
            return
        self._kept += parts
        self._size += sum(map(len, parts))
        if response.complete:
            pass_whole(exchange, response, b"".join(self._kept))
        elif self._size > KEEP_BYTES and not exchange.head_sent:
            self._flows = True
            exchange.commit()
            exchange.begin(_head(response), response.length)
            head = b"".join(self._kept)
            exchange.write(head)
            self._tail = tail(b"", head)
            self._kept = []
        elif self._size > KEEP_BYTES:
            exchange.error_event(answers.error_of(b"", response.status))  # no stream, and the head is sent

    def lost(self) -> None:
        """Nothing more can be said than the broken connection says."""


def pass_whole(exchange: "Exchange", response: ResponseHead, content: bytes) -> None:
    """Pass on an answer of which nothing has been sent, or ask another pod."""
    status = response.status
    if status != 200 or b'"abort"' in content:
        kind = _reason_to_retry(exchange, status, content)
        # A pod that is full may be the only one; its answer is then the truth. One that leaves is replaced.
        if kind and (kind != "overloaded" or _another(exchange)):
            exchange.retry(kind, f"{_pod(exchange)} answered {status}")
            return
    if exchange.head_sent:
        exchange.error_event(answers.error_of(content, status))
        return
    exchange.commit()
    silent = status in (429, 503) and not response.retry_after
    extra = answers.retry_headers(soon(_OWN_STATUS_SECONDS)) if silent else b""
    exchange.respond(_head(response, extra), content)
    exchange.answered(status, content, whole=True)


class StreamRelay:
    """A stream of events."""

    __slots__ = (
        "_exchange",
        "_first_at",
        "_last",
        "_last_at",
        "_observe",
        "_response",
        "_tail",
        "_time",
        "_usage",
        "_write",
    )

    def __init__(self, exchange: "Exchange", response: ResponseReader) -> None:
        self._exchange, self._response = exchange, response
        self._tail = b""
        self._last = b""
        self._first_at = self._last_at = 0.0
        self._usage = b""
        self._write: Callable[[bytes], None] | None = None
        self._time, self._observe = exchange.fleet.loop.time, exchange.fleet.itl.observe

    def pass_on(self, data: bytes) -> bool:
        """Pass bytes of the engine on as they are, if they are a plain event in a chunk of its own.

        False: nothing was done; they must be read. Asked only once the first event has been sent.
        """
        if self._tail or self._write is None or not self._response.between_chunks:
            return False
        begin = data.find(b"\r\n") + 2
        # As everybody writes a size; any other spelling of it takes an expression to read.
        if data[: begin - 2] != b"%x" % (len(data) - begin - 2):
            begin = whole_chunk(data)
        if (
            not begin
            or data[-4:] != b"\n\n\r\n"
            or data[begin] == _COMMENT
            or b'"abort"' in data
            or b'"usage"' in data
        ):
            return False
        self._write(data)
        self._last = data  # the chunk's frame around it does no harm to what looks for the end
        now = self._time()
        events = data.count(b"\n\n")
        self._observe(now - self._last_at if events == 1 else (now - self._last_at) / events, events)
        self._last_at = now
        self._exchange.events += events
        return True

    def feed(self) -> None:
        """Pass whole events on."""
        response = self._response
        parts = response.parts
        if parts:
            response.parts = []
            block = parts[0] if len(parts) == 1 else b"".join(parts)
            if self._tail:
                block = self._tail + block
                self._tail = b""
            if not block.endswith(b"\n\n"):
                block = self._cut(block)
            if block and not self._events(block):
                return
        if response.complete:
            self._complete()

    def _cut(self, block: bytes) -> bytes:
        end = max(block.rfind(b"\n\n") + 2, block.rfind(b"\r\n\r\n") + 4 if b"\r\n\r\n" in block else 1)
        if end == 1:
            end = len(block) if len(block) > _MAX_EVENT else 0
        self._tail = block[end:]
        return block[:end]

    def _events(self, block: bytes) -> bool:
        """Pass `block` on; False if the exchange took another turn."""
        exchange = self._exchange
        first = first_event(block) if not exchange.data_sent or block[0] == _COMMENT else block
        if first is None and _PRELUDE[0] in block:
            self._tail = block + self._tail
            return True
        if first is not None and not exchange.data_sent:
            kind = _reason_in_event(exchange, first)
            if kind and (kind != "overloaded" or _another(exchange)):
                exchange.retry(kind, f"{_pod(exchange)} ended the stream before its first token")
                return False
        if _ABORTED[0] in block or _ABORTED[1] in block or _ABORTED[2] in block:
            if exchange.data_sent:
                exchange.break_off(f"{_pod(exchange)} stopped")
            else:
                exchange.retry("aborted", f"{_pod(exchange)} stopped")
            return False
        if not exchange.head_sent:
            exchange.begin(_head(self._response))
        exchange.write(block)
        if first is not None:  # else nothing but comments of the engine's own
            self._last = block
            self._count(block)
        return not exchange.over

    def _count(self, block: bytes) -> None:
        exchange = self._exchange
        fleet = exchange.fleet
        now = fleet.loop.time()
        events = block.count(b"\n\n") or 1
        if exchange.data_sent:
            fleet.itl.observe((now - self._last_at) / events, events)
        else:
            exchange.commit()
            fleet.ttft.observe(now - exchange.arrived)
            self._first_at = now
            self._write = exchange.client.chunk_writer()
            if self._write is not None and exchange.connection is not None:
                exchange.connection.pass_on = self.pass_on
        self._last_at = now
        exchange.events += events
        if b'"usage":{' in block or b'"usage": {' in block:
            self._usage = block

    def _complete(self) -> None:
        exchange = self._exchange
        ending, self._tail = self._tail.rstrip(), b""
        if ending:
            if not any(ending.endswith(end) for end in exchange.operation.ends) and exchange.operation.ends:
                self._cut_short()
                return
            if not self._events(ending + b"\n\n"):
                return
        if exchange.operation.ends and not _is_end(self._last, exchange.operation.ends):
            self._cut_short()
            return
        if exchange.operation.ends:
            exchange.events = max(0, exchange.events - 1)  # the mark of the end is not a token
        self._hold_against_objectives()
        exchange.answered(200, None, _usage_in(self._usage))
        exchange.fleet.speed.stream(exchange.used, self._last_at - self._first_at)

    def _hold_against_objectives(self) -> None:
        exchange = self._exchange
        if not exchange.data_sent:
            return
        gap = (self._last_at - self._first_at) / max(1, exchange.events - 1)
        policy = exchange.fleet.spec.policy
        first = self._first_at - exchange.arrived
        exchange.fleet.kept.streamed(first, gap, policy.ttft_objective, policy.itl_objective)

    def _cut_short(self) -> None:
        exchange = self._exchange
        if exchange.data_sent:
            exchange.break_off(f"{_pod(exchange)} ended the stream without its end")
        else:
            exchange.retry("empty", f"{_pod(exchange)} ended the stream before its first token")

    def lost(self) -> None:
        """What is left of half an event is dropped."""
        self._tail = b""


def first_event(block: bytes) -> bytes | None:
    """Return the first event of `block` that is not a comment, and not the announcement of an answer."""
    for event in block.replace(b"\r\n", b"\n").split(b"\n\n"):
        if not event.startswith(_PRELUDE) and any(
            line and not line.startswith(b":") for line in event.split(b"\n")
        ):
            return event
    return None


def _is_end(last: bytes, ends: tuple[bytes, ...]) -> bool:
    lines = b"\n" + last.replace(b"\r\n", b"\n")
    return any(b"\n" + end + b"\n" in lines for end in ends)


def _usage_in(block: bytes) -> tuple[int, int] | None:
    for line in reversed(block.split(b"\n")):
        if line.startswith(b"data:") and b'"usage"' in line:
            return usage(line[5:])
    return None


def _reason_in_event(exchange: "Exchange", event: bytes) -> str | None:
    if _ABORTED[0] in event or _ABORTED[1] in event:
        return "aborted"
    if b'"error"' not in event:
        return None
    for line in event.split(b"\n"):
        if line.startswith(b"data:"):
            try:
                value: Any = orjson.loads(line[5:])
            except orjson.JSONDecodeError:
                return None
            error = value.get("error") if isinstance(value, dict) else None
            code = error.get("code") if isinstance(error, dict) else None
            return _reason_to_retry(exchange, code, line) if isinstance(code, int) else None
    return None


def _reason_to_retry(exchange: "Exchange", status: int, content: bytes) -> str | None:
    """Say why another pod should be asked, if it should: this one is full, or on its way out."""
    if status == 503:
        return "draining" if _leaving(exchange) else "overloaded"
    if status == 500 and (_leaving(exchange) or b"after shutdown" in content):
        return "draining"
    if status == 200 and len(content) < KEEP_BYTES and (_ABORTED[0] in content or _ABORTED[1] in content):
        return "aborted"
    return None


def _leaving(exchange: "Exchange") -> bool:
    endpoint = exchange.endpoint
    return endpoint is not None and (endpoint.terminating or endpoint not in exchange.fleet.ready)


def _another(exchange: "Exchange") -> bool:
    endpoint = exchange.endpoint
    return any(pod is not endpoint and pod.identity not in exchange.tried for pod in exchange.fleet.ready)


def _pod(exchange: "Exchange") -> str:
    return exchange.endpoint.pod if exchange.endpoint else "the engine"
