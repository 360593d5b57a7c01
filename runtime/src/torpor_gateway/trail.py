"""How one request went, written down while it goes, for the access log and for a trace.

Exists only where one of the two is wanted: a request carries None otherwise, and each place that would tell
it something asks for that alone. A trail holds a few numbers; everything that costs, the line and the spans,
is made when the request has ended and its client has its answer.

Neither contains what a client said beside its method, its path without the query, its request id and its
trace: no prompt, no header, no key (the name of a key, as in the metrics).
"""

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import orjson

from torpor_gateway import spans, tracecontext

if TYPE_CHECKING:
    import asyncio

    from torpor_gateway.accesslog import AccessLog
    from torpor_gateway.exchange import Exchange
    from torpor_gateway.otel import Sampler
    from torpor_gateway.otlp import Exporter
    from torpor_gateway.request import RequestHead
    from torpor_gateway.spans import Value
    from torpor_gateway.tracecontext import Parent

_NS = 1_000_000_000
_MAX_TEXT = 256  # characters of what is not bounded elsewhere
_CLIENT_GONE = "ClientGone"
_OPERATIONS = {
    "/v1/chat/completions": "chat",
    "/v1/messages": "chat",
    "/v1/responses": "chat",
    "/v1/completions": "text_completion",
    "/v1/embeddings": "embeddings",
}


class Attempt:
    """One pod that a request was sent to. Times are the loop's clock."""

    __slots__ = ("address", "began", "ended", "error", "pod", "span")

    def __init__(self, address: str, pod: str, began: float, span: str) -> None:
        self.address, self.pod, self.began, self.span = address, pod, began, span
        self.ended: float | None = None
        self.error: str | None = None


class Trail:
    """One request's. `trace` empty: it is in no trace; `recorded`: its spans are wanted."""

    __slots__ = (
        "_forward",
        "_recorder",
        "attempts",
        "data_at",
        "parent",
        "peer",
        "recorded",
        "span",
        "trace",
        "unix_ns",
        "waits",
    )

    def __init__(self, recorder: "Recorder", exchange: "Exchange") -> None:
        self._recorder = recorder
        self.unix_ns = time.time_ns()
        self.waits: list[tuple[float, float, float]] = []  # since, asleep, awake
        self.attempts: list[Attempt] = []
        self.data_at: float | None = None
        self.peer = _peer(exchange.client.transport) if recorder.access_log else None
        self.trace = self.span = ""
        self.parent: Parent | None = None
        self.recorded = False
        self._forward = b""  # header lines that say nothing of a trace
        if recorder.sampler is not None:
            self._join(exchange, recorder.sampler)

    def _join(self, exchange: "Exchange", sampler: "Sampler") -> None:
        """Find the trace that the request belongs to, or begin one."""
        parent, self._forward = tracecontext.parted(exchange.head.forward)
        self.parent = parent
        self.trace = parent.trace if parent else tracecontext.new_trace()
        self.recorded = sampler.samples(self.trace, parent.sampled if parent else None)
        self.span = tracecontext.new_span()
        if not self.recorded and (parent is None or parent.sampled):
            self._tell(exchange, self.span)  # what the gateway does not record the engine shall not either

    def _tell(self, exchange: "Exchange", span: str) -> None:
        """Have the engine told of this parent."""
        state = self.parent.state if self.parent else ""
        exchange.head.forward = self._forward + tracecontext.lines(
            self.trace, span, sampled=self.recorded, state=state
        )

    # --- what happens to the request ---

    def waited(self, since: float, held: float, queued: float) -> None:
        """It stood in the line: seconds asleep, and awake."""
        self.waits.append((since, held, queued))

    def sent(self, exchange: "Exchange") -> None:
        """It goes to a pod."""
        self.failed(exchange, "retried")  # where nobody said why it left the one before
        endpoint = exchange.endpoint
        assert endpoint is not None
        span = ""
        if self.recorded:
            span = tracecontext.new_span()
            self._tell(exchange, span)
        self.attempts.append(Attempt(endpoint.name, endpoint.pod, exchange.fleet.loop.time(), span))

    def failed(self, exchange: "Exchange", kind: str) -> None:
        """The pod that it was at did not answer, and it will be sent again."""
        if self.attempts and self.attempts[-1].ended is None:
            self.attempts[-1].ended = exchange.fleet.loop.time()
            self.attempts[-1].error = kind

    def data(self, exchange: "Exchange") -> None:
        """The first data of the answer go to the client."""
        self.data_at = exchange.fleet.loop.time()

    def ended(self, exchange: "Exchange", status: int, reason: str) -> None:
        """It is over."""
        now = exchange.fleet.loop.time()
        if self.attempts and self.attempts[-1].ended is None:
            self.attempts[-1].ended = now
            # To a client of HTTP, which the gateway is here, a 4xx is an error too.
            self.attempts[-1].error = reason or (str(status) if status >= 400 else None)
            if reason == _CLIENT_GONE:
                self.attempts[-1].error = None
        recorder = self._recorder
        if recorder.access_log is not None:
            recorder.access_log.write(self._line(exchange, status, reason, now))
        if self.recorded and recorder.exporter is not None:
            recorder.exporter.offer(list(self._spans(exchange, status, reason, now)))

    # --- what is made of it ---

    def _line(self, exchange: "Exchange", status: int, reason: str, now: float) -> bytes:
        head, fleet = exchange.head, exchange.fleet
        prompt, output = _tokens(exchange)
        first = self.data_at if exchange.events else None
        return line(
            {
                **_request(head, self.unix_ns, self.peer, status, reason),
                "namespace": fleet.spec.key.namespace,
                "fleet": fleet.spec.key.name,
                "model": fleet.spec.models[0][:_MAX_TEXT],
                "pod": self.attempts[-1].pod[:_MAX_TEXT] if self.attempts else None,
                "attempts": len(self.attempts),
                "stream": exchange.stream,
                "request_bytes": exchange.body_size,
                "prompt_tokens": prompt,
                "output_tokens": output,
                "duration_seconds": round(now - exchange.arrived, 3),
                "hold_seconds": round(sum(held for _, held, _ in self.waits), 3),
                "queue_seconds": round(sum(queued for _, _, queued in self.waits), 3),
                "time_to_first_token_seconds": None if first is None else round(first - exchange.arrived, 3),
                "trace_id": self.trace or None,
            }
        )

    def _spans(self, exchange: "Exchange", status: int, reason: str, now: float) -> Iterator[bytes]:
        head, fleet = exchange.head, exchange.fleet
        trace, state = self.trace, self.parent.state if self.parent else ""
        origin = self.unix_ns - round(exchange.arrived * _NS)

        def between(begin: float, end: float) -> tuple[int, int]:
            return origin + round(begin * _NS), origin + round(end * _NS)

        def inner(above: str, name: str, begin: float, end: float) -> bytes:
            new, times = tracecontext.new_span(), between(begin, end)
            return spans.encoded(
                trace, new, above, name=name, kind=spans.INTERNAL, times=times, attributes={}, state=state
            )

        for since, held, queued in self.waits:
            for name, begin, seconds in (("hold", since, held), ("queue", since + held, queued)):
                if seconds > 0:
                    yield inner(self.span, name, begin, begin + seconds)
        for number, attempt in enumerate(self.attempts):
            host, _, port = attempt.address.rpartition(":")
            last = number == len(self.attempts) - 1
            values: dict[str, Value] = {
                "http.request.method": head.method,
                "server.address": host,
                "server.port": int(port) if port.isdigit() else None,
                "k8s.pod.name": attempt.pod,
                "http.request.resend_count": number or None,
                "http.response.status_code": status if last and not reason else None,
            }
            yield spans.encoded(
                trace,
                attempt.span,
                self.span,
                name="upstream",
                kind=spans.CLIENT,
                times=between(attempt.began, now if attempt.ended is None else attempt.ended),
                attributes=values,
                error=attempt.error,
                state=state,
            )
            if last and exchange.events and self.data_at is not None:
                yield inner(attempt.span, "first token", attempt.began, self.data_at)
        prompt, output = _tokens(exchange)
        values = {
            "http.request.method": head.method,
            "http.route": head.path,
            "http.response.status_code": status,
            "gen_ai.operation.name": _OPERATIONS.get(head.path),
            "gen_ai.request.model": fleet.spec.models[0],
            "gen_ai.usage.input_tokens": prompt,
            "gen_ai.usage.output_tokens": output,
            "torpor.fleet.namespace": fleet.spec.key.namespace,
            "torpor.fleet.name": fleet.spec.key.name,
            "torpor.request.id": head.request_id.decode("latin-1"),
            "torpor.key.name": head.key.key.name if head.key is not None else None,
            "torpor.stream": exchange.stream,
            "torpor.reason": reason or None,
        }
        wrong = status >= 500 or (status == 200 and bool(reason))
        yield spans.encoded(
            trace,
            self.span,
            self.parent.span if self.parent else "",
            name=f"{head.method} {head.path}",
            kind=spans.SERVER,
            times=between(exchange.arrived, now),
            attributes=values,
            error=(reason or str(status)) if wrong else None,
            state=state,
        )


class Recorder:
    """What the requests of this process are written down for: a log, traces, or both."""

    def __init__(
        self, access_log: "AccessLog | None", exporter: "Exporter | None", sampler: "Sampler | None"
    ) -> None:
        self.access_log, self.exporter, self.sampler = access_log, exporter, sampler

    def begin(self, exchange: "Exchange") -> Trail | None:
        """Return the trail of a request; None where nothing is to be made of it."""
        trail = Trail(self, exchange)
        return trail if trail.recorded or self.access_log is not None else None

    def local(
        self, transport: "asyncio.Transport | None", head: "RequestHead | None", status: int, reason: str
    ) -> None:
        """A request was answered without a fleet. `head` is None where it could not be read."""
        if self.access_log is not None:
            values = _request(head, time.time_ns(), _peer(transport), status, reason)
            self.access_log.write(line(values))


def _request(
    head: "RequestHead | None", unix_ns: int, peer: str | None, status: int, reason: str
) -> dict[str, Any]:
    return {
        "time": datetime.fromtimestamp(unix_ns / _NS, UTC),
        "request_id": head.request_id.decode("latin-1") or None if head else None,
        "client": peer,
        "method": head.method if head else None,
        "path": head.path[:_MAX_TEXT] if head else None,
        "status": status,
        "reason": reason or None,
        "key": head.key.key.name[:_MAX_TEXT] if head is not None and head.key is not None else None,
    }


def line(values: dict[str, Any]) -> bytes:
    """Return a line of the access log. What is None is left out."""
    kept = {name: value for name, value in values.items() if value is not None}
    return orjson.dumps(kept, option=orjson.OPT_UTC_Z | orjson.OPT_APPEND_NEWLINE)


def _peer(transport: "asyncio.Transport | None") -> str | None:
    name = transport.get_extra_info("peername") if transport is not None else None
    return str(name[0]) if isinstance(name, tuple) else None


def _tokens(exchange: "Exchange") -> tuple[int, int]:
    """Return the tokens of prompt and answer, as they are counted for the key."""
    if exchange.used is not None:
        return exchange.used
    if exchange.endpoint is None:
        return 0, 0
    ratios = exchange.fleet.ratios
    return ratios.prompt(exchange.work_size), ratios.output(exchange.events)
